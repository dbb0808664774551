/** Sending of events by their contract: checks of their payloads, and interceptors. @module */
import { checkApplicationHeaders } from "../../contract/application_headers.ts";
import {
  checkEvents,
  type EventContract,
  type EventInput,
  type EventType,
  parsePayload,
} from "../../contract/events.ts";
import {
  checkNames,
  namesOf,
  override,
  withoutUndefined,
} from "../../option_names.ts";
import { limitsOfCast } from "../client/call_limits.ts";
import type { RpcClient } from "../client/rpc_client.ts";
import {
  checkInterceptors,
  type ClientInterceptor,
  intercept,
  type InterceptedRequest,
  interceptWithin,
} from "../interceptors.ts";
import { type NotificationResources, TOPIC } from "./drivers.ts";
import { argsOfPayload, payloadOfArgs } from "./intercepted_payload.ts";
import {
  notify,
  notifyNames,
  type NotifyOptions,
  type NotifyRequest,
} from "./notifier.ts";

/**
 * Defaults for all events of a notifier; the options of an event override them.
 * @category Events
 */
export interface NotifierOptions extends NotifyOptions {
  /**
   * Functions around the sending of each event, the first outermost; default: none. The headers that they add are sent with
   * the event on the bus; drivers that are functions do not see them.
   */
  readonly interceptors?: readonly ClientInterceptor[] | undefined;
}

const notifierNames = namesOf<Omit<NotifierOptions, keyof NotifyOptions>>(
  { interceptors: true },
  notifyNames,
);

/**
 * Sends the events of a contract.
 * @category Events
 */
export interface Notifier<E extends EventContract> {
  /**
   * Sends an event, which waits in the queue of its priority for listeners. The payload is checked before anything is sent.
   * It is sent as it was given, as the arguments of a call are: the schema of the listener transforms it.
   *
   * @throws {InvalidValueError} the payload does not fit its schema (`data.path` is the member), JSON cannot represent it,
   * or the contract has no such event.
   */
  notify<K extends EventType<E>>(
    eventType: K,
    payload: EventInput<E, K>,
    options?: NotifyOptions,
  ): Promise<void>;
}

/** Checks the events of a contract, and sends them with the collaborators of a connection. */
class TypedNotifier {
  readonly #resources: NotificationResources;
  readonly #client: RpcClient;
  readonly #contract: EventContract;
  readonly #defaults: NotifyOptions;
  readonly #interceptors: readonly ClientInterceptor[] | undefined;

  constructor(
    resources: NotificationResources,
    client: RpcClient,
    contract: EventContract,
    defaults: NotifierOptions,
  ) {
    checkEvents(contract);
    checkNames(defaults, notifierNames);
    const { interceptors, ...others } = withoutUndefined(defaults);
    this.#resources = resources;
    this.#client = client;
    this.#contract = contract;
    this.#defaults = others;
    this.#interceptors = checkInterceptors(interceptors);
  }

  async notify(
    eventType: string,
    payload: unknown,
    options: NotifyOptions = {},
  ): Promise<void> {
    this.#client.checkUsable();
    checkNames(options, notifyNames);
    await parsePayload(this.#contract, eventType, payload);
    this.#client.checkUsable();
    const merged = override(this.#defaults, options);
    const request = { eventType, payload, options: merged };
    if (this.#interceptors) await this.#intercept(request, this.#interceptors);
    else await notify(this.#resources, request);
  }

  /** Calls the interceptors around the sending of an event, within its deadline. */
  async #intercept(
    request: NotifyRequest,
    interceptors: readonly ClientInterceptor[],
  ): Promise<void> {
    const { eventType, payload, options } = request;
    const { topics: [topic = TOPIC] = [] } = this.#resources.defaults.settings;
    const intercepted: InterceptedRequest = {
      kind: "notification",
      topic,
      procedure: eventType,
      version: undefined,
      args: argsOfPayload(payload),
      headers: {},
      attempt: 1,
    };
    const { deadline } = limitsOfCast(options);
    const { disposal } = this.#client;
    await interceptWithin(
      { name: `the event ${eventType}`, deadline, disposal },
      (left) =>
        intercept(
          interceptors,
          intercepted,
          async ({ args, headers }) =>
            await notify(this.#resources, {
              eventType,
              payload: payloadOfArgs(payload, args),
              options: { ...options, timeout: left() },
              headers: checkApplicationHeaders(headers),
            }),
        ),
    );
  }
}

/**
 * Creates the notifier of a contract.
 *
 * @throws {InvalidValueError} the contract or a default is invalid.
 */
export function createNotifier<E extends EventContract>(
  resources: NotificationResources,
  client: RpcClient,
  contract: E,
  defaults: NotifierOptions = {},
): Notifier<E> {
  return new TypedNotifier(resources, client, contract, defaults);
}

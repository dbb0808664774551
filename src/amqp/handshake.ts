/** Handshake of a connection: `start`, `tune` and `open` (AMQP 0-9-1, section 2.2.4). @module */
import { AmqpError } from "./codec/amqp_error.ts";
import type { Table } from "./codec/field_value.ts";
import type { Args, Method, MethodName } from "./codec/method_args.ts";
import { FRAME_MIN_SIZE, FrameError } from "./codec/protocol.ts";
import type { ConnectOptions, Target } from "./connect_options.ts";

/** Extensions of RabbitMQ that this client understands. */
const CAPABILITIES: Table = {
  publisher_confirms: true,
  exchange_exchange_bindings: true,
  "basic.nack": true,
  consumer_cancel_notify: true,
  "connection.blocked": true,
  authentication_failure_close: true,
};

const DEFAULT_HEARTBEAT_S = 60;
const DEFAULT_FRAME_MAX_BYTES = 131_072;
const DEFAULT_CHANNEL_MAX = 2_047;
/** Maximum of the number of a channel in a frame. */
const MAX_CHANNEL_NUMBER = 65_535;

/** Methods that may be received before they are read: a handshake has one at a time, and perhaps `connection.close`. */
const MAX_METHODS = 4;

/** Methods of channel 0 during the handshake. */
export interface Control {
  /** Sends a method. */
  send<N extends MethodName>(name: N, args: Partial<Args<N>>): void;
  /** Resolves with the next method; rejects if the connection was closed. */
  receive(): Promise<Method>;
}

/** Methods of channel 0 that were received and not read yet. */
export class ControlInbox {
  readonly #methods: Method[] = [];
  #waiting: PromiseWithResolvers<Method> | undefined;
  #failure: AmqpError | undefined;

  /**
   * Adds a method.
   *
   * @throws {FrameError} the broker sends methods for which nobody has asked.
   */
  put(method: Method): void {
    if (this.#methods.length >= MAX_METHODS) {
      throw new FrameError(`unexpected method ${method.name}`);
    }
    if (this.#waiting) this.#waiting.resolve(method);
    else this.#methods.push(method);
    this.#waiting = undefined;
  }

  /** Resolves with the next method. */
  receive(): Promise<Method> {
    const next = this.#methods.shift();
    if (next) return Promise.resolve(next);
    if (this.#failure) return Promise.reject(this.#failure);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  /** Fails all waits, because the connection is closed. */
  fail(failure: AmqpError): void {
    this.#failure = failure;
    this.#waiting?.reject(failure);
  }
}

/** Values that client and broker have agreed on. */
export interface Agreement {
  /** Properties of the broker, e.g. `product` and `version`. */
  readonly serverProperties: Table;
  /** Maximum number of bytes of a frame; 0 = no limit. */
  readonly frameMax: number;
  /** Maximum number of channels. */
  readonly channelMax: number;
  /** Seconds between heartbeats; 0 = none. */
  readonly heartbeat: number;
}

/** Agreement before the handshake. */
export const NOTHING_AGREED: Agreement = {
  serverProperties: {},
  frameMax: 0,
  channelMax: 0,
  heartbeat: 0,
};

/**
 * Opens the connection.
 *
 * @throws {AmqpError} the broker refuses the login, the virtual host or the limits.
 */
export async function handshake(
  control: Control,
  { login, virtualHost }: Target,
  options: ConnectOptions,
): Promise<Agreement> {
  const { serverProperties, mechanisms } = await expect(
    control,
    "connection.start",
  );
  const mechanism = login === "external" ? "EXTERNAL" : "PLAIN";
  if (!mechanisms.split(" ").includes(mechanism)) {
    throw new AmqpError(
      `The broker does not offer the mechanism ${mechanism}, but ${mechanisms}`,
      {
        code: "ACCESS_REFUSED",
        scope: "connection",
        method: "connection.start",
      },
    );
  }
  control.send("connection.start-ok", {
    clientProperties: {
      product: "warren",
      platform: "Deno",
      ...options.clientProperties,
      capabilities: CAPABILITIES,
    },
    mechanism,
    response: login === "external"
      ? ""
      : `\0${login.username}\0${login.password}`,
    locale: "en_US",
  });
  const agreed = negotiate(await expect(control, "connection.tune"), options);
  control.send("connection.tune-ok", agreed);
  control.send("connection.open", { virtualHost });
  await expect(control, "connection.open-ok");
  return { ...agreed, serverProperties };
}

/** Waits for a method; any other one is an error. */
async function expect<N extends MethodName>(
  control: Control,
  name: N,
): Promise<Args<N>> {
  const method = await control.receive();
  if (method.name === name) return method.args as Args<N>;
  throw new AmqpError(
    `The broker has sent ${method.name} instead of ${name}`,
    { code: "UNEXPECTED_FRAME", scope: "connection", method: method.name },
  );
}

/** Chooses the values of `tune-ok`. */
function negotiate(
  broker: Args<"connection.tune">,
  {
    frameMax = DEFAULT_FRAME_MAX_BYTES,
    channelMax = DEFAULT_CHANNEL_MAX,
    heartbeat,
  }: ConnectOptions,
): Omit<Agreement, "serverProperties"> {
  const frame = lower(frameMax, broker.frameMax);
  return {
    frameMax: frame === 0 ? 0 : Math.max(frame, FRAME_MIN_SIZE),
    channelMax: lower(channelMax, broker.channelMax) || MAX_CHANNEL_NUMBER,
    heartbeat: heartbeat ?? lower(DEFAULT_HEARTBEAT_S, broker.heartbeat),
  };
}

/** Returns the lower of two limits, of which 0 means none. */
const lower = (a: number, b: number) =>
  a === 0 || b === 0 ? Math.max(a, b) : Math.min(a, b);

/** Finds out if another worker of a queue serves a version. Services are asked when a request needs it, and their answers are kept for a while. @module */
import { logger } from "../../logging.ts";
import { withDeadline } from "../../async/deadline.ts";
import { queueFor } from "../../transport/address.ts";
import type { Addressee } from "../request/addressee.ts";
import type { RpcClient } from "../client/rpc_client.ts";
import { isCompatible, parseVersion } from "../../contract/version.ts";
import { answerIn, registryContract } from "../discovery/service_contract.ts";
import type { ServiceInfo } from "../discovery/service_report.ts";

/** Milliseconds that answers are waited for. */
const WINDOW = 500;
/** Milliseconds that answers are good for: after a useless question twice as long as before, to the most. */
const FRESH = 2_000;
const STALE = 30_000;
/** Queues that are remembered, and answers of each, at most. */
const QUEUES = 100;
const ANSWERS = 1_000;

/** The question: a queue, and the version that its worker must serve. */
export interface WantedVersion {
  /** Of which topic and host the queue is. */
  readonly addressee: Addressee;
  /** Name of the queue. */
  readonly queue: string;
  /** `major.minor` */
  readonly version: string;
  /** Namespace of the contract. */
  readonly namespace: string | undefined;
}

/** The answers of a topic's services, and the time at which they expire. */
class Survey {
  readonly infos: ServiceInfo[] = [];
  over = false;
  until = Infinity;
  #next = Promise.withResolvers<void>();

  /** Resolves when something more is known. */
  get next(): Promise<void> {
    return this.#next.promise;
  }

  changed(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}

/** Knows which versions the other workers of a context's queues serve. */
export class VersionSurvey {
  readonly #caller: Pick<RpcClient, "gather">;
  readonly #surveys = new Map<string, Survey>();
  #patience = FRESH;

  /** Asks by a caller. */
  constructor(caller: Pick<RpcClient, "gather">) {
    this.#caller = caller;
  }

  /** True once a live service has said so; false when none has within half a second. Never rejects. */
  async serves(wanted: WantedVersion): Promise<boolean> {
    const survey = this.#survey(wanted);
    const fits = (info: ServiceInfo) => doesServe(info, wanted);
    while (!survey.infos.some(fits)) {
      if (survey.over) return false;
      await survey.next;
    }
    this.#patience = FRESH;
    return true;
  }

  #survey({ queue, addressee }: WantedVersion): Survey {
    const known = this.#surveys.get(queue);
    if (known && performance.now() < known.until) return known;
    const survey = new Survey();
    this.#surveys.delete(queue);
    this.#surveys.set(queue, survey);
    const [oldest] = this.#surveys.keys();
    const full = this.#surveys.size > QUEUES;
    if (full && oldest !== undefined) this.#surveys.delete(oldest);
    void this.#ask(survey, addressee);
    return survey;
  }

  async #ask(survey: Survey, { topic, host }: Addressee): Promise<void> {
    const filter = host === undefined ? { topic } : { topic, host };
    const options = { timeout: WINDOW, context: {} };
    const gathering = this.#caller.gather(
      registryContract,
      "info",
      filter,
      options,
      ({ result }) => {
        const { reports, info } = answerIn(result);
        const live = reports.some(({ state }) =>
          state === "up" || state === "starting"
        );
        if (!info || !live || survey.infos.length >= ANSWERS) return;
        survey.infos.push(info);
        survey.changed();
      },
    );
    const wait = { at: performance.now() + 2 * WINDOW };
    await withDeadline(gathering, wait, () => undefined).catch((error) => {
      if (error === undefined) return;
      logger("rpc").debug("Services cannot be asked for versions: {error}", {
        error,
      });
    });
    survey.until = performance.now() + this.#patience;
    this.#patience = Math.min(2 * this.#patience, STALE);
    survey.over = true;
    survey.changed();
  }
}

/** True if a service consumes the queue, and serves the version there. */
function doesServe(
  { consumers, contracts }: ServiceInfo,
  { queue, addressee: { topic, host }, version, namespace }: WantedVersion,
): boolean {
  const want = parseVersion(version);
  if (!want) return false;
  const consumes = consumers.includes(queue) ||
    consumers.includes(queueFor(topic, host));
  return consumes && contracts.some((contract) => {
    const have = parseVersion(contract.version);
    return contract.topic === topic && contract.namespace === namespace &&
      have !== undefined && isCompatible(have, want);
  });
}

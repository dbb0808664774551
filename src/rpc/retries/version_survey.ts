/**
 * Survey of the versions that other workers of a queue serve. Services are queried when a request needs it, and their
 * replies are cached.
 *
 * @module
 */
import { logger } from "../../logging.ts";
import { withDeadline } from "../../async/deadline.ts";
import { queueFor } from "../../transport/address.ts";
import type { Addressee } from "../request/addressee.ts";
import type { RpcClient } from "../client/rpc_client.ts";
import { isCompatible, parseVersion } from "../../contract/version.ts";
import { answerIn, registryContract } from "../discovery/service_contract.ts";
import type { ServiceInfo } from "../discovery/service_report.ts";

/** Milliseconds to wait for replies. */
const SURVEY_TIMEOUT_MS = 500;
/**
 * Milliseconds for which replies are valid: at first, and at most. The time doubles with each survey that finds no
 * worker.
 */
const MIN_VALIDITY_MS = 2_000;
const MAX_VALIDITY_MS = 30_000;
/** Maximum number of remembered queues, and of replies for each queue. */
const MAX_QUEUES = 100;
const MAX_REPLIES = 1_000;

/** Version that a worker of a queue should serve. */
export interface WantedVersion {
  /** Topic and host of the queue. */
  readonly addressee: Addressee;
  /** Name of the queue. */
  readonly queue: string;
  /** Version, `major.minor`. */
  readonly version: string;
  /** Namespace of the contract. */
  readonly namespace: string | undefined;
}

/** Replies of a topic's services, and the time at which they expire. */
class Survey {
  readonly infos: ServiceInfo[] = [];
  ended = false;
  expiresAt = Infinity;
  #next = Promise.withResolvers<void>();

  /** Resolves at the next reply, or when the survey is over. */
  get next(): Promise<void> {
    return this.#next.promise;
  }

  changed(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}

/** Finds out which versions the other workers of a context's queues serve. */
export class VersionSurvey {
  readonly #caller: Pick<RpcClient, "gather">;
  readonly #surveys = new Map<string, Survey>();
  #validity = MIN_VALIDITY_MS;

  /** Services are queried through `caller`. */
  constructor(caller: Pick<RpcClient, "gather">) {
    this.#caller = caller;
  }

  /**
   * True once a running service has reported that it serves the version; false if none has within half a second. Never
   * rejects.
   */
  async serves(wanted: WantedVersion): Promise<boolean> {
    const survey = this.#survey(wanted);
    const fits = (info: ServiceInfo) => doesServe(info, wanted);
    while (!survey.infos.some(fits)) {
      if (survey.ended) return false;
      await survey.next;
    }
    this.#validity = MIN_VALIDITY_MS;
    return true;
  }

  #survey({ queue, addressee }: WantedVersion): Survey {
    const known = this.#surveys.get(queue);
    if (known && performance.now() < known.expiresAt) return known;
    const survey = new Survey();
    this.#surveys.delete(queue);
    this.#surveys.set(queue, survey);
    const [oldest] = this.#surveys.keys();
    const full = this.#surveys.size > MAX_QUEUES;
    if (full && oldest !== undefined) this.#surveys.delete(oldest);
    void this.#ask(survey, addressee);
    return survey;
  }

  async #ask(survey: Survey, { topic, host }: Addressee): Promise<void> {
    const filter = host === undefined ? { topic } : { topic, host };
    const options = { timeout: SURVEY_TIMEOUT_MS, context: {} };
    const gathering = this.#caller.gather(
      { target: registryContract, method: "info", args: filter, options },
      ({ result }) => {
        const { reports, info } = answerIn(result);
        const live = reports.some(({ state }) =>
          state === "up" || state === "starting"
        );
        if (!info || !live || survey.infos.length >= MAX_REPLIES) return;
        survey.infos.push(info);
        survey.changed();
      },
    );
    const wait = { at: performance.now() + 2 * SURVEY_TIMEOUT_MS };
    await withDeadline(gathering, wait, () => undefined).catch((error) => {
      if (error === undefined) return;
      logger("rpc").debug("Services cannot be asked for versions: {error}", {
        error,
      });
    });
    survey.expiresAt = performance.now() + this.#validity;
    this.#validity = Math.min(2 * this.#validity, MAX_VALIDITY_MS);
    survey.ended = true;
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

/** Requests that this process has in hand or has answered, by their ids: one that comes again is not run again. @module */
import type { Message } from "../../transport/transport.ts";
import { KeyedSlotMap } from "../../slot_map.ts";
import type { IncomingRequest } from "./incoming_request.ts";

/** A request that runs. */
export class ActiveRequest {
  /** Its job. */
  readonly incoming: IncomingRequest;
  /** Where its answer goes, as far as its id does not say it. */
  readonly reader: string;
  /** Those who wait for it, and whether they wait no longer once it turns out to be a stream; undefined while there was none. */
  #waiting: Map<() => void, boolean> | undefined;
  #over = false;

  /** Made by its ledger. */
  constructor(incoming: IncomingRequest, reader: string) {
    this.incoming = incoming;
    this.reader = reader;
  }

  /** It has ended. */
  end(): void {
    this.#over = true;
    this.#tell(false);
  }

  /**
   * Resolves when it has ended, or turns out to be a stream if that is asked for; rejects with the reason of the signal. Who
   * leaves is forgotten at once: any number may come and leave while it runs.
   */
  until(signal: AbortSignal, stream: boolean): Promise<void> {
    if (this.#over) return Promise.resolve();
    const waiting = this.#waiting ??= new Map();
    if (stream) this.incoming.streams = () => this.#tell(true);
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const told = () => {
        signal.removeEventListener("abort", left);
        resolve();
      };
      const left = () => {
        waiting.delete(told);
        reject(signal.reason);
      };
      waiting.set(told, stream);
      signal.addEventListener("abort", left, { once: true });
    });
  }

  #tell(stream: boolean): void {
    for (const [told, leaves] of this.#waiting ?? []) {
      if (stream && !leaves) continue;
      this.#waiting?.delete(told);
      told();
    }
  }
}

/** What is known of a request that has come before: that it runs, or what was answered, as far as that is kept. */
export type KnownRequest = ActiveRequest | {
  readonly reader: string;
  readonly answers: readonly Message[];
};

/** Ended requests of a while, with what was answered. */
interface Generation<T> {
  readonly since: number;
  readonly entries: Map<string, T>;
  /** Bytes of the answers. */
  bytes: number;
}

/** Two generations hold 100 000 ids at most, for 10 minutes at least if they are fewer. */
const IDS = { ms: 600_000, entries: 50_000, bytes: Infinity };
/** Their answers are kept for a minute, and are 32 MiB at most, each with what is kept beside its body. */
const ANSWERS = { ms: 60_000, entries: Infinity, bytes: 16 * 1024 * 1024 };
const BESIDE = 512;
/** Bytes of bodies that are kept in one piece. */
const PIECE = 64 * 1024;

/** Remembers by generations: the older of two goes as a whole, so that no entry has to be looked for. */
class GenerationalCache<T> {
  readonly #limits: typeof IDS;
  #young: Generation<T> = fresh();
  #old: Generation<T> = fresh();
  /** How often something was forgotten before its time. */
  evictions = 0;

  constructor(limits: typeof IDS) {
    this.#limits = limits;
  }

  get(id: string): T | undefined {
    return this.#young.entries.get(id) ?? this.#old.entries.get(id);
  }

  set(id: string, value: T, bytes: number): void {
    const { since, entries } = this.#young;
    const { ms, entries: most, bytes: heaviest } = this.#limits;
    const full = entries.size >= most || this.#young.bytes + bytes > heaviest;
    const now = performance.now();
    if (full || now - since >= ms) {
      if (this.#old.entries.size > 0 && now - since < ms) this.evictions++;
      this.#old = this.#young;
      this.#young = fresh();
    }
    this.#young.entries.set(id, value);
    this.#young.bytes += bytes;
  }
}

function fresh<T>(): Generation<T> {
  return { since: performance.now(), entries: new Map(), bytes: 0 };
}

const bytesOf = (answers: readonly Message[]) =>
  answers.reduce((sum, { body }) => sum + body.length + BESIDE, 0);

/** Copies of bodies: each is a part of a larger buffer, which would be kept with all else that was sent in it. */
class BodyArena {
  #piece = new Uint8Array();
  #at = 0;

  /** The same answers, with bodies of their own. */
  of(answers: readonly Message[]): readonly Message[] {
    return answers.map((answer) => ({
      ...answer,
      body: this.#copy(answer.body),
    }));
  }

  #copy(body: Uint8Array): Uint8Array {
    if (body.length > PIECE / 4) return Uint8Array.from(body);
    if (this.#at + body.length > this.#piece.length) {
      this.#piece = new Uint8Array(PIECE);
      this.#at = 0;
    }
    const copy = this.#piece.subarray(this.#at, this.#at += body.length);
    copy.set(body);
    return copy;
  }
}

/** What was answered to the requests of all consumers: the bound holds for them together. */
export class ReplyCache {
  readonly #answers = new GenerationalCache<readonly Message[]>(ANSWERS);
  readonly #bodies = new BodyArena();
  #consumers = 0;

  /** What stands before the ids of one more consumer, so that they are not those of another. */
  prefix(): string {
    const number = this.#consumers++;
    return number === 0 ? "" : `${number}/`;
  }

  get(id: string): readonly Message[] | undefined {
    return this.#answers.get(id);
  }

  set(id: string, answers: readonly Message[]): void {
    this.#answers.set(id, this.#bodies.of(answers), bytesOf(answers));
  }
}

/** Remembers the requests of one consumer. Those without an id (Folsom) are never the same. */
export class RecentRequests {
  readonly #running = new KeyedSlotMap<string, ActiveRequest>();
  /** With their readers. */
  readonly #ended = new GenerationalCache<string>(IDS);
  readonly #replyCache: ReplyCache;
  readonly #prefix: string;

  /** With the answers among those of others. */
  constructor(replyCache: ReplyCache = new ReplyCache()) {
    this.#replyCache = replyCache;
    this.#prefix = replyCache.prefix();
  }

  /** How often the memory of requests was cut short. */
  get evictions(): number {
    return this.#ended.evictions;
  }

  /** What is known of the request with that id. */
  find(id: string): KnownRequest | undefined {
    const running = this.#running.get(id);
    const reader = running ? undefined : this.#ended.get(id);
    if (reader === undefined) return running;
    return { reader, answers: this.#replyCache.get(this.#prefix + id) ?? [] };
  }

  /** A request begins. A stream for another reader may be under way by the same id: that one stays known. */
  begin(
    id: string,
    incoming: IncomingRequest,
    reader: string,
    ended: Promise<void>,
  ): void {
    if (this.#running.get(id)) return;
    const running = new ActiveRequest(incoming, reader);
    this.#running.set(id, running);
    void ended.then(() => this.#end(id, running));
  }

  /** One that goes back to its queue was not done, and one that another worker took over may not be: it may come again. */
  #end(id: string, running: ActiveRequest): void {
    const { incoming: { abandoned, fenced, answers }, reader } = running;
    this.#running.delete(id);
    if (!abandoned && !fenced) this.#ended.set(id, reader, 0);
    const kept = !abandoned && !fenced && answers.length > 0;
    if (kept) this.#replyCache.set(this.#prefix + id, answers);
    running.end();
  }
}

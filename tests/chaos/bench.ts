/** What a row of the fault matrix has at hand: a broker, workers, a caller, a proxy before each kind, and the history. */
import { type Channel, connect } from "npm:amqplib@2.3.1";
import type { PrivateBroker } from "../setup/broker.ts";
import type { PrivateCluster } from "../setup/cluster.ts";
import { proxyTo, type TcpProxy } from "../setup/proxy.ts";
import type { BurstOptions, CallerSettings, Order, Rates } from "./caller.ts";
import { type Line, now } from "./history.ts";
import type { LedgerName, Store } from "./ledger.ts";
import { ChaosProcess } from "./process.ts";
import type { WorkerSettings } from "./worker.ts";

/** What every row of a run has in common. */
export interface RunSettings {
  readonly queue: "classic" | "quorum";
  readonly ledger: LedgerName;
  readonly seed: number;
  /** Milliseconds that a shared machine may add to the times of a row's own lines; default 0. What is lost or hung has none. */
  readonly patience?: number;
  /** Factor of the messages a second; default 1. */
  readonly load?: number;
}

/** What rows share. */
export interface Ground {
  readonly broker: PrivateBroker;
  /** The cluster of the broker, for rows that need one. */
  readonly cluster?: PrivateCluster | undefined;
  /** Where the workers' ledger is, if it is shared. */
  readonly store?: Store | undefined;
}

/** What a row may set of its bench. */
export interface BenchOptions {
  readonly workers: number;
  /** Handlers at once in a worker, and messages in its hand. */
  readonly concurrency: number;
  /** Seconds. */
  readonly heartbeat: number;
  readonly rates: Rates;
  /** Milliseconds. */
  readonly castTimeout: number;
  /** Milliseconds. */
  readonly callTimeout: number;
  /** Milliseconds that the broker leaves a message unacknowledged, where workers must know it. */
  readonly consumerTimeout?: number;
  /** Environment of the n-th worker. */
  readonly env?: (n: number, folder: string) => Record<string, string>;
}

/** Name of the caller's connections. */
export const CALLER = "chaos-caller";

/** What a row has unless it says otherwise. */
export const usual: BenchOptions = {
  workers: 4,
  concurrency: 10,
  heartbeat: 10,
  rates: { cast: 200, call: 50, fanout: 5, stream: 5 },
  castTimeout: 15_000,
  callTimeout: 5_000,
};

/** Messages a second, times a factor. */
function scaled(rates: Rates, factor = 1): Rates {
  const { cast, call, fanout, stream } = rates;
  return {
    cast: cast * factor,
    call: call * factor,
    fanout: fanout * factor,
    stream: stream * factor,
  };
}

/** Numbers from 0 to 1, the same for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = state + 0x6D2B79F5 | 0;
    let t = Math.imul(state ^ state >>> 15, 1 | state);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 4294967296;
  };
}

/** A queue that an operator removed, with what was in it. */
export interface Removal {
  readonly from: number;
  readonly to: number;
  readonly messages: number;
}

/** One row's bench. Disposal ends its processes and removes its queues; the broker stays. */
export class Bench implements AsyncDisposable {
  readonly #broker: PrivateBroker;
  readonly #cluster: PrivateCluster | undefined;
  readonly store: Store | undefined;
  readonly settings: RunSettings;
  readonly options: BenchOptions;
  /** A topic of this row's own. */
  readonly topic = `chaos-${crypto.randomUUID().slice(0, 8)}`;
  /** Chance, by the run's seed. */
  readonly random: () => number;
  readonly history: Line[] = [];
  /** All workers that ever were, the oldest first. */
  readonly workers: ChaosProcess[] = [];
  #bursts = 0;
  readonly #hosts = new Map<ChaosProcess, string>();
  /** When something was mended: from then on it is measured how long calls take to succeed again. */
  readonly heals: number[] = [];
  readonly removals: Removal[] = [];
  /** How many messages in hand were cut off from their workers without these noticing a lost connection. */
  cutOff = 0;
  /** Between the workers and the broker. */
  readonly workerProxy: TcpProxy;
  /** Between the caller and the broker. */
  readonly callerProxy: TcpProxy;
  /** A folder of this row's own, in the broker's: it goes with that even if the runner is killed. */
  readonly folder: string;
  caller!: ChaosProcess;

  /** A bench on a running broker. */
  constructor(
    { broker, cluster, store }: Ground,
    settings: RunSettings,
    options: BenchOptions,
  ) {
    this.#broker = broker;
    this.#cluster = cluster;
    this.folder = Deno.makeTempDirSync({ dir: broker.folder });
    this.store = store;
    this.settings = settings;
    this.options = { ...options, rates: scaled(options.rates, settings.load) };
    this.random = seeded(settings.seed);
    this.workerProxy = proxyTo(broker.url);
    this.callerProxy = proxyTo(broker.url);
  }

  /** The broker; in a cluster, a node of it that is up. */
  get broker(): PrivateBroker {
    return this.#cluster?.running ?? this.#broker;
  }

  /** The cluster of a row that needs one. */
  get cluster(): PrivateCluster {
    if (!this.#cluster) throw new Error("The row has no cluster");
    return this.#cluster;
  }

  /** Where processes find the broker: all nodes of a cluster, or the single node behind a proxy. */
  #urls(proxy: TcpProxy): string[] {
    return this.#cluster?.urls ?? [proxy.url(this.#broker.url)];
  }

  /** Starts all processes; resolves when they are at work. */
  async start(): Promise<void> {
    const { queue: queueType } = this.settings;
    const { heartbeat, rates, castTimeout, callTimeout } = this.options;
    const urls = this.#urls(this.callerProxy);
    const { topic } = this;
    const times = { heartbeat, castTimeout, callTimeout };
    const settings: CallerSettings = {
      urls,
      publisherId: CALLER,
      topic,
      queueType,
      rates,
      ...times,
    };
    this.caller = this.#process("caller", "./caller.ts", settings);
    const numbers = Array.from({ length: this.options.workers }, (_, n) => n);
    await Promise.all([
      this.caller.told("ready"),
      ...numbers.map(() => this.startWorker()),
    ]);
  }

  /** The host of a worker, for its successor. */
  hostOf(worker: ChaosProcess | undefined): string | undefined {
    return worker && this.#hosts.get(worker);
  }

  /** Starts one more worker, by default on the topic of the load; resolves when it takes messages. */
  async startWorker(
    host = `h${this.workers.length}`,
    topic = this.topic,
  ): Promise<ChaosProcess> {
    const { queue: queueType, ledger } = this.settings;
    const { heartbeat, concurrency, consumerTimeout } = this.options;
    const n = this.workers.length;
    const settings: WorkerSettings = {
      urls: this.#urls(this.workerProxy),
      topic,
      host,
      ...{ queueType, ledger, heartbeat, concurrency },
      ...{ storeUrl: this.store?.url, consumerTimeout },
    };
    const env = this.options.env?.(n, this.folder);
    const worker = this.#process(`w${n}`, "./worker.ts", settings, env);
    this.workers.push(worker);
    this.#hosts.set(worker, host);
    await worker.told("ready");
    return worker;
  }

  /** The workers that run, the oldest first. */
  get running(): ChaosProcess[] {
    return this.workers.filter(({ expected, code }) =>
      !expected && code === undefined
    );
  }

  /** Gives the caller an order. */
  order(order: Order): void {
    this.caller.order(order);
  }

  /** Lets the caller cast many at once; returns how their ids begin. */
  burst(
    name: string,
    count: number,
    args: Readonly<Record<string, unknown>>,
    options: BurstOptions = {},
    method: "work" | "long" | "flaky" = "work",
  ): string {
    const unique = `${name}-${++this.#bursts}`; // a soak has the same fault again and again
    this.order({ order: "burst", name: unique, count, args, options, method });
    return unique;
  }

  /** What hands of so many workers held is cut off from them. */
  cut(workers: number): void {
    this.cutOff += workers * this.options.concurrency;
  }

  /** Notes in the history that something happens now. */
  note(name: string): void {
    const at = now();
    this.history.push({ t: "event", name, at, from: "bench", seen: at });
  }

  /** Something is mended now. */
  healed(): void {
    this.heals.push(now());
  }

  /** Resolves when a call has succeeded from now on, or after so many milliseconds in vain. */
  async recovered(ms: number): Promise<void> {
    const since = this.history.length;
    const end = performance.now() + ms;
    const ok = (line: Line) =>
      line.t === "out" && line.verb === "call" && line.code === undefined;
    while (performance.now() < end) {
      if (this.history.slice(since).some(ok)) return;
      await this.pause(50);
    }
  }

  /** Waits so many milliseconds. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
  }

  /** Does the same again and again, for so many seconds but at least once. */
  async repeat(
    seconds: number,
    work: (round: number) => Promise<void>,
  ): Promise<void> {
    const end = performance.now() + seconds * 1_000;
    for (let round = 0; round === 0 || performance.now() < end; round++) {
      await work(round);
    }
    await this.pause(end - performance.now());
  }

  /** Removes the queue of the topic, as an operator would. */
  async removeQueue(): Promise<void> {
    await using raw = await this.raw();
    const from = now();
    const { messageCount: messages } = await raw.channel.deleteQueue(
      this.topic,
    );
    this.removals.push({ from, to: now(), messages });
    this.cut(this.running.length);
  }

  /** A channel that is no Warren's. */
  async raw(): Promise<{ readonly channel: Channel } & AsyncDisposable> {
    const connection = await connect(this.broker.url);
    connection.on("error", () => {});
    const channel = await connection.createChannel();
    channel.on("error", () => {});
    return {
      channel,
      [Symbol.asyncDispose]: () => connection.close().catch(() => {}),
    };
  }

  /** The queues of this row and those that somebody consumes, with what is in them. */
  async queues(): Promise<QueueState[]> {
    return (await this.allQueues()).filter(({ name, consumers }) =>
      name.startsWith(this.topic) || consumers > 0
    );
  }

  /** All queues of the broker. */
  async allQueues(): Promise<QueueState[]> {
    const columns = "name messages_ready messages_unacknowledged consumers";
    const text = await this.broker.ctl(
      "list_queues",
      "--quiet",
      "--formatter",
      "json",
      ...columns.split(" "),
    );
    return JSON.parse(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const processes = [...this.workers, ...(this.caller ? [this.caller] : [])];
    await Promise.all(processes.map((each) => each[Symbol.asyncDispose]()));
    await this.workerProxy[Symbol.asyncDispose]();
    await this.callerProxy[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
    await this.#removeQueues().catch(() => {}); // a broker that is down has none that matter
  }

  async #removeQueues(): Promise<void> {
    await using raw = await this.raw();
    for (const { name } of await this.queues()) {
      if (name.startsWith(this.topic)) await raw.channel.deleteQueue(name);
    }
  }

  #process(
    name: string,
    script: string,
    settings: object,
    env?: Record<string, string>,
  ): ChaosProcess {
    const hear = (line: Line) => void this.history.push(line);
    return new ChaosProcess(name, script, settings, hear, env);
  }
}

/** A queue, as rabbitmqctl tells of it. */
export interface QueueState {
  readonly name: string;
  readonly messages_ready: number;
  readonly messages_unacknowledged: number;
  readonly consumers: number;
}

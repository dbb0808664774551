/** Workers that share a ledger, for its tests. */
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  type ConnectionOptions,
  contract,
  type LedgerStore,
  type RequestContext,
} from "../../mod.ts";
import { until } from "../setup/probe.ts";
import type { Bus, Raw } from "../rpc/support.ts";

/** Their contract. */
export const jobs = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      work: { args: z.object({ id: z.string() }), result: z.string() },
      flaky: {
        args: z.object({ id: z.string() }),
        retry: { attempts: 2, backoff: [100] },
      },
      long: { args: z.object({ id: z.string() }), maxDuration: 1_800_000 },
    },
  });

/** What a worker does. */
export type Handler = (id: string, context: RequestContext) => Promise<string>;

/** A worker that does one thing at a time. */
export async function worker(
  bus: Bus,
  ledger: LedgerStore,
  handle: Handler,
  options: ConnectionOptions = {},
): Promise<ConnectionContext> {
  const run = async ({ id }: { id: string }, context: RequestContext) =>
    await handle(id, context);
  const quiet = async (args: { id: string }, context: RequestContext) =>
    void await run(args, context);
  const handlers = { work: run, flaky: quiet, long: quiet };
  const alone = { concurrency: 1, prefetch: 1, ledger, grace: 0, ...options };
  return await bus.serve(jobs(bus.topic), handlers, alone);
}

/** A stranger who can say the same thing twice. */
export async function stranger(bus: Bus) {
  const raw = await bus.raw() as Raw;
  const queue = `reply_${bus.topic}`;
  await raw.channel.assertQueue(queue, { exclusive: true });
  const answers: Record<string, unknown>[] = [];
  await raw.channel.consume(queue, (message) => {
    answers.push(JSON.parse(String(message?.content)));
  }, { noAck: true });
  const content = (id: string) => {
    const ids = { _msg_id: id, _unique_id: `u-${id}`, _reply_q: queue };
    const body = { method: "work", args: { id }, _timeout: null, ...ids };
    return Buffer.from(JSON.stringify(body));
  };
  return {
    answers,
    ask: (id: string) =>
      void raw.channel.publish("warren", bus.topic, content(id)),
    /** The same, as one that was interrupted so often. */
    interrupted: (id: string, times: number) => {
      const headers = { "warren-interrupted": `${times}` };
      const apart = `${bus.topic}.quarantine`;
      raw.channel.sendToQueue(apart, content(id), { headers });
    },
    [Symbol.asyncDispose]: () => raw[Symbol.asyncDispose](),
  };
}

/** Runs that a test lets go on one by one. */
export class Gate {
  readonly started: string[] = [];
  readonly #open: PromiseWithResolvers<void>[] = [];

  async pass(name: string): Promise<void> {
    this.started.push(name);
    const open = Promise.withResolvers<void>();
    this.#open.push(open);
    await open.promise;
  }

  open(run: number): void {
    this.#open[run]?.resolve();
  }

  begun(count: number): Promise<unknown> {
    return until(`run ${count} begins`, () => this.started.length >= count);
  }
}

/** The methods of a store, to put others in their place. */
export function bound(store: LedgerStore): LedgerStore {
  return {
    lease: store.lease,
    claim: (key, content) => store.claim(key, content),
    renew: (claim) => store.renew(claim),
    done: (claim, answers, transaction) =>
      store.done(claim, answers, transaction),
    release: (claim) => store.release(claim),
    keep: (request) => store.keep(request),
    sweep: (queues) => store.sweep(queues),
    returned: (claim) => store.returned(claim),
  };
}

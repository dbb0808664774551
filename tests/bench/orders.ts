/** What peers are asked, and what they tell: one line of JSON each, the same for all, whatever they are written in. */
import process from "node:process";
import { TextLineStream } from "../fleet/lines.ts";

/** What a client may be told to do; answered by one line. */
export type Order =
  | {
    readonly do: "call";
    readonly inFlight: number;
    readonly ms: number;
    readonly bytes: number;
    /** Topics over which the calls are spread, by their number. */
    readonly topics?: number;
  }
  | {
    readonly do: "cast" | "fanout";
    readonly count: number;
    readonly inFlight: number;
    readonly bytes: number;
  }
  | { readonly do: "stream"; readonly count: number }
  /** To a server: tells when so many casts or fanouts have been handled from now on. */
  | { readonly do: "count"; readonly count: number };

/** What is told. */
export interface Told {
  readonly ready?: true;
  readonly unsupported?: true;
  readonly counting?: true;
  readonly handled?: number;
  readonly calls?: number;
  readonly sent?: number;
  readonly items?: number;
  readonly failed?: number;
  readonly ms?: number;
  readonly p50?: number;
  readonly p99?: number;
  readonly error?: string | undefined;
}

/** What every request carries. */
export interface Args {
  readonly id: number;
  readonly text: string;
}

/** Tells a line. */
export function tell(told: Told): void {
  process.stdout.write(`${JSON.stringify(told)}\n`);
}

/** Obeys, one order after the other, until stdin ends. */
export async function obey(
  todo: (order: Order) => Promise<void>,
): Promise<void> {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  for await (const line of lines) await todo(JSON.parse(line));
}

/** Counts what a server has handled. */
export class Counter {
  #left = Infinity;
  #count = 0;

  /** One more. */
  handled(): void {
    if (--this.#left === 0) tell({ handled: this.#count });
  }

  /** Counts anew, each time that it is told to; resolves when stdin ends. */
  async obey(): Promise<void> {
    await obey((order) => {
      if ("count" in order) this.#left = this.#count = order.count;
      tell({ counting: true });
      return Promise.resolve();
    });
  }
}

/**
 * A TCP proxy on loopback that misbehaves when told to: what a broken network does to a client,
 * without touching the broker or the machine's network.
 */
import { closeQuietly } from "./probe.ts";

/** Counts of a proxy's connections. */
export interface ProxyConnections {
  /** All that were ever accepted, refused ones included. */
  readonly accepted: number;
  /** Those that are open now. */
  readonly open: number;
}

/** How slow a proxy is. */
export interface Slowness {
  /** Milliseconds by which each way is late, at least. */
  readonly latency?: number;
  /** Bytes a second that go each way of one connection. */
  readonly bytesPerSecond?: number;
}

/** Starts a proxy in front of a broker: `using` its URL, a client can be cut off at will. */
export function proxyTo(base: string): TcpProxy {
  const { hostname, port, protocol } = new URL(base);
  const standard = protocol === "amqps:" ? 5671 : 5672;
  return new TcpProxy(
    hostname.replace(/^\[|\]$/g, "") || "127.0.0.1",
    Number(port || standard),
  );
}

/** A proxy in front of one target. */
export class TcpProxy implements AsyncDisposable {
  readonly #hostname: string;
  readonly #port: number;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #pairs = new Set<Pair>();
  readonly #accepting: Promise<void>;
  readonly #work = new Set<Promise<void>>();
  #accepted = 0;
  #refuse = false;
  #swallow = false;
  #slow: Slowness = {};
  #passing = Promise.withResolvers<void>();

  /** Listens on a free port and forwards to `hostname:port`. */
  constructor(hostname: string, port: number) {
    this.#hostname = hostname;
    this.#port = port;
    this.#passing.resolve();
    this.#accepting = this.#accept();
  }

  /** The proxy's own port. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** How many connections there were and are. */
  get connections(): ProxyConnections {
    return { accepted: this.#accepted, open: this.#pairs.size };
  }

  /** An AMQP URL that leads through this proxy. */
  url(base: string): string {
    // AMQP is no web scheme, so URL has no setters that work; only the authority changes here.
    const [, head = "", tail = ""] =
      /^(\w+:\/\/(?:[^@/]*@)?)[^/?]*(.*)$/.exec(base) ?? [];
    return `${head}127.0.0.1:${this.port}${tail}`;
  }

  /** Drops all current connections abruptly. */
  reset(): void {
    for (const pair of [...this.#pairs]) this.#drop(pair);
  }

  /** Keeps connections open but passes nothing in either direction, until switched off again. */
  blackhole(on: boolean): void {
    this.#passing.resolve();
    this.#passing = Promise.withResolvers();
    if (!on) this.#passing.resolve();
  }

  /** Passes what clients send, and throws away what they are answered: confirms, deliveries, replies. */
  swallow(on: boolean): void {
    this.#swallow = on;
  }

  /** Passes everything, but late or little by little; `{}` ends it. */
  slow(how: Slowness): void {
    this.#slow = how;
  }

  /** Closes new connections at once, as a broker that is down would. */
  refuse(on: boolean): void {
    this.#refuse = on;
  }

  /** Ends everything; resolves when no socket and no promise is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#refuse = true;
    this.#listener.close();
    await this.#accepting;
    this.#passing.resolve();
    this.reset();
    await Promise.all(this.#work);
  }

  async #accept(): Promise<void> {
    for await (const client of this.#listener) {
      this.#accepted++;
      if (this.#refuse) {
        closeQuietly(client);
        continue;
      }
      const work = this.#serve(client).finally(() => this.#work.delete(work));
      this.#work.add(work);
    }
  }

  async #serve(client: Deno.TcpConn): Promise<void> {
    const pair: Pair = { client, server: undefined };
    this.#pairs.add(pair);
    try {
      const server = await Deno.connect({
        hostname: this.#hostname,
        port: this.#port,
      });
      pair.server = server;
      if (!this.#pairs.has(pair)) return;
      await Promise.all([
        this.#pump(pair, client, server),
        this.#pump(pair, server, client),
      ]);
    } catch {
      // The target refused the connection: the client finds out by losing its own.
    } finally {
      this.#drop(pair);
    }
  }

  /** Carries one direction; its end is the end of the pair. */
  async #pump(pair: Pair, from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    try {
      for (;;) {
        const { latency = 0, bytesPerSecond = Infinity } = this.#slow;
        const most = Math.max(64, bytesPerSecond / 10);
        const read = await from.read(buffer.subarray(0, most));
        await this.#passing.promise;
        if (read === null || !this.#pairs.has(pair)) return;
        if (this.#swallow && from === pair.server) continue;
        const ms = latency + read * 1_000 / bytesPerSecond;
        if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
        for (let sent = 0; sent < read;) {
          sent += await to.write(buffer.subarray(sent, read));
        }
      }
    } catch {
      // Reset by a peer, or by us.
    } finally {
      this.#drop(pair);
    }
  }

  #drop(pair: Pair): void {
    this.#pairs.delete(pair);
    closeQuietly(pair.client);
    if (pair.server) closeQuietly(pair.server);
  }
}

interface Pair {
  client: Deno.TcpConn;
  server: Deno.TcpConn | undefined;
}

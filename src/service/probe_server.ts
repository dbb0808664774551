/**
 * HTTP for probes, over plain sockets: `Deno.serve` bounds neither its connections nor their time, and an error of its
 * accept ends the process. @module
 */
import { expireAt, forget } from "../deadlines.ts";
import { log } from "../telemetry.ts";
import { pause } from "../wait.ts";

/** Connections at once; a further one takes the place of the oldest. */
const CONNECTIONS = 64;
/** Milliseconds that a connection has for its request and the answer. */
const LIFETIME = 10_000;
/** Bytes of a request without its body, at most. */
const HEAD = 8_192;
/** Milliseconds until the next accept after one that failed. */
const REFUSED = 200;

/** What is asked. */
export interface Asked {
  /** Method, such as `GET`. */
  readonly method: string;
  /** Path, without its query. */
  readonly pathname: string;
}

/** What is answered, as JSON. */
export interface Answered {
  /** Status of HTTP. */
  readonly status: number;
  /** Body. */
  readonly body: Readonly<Record<string, unknown>>;
  /** Further headers. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** Answers one request on each connection until disposed. */
export class ProbeServer implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #answer: (asked: Asked) => Answered;
  /** Connections, the oldest first. */
  readonly #open = new Set<Deno.TcpConn>();
  readonly #stop = new AbortController();
  readonly #accepting: Promise<void>;

  /** Listens; throws what `Deno.listen` throws if it cannot. */
  constructor(
    { port, hostname }: { readonly port: number; readonly hostname: string },
    answer: (asked: Asked) => Answered,
  ) {
    this.#listener = Deno.listen({ port, hostname });
    this.#answer = answer;
    this.#accepting = this.#accept();
  }

  /** Where it listens. */
  get addr(): Deno.NetAddr {
    return this.#listener.addr as Deno.NetAddr;
  }

  /** Closes the port and all connections: an answer under way is with the system already. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#listener.close();
    for (const connection of this.#open) this.#close(connection);
    await this.#accepting;
  }

  async #accept(): Promise<void> {
    const { signal } = this.#stop;
    let refused = false;
    while (!signal.aborted) {
      try {
        this.#take(await this.#listener.accept());
        refused = false;
      } catch (error) {
        if (signal.aborted) return;
        if (!refused) warnOf(error);
        refused = true;
        this.#closeOldest(); // the process may have too many open files
        await pause(REFUSED, { deadline: Infinity, signal }).catch(() => {});
      }
    }
  }

  #take(connection: Deno.TcpConn): void {
    if (this.#open.size >= CONNECTIONS) this.#closeOldest();
    this.#open.add(connection);
    const close = () => this.#close(connection);
    const late = expireAt(performance.now() + LIFETIME, close);
    // A connection that fails, or is closed meanwhile, concerns nobody.
    this.#converse(connection).catch(() => {}).finally(() => {
      forget(late);
      close();
    });
  }

  async #converse(connection: Deno.TcpConn): Promise<void> {
    const head = await headOf(connection);
    if (head === undefined) return;
    const asked = parsed(head);
    const answer = typeof asked === "number"
      ? { status: asked, body: { status: REASONS[asked] } }
      : this.#answer(asked);
    await send(connection, answer, head.startsWith("HEAD "));
    await connection.closeWrite();
    // Closing before the client's body is read would reset the connection, and the answer could be lost.
    const rest = new Uint8Array(HEAD);
    while (await connection.read(rest) !== null);
  }

  #closeOldest(): void {
    for (const oldest of this.#open) return this.#close(oldest);
  }

  #close(connection: Deno.TcpConn): void {
    if (this.#open.delete(connection)) connection.close();
  }
}

/** Not with the error's stack: Deno reads files for that, and panics where none can be opened. */
function warnOf(error: unknown): void {
  const reason = error instanceof Error ? error.message : error;
  const text = "No connection for health can be accepted: {reason}";
  log("service").error(text, { reason });
}

/** Reason phrases of the status that are answered. */
const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  431: "Request Header Fields Too Large",
  503: "Service Unavailable",
};

/** The request up to its empty line, or what came of one that is too long; undefined if the client leaves before. */
async function headOf(connection: Deno.TcpConn): Promise<string | undefined> {
  const latin1 = new TextDecoder("latin1");
  const buffer = new Uint8Array(HEAD);
  let head = "";
  while (head.length < HEAD) {
    const size = await connection.read(buffer.subarray(head.length));
    if (size === null) return undefined;
    head += latin1.decode(buffer.subarray(head.length, head.length + size));
    const [whole, rest] = head.split(/\r?\n\r?\n/, 2);
    if (rest !== undefined) return whole;
  }
  return head;
}

/** What is asked, or the status that says why that cannot be told. */
function parsed(head: string): Asked | number {
  if (head.length >= HEAD) return 431;
  const [first = "", ...lines] = head.split(/\r?\n/);
  const [, method, target = "", minor] =
    /^([A-Z]+) (\S+) HTTP\/1\.([01])$/.exec(first) ?? [];
  if (method === undefined) return 400;
  const hosts = lines.flatMap((line) => /^host:(.*)$/i.exec(line)?.[1] ?? []);
  if (hosts.length !== 1 && (minor === "1" || hosts.length > 1)) return 400;
  const [host = ""] = hosts.map((host) => host.trim());
  const url = URL.parse(target, `http://${host || "localhost"}`);
  return url ? { method, pathname: url.pathname } : 400;
}

async function send(
  connection: Deno.TcpConn,
  { status, body, headers }: Answered,
  headOnly: boolean,
): Promise<void> {
  const json = new TextEncoder().encode(JSON.stringify(body));
  const lines = Object.entries({
    "content-type": "application/json",
    "content-length": json.length,
    date: new Date().toUTCString(),
    connection: "close",
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `HTTP/1.1 ${status} ${REASONS[status]}\r\n${lines.join("")}\r\n`;
  const bytes = new TextEncoder().encode(head);
  const answer = headOnly ? bytes : new Uint8Array([...bytes, ...json]);
  for (let sent = 0; sent < answer.length;) {
    sent += await connection.write(answer.subarray(sent));
  }
}

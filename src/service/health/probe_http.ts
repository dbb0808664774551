/** As much of HTTP as probes speak: a request without a body, and an answer in JSON, one on each connection. @module */

/** Bytes of a request without its body, at most. */
const MAX_HEAD_BYTES = 8_192;

/** A request. */
export interface ProbeRequest {
  /** Method, such as `GET`. */
  readonly method: string;
  /** Path, without its query. */
  readonly pathname: string;
}

/** An answer. */
export interface ProbeResponse {
  /** Status of HTTP. */
  readonly status: number;
  /** Body, sent as JSON. */
  readonly body: Readonly<Record<string, unknown>>;
  /** Further headers. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** Answers one request. */
export type ProbeHandler = (asked: ProbeRequest) => ProbeResponse;

/** Reads a request and answers it; false if the client leaves before it has asked. Throws what the connection throws. */
export async function serveProbe(
  connection: Deno.TcpConn,
  handler: ProbeHandler,
): Promise<boolean> {
  const head = await readHead(connection);
  if (head === undefined) return false;
  const request = parseHead(head);
  const response = typeof request === "number"
    ? { status: request, body: { status: REASONS[request] } }
    : handler(request);
  await send(connection, response, head.startsWith("HEAD "));
  return true;
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
async function readHead(connection: Deno.TcpConn): Promise<string | undefined> {
  const latin1 = new TextDecoder("latin1");
  const buffer = new Uint8Array(MAX_HEAD_BYTES);
  let head = "";
  while (head.length < MAX_HEAD_BYTES) {
    const size = await connection.read(buffer.subarray(head.length));
    if (size === null) return undefined;
    head += latin1.decode(buffer.subarray(head.length, head.length + size));
    const [whole, rest] = head.split(/\r?\n\r?\n/, 2);
    if (rest !== undefined) return whole;
  }
  return head;
}

/** The request, or the status that refuses it. */
function parseHead(head: string): ProbeRequest | number {
  if (head.length >= MAX_HEAD_BYTES) return 431;
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
  { status, body, headers }: ProbeResponse,
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

/** Subset of HTTP that probes need: one request on each connection, without a body, and a response in JSON or text. @module */
import { logger } from "../../logging.ts";

/** Maximum size of a request line and its headers. */
const MAX_HEAD_BYTES = 8_192;

/** Request of a probe. */
export interface ProbeRequest {
  /** Method, such as `GET`. */
  readonly method: string;
  /** Path without the query. */
  readonly pathname: string;
}

/** Response to a probe. */
export interface ProbeResponse {
  /** HTTP status. */
  readonly status: number;
  /** Body: a text, or an object that is sent as JSON. */
  readonly body: string | Readonly<Record<string, unknown>>;
  /** Additional headers. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** Returns the response to a request. */
export type ProbeHandler = (
  request: ProbeRequest,
) => ProbeResponse | Promise<ProbeResponse>;

/**
 * Reads a request and responds. Returns false if the client closes the connection before its request is complete. Throws
 * the errors of the connection.
 */
export async function serveProbe(
  connection: Deno.TcpConn,
  handler: ProbeHandler,
): Promise<boolean> {
  const head = await readHead(connection);
  if (head === undefined) return false;
  const request = parseHead(head);
  const response = typeof request === "number"
    ? { status: request, body: { status: REASONS[request] } }
    : await handled(request, handler);
  await send(connection, response, head.startsWith("HEAD "));
  return true;
}

/** Calls the handler; an error becomes a response, and is logged. */
async function handled(
  request: ProbeRequest,
  handler: ProbeHandler,
): Promise<ProbeResponse> {
  try {
    return await handler(request);
  } catch (error) {
    const text = "The health server cannot answer {path}: {error}";
    const path = request.pathname;
    logger("service").error(text, { path, error }, path);
    return { status: 500, body: { status: REASONS[500] } };
  }
}

/** Reason phrases of the statuses that occur. */
const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/**
 * Reads a request up to its empty line. A longer one is cut at `MAX_HEAD_BYTES`. Returns undefined if the client closes the
 * connection before.
 */
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

/** Parses a request; returns the status of the error response if it is invalid. */
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
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const content = new TextEncoder().encode(text);
  const lines = Object.entries({
    "content-type": "application/json",
    "content-length": content.length,
    date: new Date().toUTCString(),
    connection: "close",
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `HTTP/1.1 ${status} ${REASONS[status]}\r\n${lines.join("")}\r\n`;
  const bytes = new TextEncoder().encode(head);
  const response = headOnly ? bytes : concat(bytes, content);
  for (let sent = 0; sent < response.length;) {
    sent += await connection.write(response.subarray(sent));
  }
}

function concat(head: Uint8Array, content: Uint8Array): Uint8Array {
  const joined = new Uint8Array(head.length + content.length);
  joined.set(head);
  joined.set(content, head.length);
  return joined;
}

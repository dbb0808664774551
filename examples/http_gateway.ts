/**
 * HTTP in front of the compute service: calls become requests, error codes become statuses, and a stream becomes
 * Server-Sent Events. A client that disconnects cancels the handler. The token of an HTTP request goes with its calls.
 *
 *     AMQP_URL=amqp://localhost deno run -A examples/http_gateway.ts
 *
 * @module
 */
import {
  type Client,
  type ClientInterceptor,
  type ConnectionContext,
  createConnection,
  RpcError,
  type RpcErrorCode,
} from "../mod.ts";
import {
  compute,
  Forbidden,
  InstanceNotFound,
  Unauthenticated,
} from "./compute/contract.ts";

/** HTTP status of each code; all others are 500. */
const STATUS: Partial<Record<RpcErrorCode, number>> = {
  INVALID: 400,
  NO_ROUTE: 404,
  NO_SUCH_METHOD: 404,
  CONFLICT: 409,
  ABORTED: 499, // the client has gone: nobody reads it
  UNSUPPORTED: 501,
  INTERRUPTED: 502,
  BLOCKED: 503,
  CONNECTION: 503,
  DISPOSED: 503,
  REJECTED: 503,
  TIMEOUT: 504,
  UNCONFIRMED: 504,
};

/** Code and status of each error that the contract lists. */
const CONTRACT_ERRORS = [
  { type: InstanceNotFound, code: "INSTANCE_NOT_FOUND", status: 404 },
  { type: Unauthenticated, code: "UNAUTHENTICATED", status: 401 },
  { type: Forbidden, code: "FORBIDDEN", status: 403 },
];

/**
 * Body and status of an error. Messages go out only if they are meant for the client: those of the contract's errors, and
 * of INVALID, which is the client's own mistake. All others may name hosts, queues, or internals of a handler.
 */
function describeError(error: unknown): [body: object, status: number] {
  const listed = CONTRACT_ERRORS.find(({ type }) => error instanceof type);
  if (listed) {
    const { message } = error as Error;
    return [{ code: listed.code, message }, listed.status];
  }
  if (!(error instanceof RpcError)) return [{ code: "INTERNAL" }, 500];
  const { code, message, inDoubt } = error;
  const body = { code, inDoubt, ...(code === "INVALID" && { message }) };
  return [body, STATUS[code] ?? 500];
}

/** Adds the token of an HTTP request to each call that is made for it. The services verify it, not the gateway. */
function withTokenOf(request: Request): ClientInterceptor {
  const authorization = request.headers.get("authorization");
  return (call, next) =>
    authorization === null
      ? next(call)
      : next({ ...call, headers: { ...call.headers, authorization } });
}

const encoder = new TextEncoder();
const sse = (event: string, data: unknown) =>
  encoder.encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);

/** Sends the items of a stream as Server-Sent Events. The first item is awaited, so that a refusal becomes a status. */
async function eventStream(items: AsyncGenerator<unknown>): Promise<Response> {
  let next = await items.next();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) { // called when the client has room, so that back-pressure reaches the worker
      try {
        if (next.done) {
          controller.enqueue(sse("end", null));
          return controller.close();
        }
        controller.enqueue(sse("item", next.value));
        next = await items.next();
      } catch (error) {
        controller.enqueue(sse("error", describeError(error)[0]));
        controller.close();
      }
    },
    async cancel() { // the client has disconnected
      await items.return(undefined);
    },
  });
  const headers = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
  };
  return new Response(body, { headers });
}

/** Reads the body as JSON; what is none is refused by the contract's schema. */
async function bodyOf(request: Request): Promise<{ name: string }> {
  return await request.json().catch(() => ({}));
}

async function route(
  request: Request,
  client: Client<typeof compute>,
): Promise<Response> {
  const { pathname } = new URL(request.url);
  const { signal } = request; // fires when the client disconnects
  const [, collection, host, part, id] = pathname.split("/");
  const timeout = 5_000;
  if (pathname === "/instances" && request.method === "POST") {
    const args = await bodyOf(request);
    return Response.json(
      await client.call("runInstance", args, { signal, timeout }),
      { status: 201 },
    );
  }
  if (collection === "hosts" && host && part === "instances" && !id) {
    return Response.json(
      await client.call("list", {}, { host, signal, timeout }),
    );
  }
  if (collection === "hosts" && host && part === "console" && id) {
    const abort = new AbortController(); // not the request's signal: `cancel` ends the stream
    const options = { host, signal: abort.signal, timeout: 60_000 };
    return await eventStream(client.multicall("console", { id }, options));
  }
  return Response.json({ code: "NOT_FOUND" }, { status: 404 });
}

/** Makes the handler for `Deno.serve`. Each HTTP request has a client of its own, which costs about a microsecond. */
export function gateway(
  connection: ConnectionContext,
): (request: Request) => Promise<Response> {
  return async (request) => {
    const interceptors = [withTokenOf(request)];
    try {
      return await route(request, connection.client(compute, { interceptors }));
    } catch (error) {
      const [body, status] = describeError(error);
      const headers: HeadersInit = status === 401
        ? { "www-authenticate": "Bearer" }
        : {};
      return Response.json(body, { status, headers });
    }
  };
}

if (import.meta.main) {
  const url = Deno.env.get("AMQP_URL") ?? "amqp://localhost";
  await using connection = await createConnection(url);
  const server = Deno.serve({ port: 8000 }, gateway(connection));
  const stop = () => void server.shutdown(); // answers what is under way first
  Deno.addSignalListener("SIGINT", stop);
  Deno.addSignalListener("SIGTERM", stop);
  await server.finished;
  Deno.removeSignalListener("SIGINT", stop);
  Deno.removeSignalListener("SIGTERM", stop);
}

/**
 * An audit log: who did what, with the result and the duration, for the requests and the periodic tasks of a service and for
 * the events of a listener. The records hold no arguments, no headers and no messages of errors, which may be secret.
 *
 *     deno run -A examples/audit.ts
 *
 * @module
 */
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  contract,
  createConnection,
  events,
  implement,
  type RequestContext,
  Service,
  type ServiceInterceptor,
  type TaskInterceptor,
} from "../mod.ts";
import {
  authenticate,
  currentUser,
  Unauthenticated,
  withToken,
} from "./authentication.ts";

/** What was done. */
export interface AuditRecord {
  /** Time of the end, as ISO 8601. */
  readonly at: string;
  /** User whose token was verified, `unknown`, or the service that runs a task. */
  readonly who: string;
  /** Verb, `notification` or `task`. */
  readonly kind: string;
  /** Topic and procedure, topic and event, or topic and task. */
  readonly what: string;
  /** Thing that it was done to; undefined if nothing chose one. */
  readonly subject?: string | undefined;
  /** `done`, `cancelled` by the reader of a stream, or the class of the error. */
  readonly result: string;
  /** Duration in milliseconds. */
  readonly ms: number;
}

/** Stores a record. An audit log that cannot be written makes the request fail: reject to choose that. */
export type AuditLog = (record: AuditRecord) => void | Promise<void>;

/** Chooses the subject from the arguments, which no schema has checked. */
export type SubjectOf = (args: Readonly<Record<string, unknown>>) => unknown;

/** Characters of a subject. A caller chooses its length. */
const MAX_SUBJECT = 100;

/** The class of an error; its message may quote a secret. */
const classOf = (error: unknown) =>
  error instanceof Error ? error.name : `a ${typeof error}`;

const userOf = ({ locals }: RequestContext) =>
  locals.has(currentUser) ? locals.get(currentUser).name : "unknown";

const isStream = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === "object" && value !== null && Symbol.asyncIterator in value;

/** Passes a stream on; its record is written when it ends. */
async function* auditedStream(
  items: AsyncIterable<unknown>,
  { signal }: RequestContext,
  record: (result: string) => Promise<void>,
): AsyncGenerator<unknown, void, undefined> {
  let result = "cancelled";
  try {
    yield* items;
    if (!signal.aborted) result = "done";
  } catch (error) {
    if (!signal.aborted) result = classOf(error);
    throw error;
  } finally {
    await record(result);
  }
}

/**
 * Records the requests of a service, or the events of a listener. It is the outermost interceptor, so that it sees the
 * requests that others refuse.
 */
export function auditRequests(
  write: AuditLog,
  subjectOf: SubjectOf = () => undefined,
): ServiceInterceptor {
  return async (request, next) => {
    const began = performance.now();
    const { kind, topic, procedure, args, context } = request;
    const chosen = subjectOf(args);
    const subject = typeof chosen === "string"
      ? chosen.slice(0, MAX_SUBJECT)
      : undefined;
    const record = async (result: string) => {
      const at = new Date().toISOString();
      const who = userOf(context); // an inner interceptor has set it meanwhile
      const what = `${topic}.${procedure}`;
      const ms = Math.round(performance.now() - began);
      await write({ at, who, kind, what, subject, result, ms });
    };
    let result: unknown;
    try {
      result = await next(request);
    } catch (error) {
      await record(classOf(error));
      throw error;
    }
    if (isStream(result)) return auditedStream(result, context, record);
    await record("done");
    return result;
  };
}

/** Records the runs of the periodic tasks of a service. */
export function auditTasks(write: AuditLog): TaskInterceptor {
  return async ({ topic, host, task }, next) => {
    const began = performance.now();
    let result = "done";
    try {
      await next();
    } catch (error) {
      result = classOf(error);
      throw error;
    } finally {
      const at = new Date().toISOString();
      const who = `${topic} on ${host}`;
      const what = `${topic}.${task}`;
      const ms = Math.round(performance.now() - began);
      await write({ at, who, kind: "task", what, result, ms });
    }
  };
}

/** Error for an account that does not exist. */
class NoSuchAccount extends Error {
  override readonly name = "NoSuchAccount";
}

const accounts = contract({
  topic: "accounts",
  version: "1.0",
  errors: {
    "accounts.NoSuchAccount": NoSuchAccount,
    "accounts.Unauthenticated": Unauthenticated,
  },
  procedures: {
    open: { args: z.object({ id: z.string(), pin: z.string() }) },
    close: { args: z.object({ id: z.string() }) },
    statement: { args: z.object({ id: z.string() }), yields: z.string() },
    watch: { args: z.object({ id: z.string() }), yields: z.number() },
  },
});
const accountEvents = events({
  "account.opened": z.object({ id: z.string() }),
});

/** Accounts that exist. */
const open = new Set<string>();

const manager = implement(accounts, {
  open: ({ id }) => void open.add(id),
  close: ({ id }) => {
    if (!open.delete(id)) throw new NoSuchAccount(`There is no account ${id}`);
  },
  async *statement({ id }) {
    yield `${id}: opened`;
    yield `${id}: interest`;
  },
  async *watch(_args, { signal }) {
    for (let balance = 0; !signal.aborted; balance++) yield balance;
  },
}, {
  periodic: [{
    name: "interest",
    every: 60_000,
    initialDelay: 1,
    run: () => {},
  }],
});

/** Requests and an event of Ada, and a request of a stranger. */
async function requests(connection: ConnectionContext): Promise<void> {
  const interceptors = [withToken({ name: "Ada", admin: false })];
  const client = connection.client(accounts, { interceptors });
  await client.call("open", { id: "a1", pin: "1234" });
  await client.call("close", { id: "a2" }).catch(() => {});
  for await (const _ of client.multicall("statement", { id: "a1" }));
  for await (const _ of client.multicall("watch", { id: "a1" })) break;
  const stranger = connection.client(accounts);
  await stranger.call("close", { id: "a1" }).catch(() => {});
  const notifier = connection.notifier(accountEvents, { interceptors });
  await notifier.notify("account.opened", { id: "a1" });
}

if (import.meta.main) {
  const url = Deno.args[0] ?? "memory:audit";
  const cancelled = Promise.withResolvers<void>();
  const task = Promise.withResolvers<void>();
  const event = Promise.withResolvers<void>();
  const write: AuditLog = (record) => {
    console.log(JSON.stringify(record)); // a program writes to a file or a database instead
    if (record.kind === "task") task.resolve();
    if (record.kind === "notification") event.resolve();
    if (record.result === "cancelled") cancelled.resolve();
  };
  const audit = auditRequests(write, ({ id }) => id);
  await using _service = await Service.start({
    url,
    host: "gb07",
    manager,
    interceptors: [audit, authenticate],
    taskInterceptors: [auditTasks(write)],
    signals: false,
  });
  await using connection = await createConnection(url);
  await connection.createListener(accountEvents, {
    "account.opened": () => {},
  }, { pool: "greeters", interceptors: [audit, authenticate] });
  await task.promise;
  await requests(connection);
  await Promise.all([cancelled.promise, event.promise]);
}

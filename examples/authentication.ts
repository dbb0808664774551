/**
 * Callers and senders of events say who they are by a signed token in an application header. The service and the listener
 * check it before any handler runs, and handlers read the user from `context.locals`, which no caller can set.
 *
 *     deno run -A examples/authentication.ts
 *
 * @module
 */
import { z } from "npm:zod@^4.6.7";
import {
  type ClientInterceptor,
  type ConnectionContext,
  contract,
  createConnection,
  events,
  implement,
  type Local,
  local,
  Service,
  type ServiceInterceptor,
} from "../mod.ts";

/** A user, as the service has verified it. */
export interface User {
  readonly name: string;
  readonly admin: boolean;
}

/** Error for a request or an event without a valid token. */
export class Unauthenticated extends Error {
  override readonly name = "Unauthenticated";
}

/** Error for a user who may not do this. */
export class Forbidden extends Error {
  override readonly name = "Forbidden";
}

const vaults = contract({
  topic: "vaults",
  version: "1.0",
  errors: {
    "vaults.Unauthenticated": Unauthenticated,
    "vaults.Forbidden": Forbidden,
  },
  procedures: {
    read: { args: z.object({ id: z.string() }), result: z.string() },
    remove: { args: z.object({ id: z.string() }) },
  },
});

const vaultEvents = events({ "vault.opened": z.object({ id: z.string() }) });

// A secret that callers and services share; with a public key (JWT, mTLS) services could not make tokens themselves.
const secret = await crypto.subtle.importKey(
  "raw",
  crypto.getRandomValues(new Uint8Array(32)),
  { name: "HMAC", hash: "SHA-256" },
  false,
  ["sign", "verify"],
);
const encode = (text: string) => new TextEncoder().encode(text);

/** A token lasts longer than a cast may wait: a cast keeps its headers over all attempts. */
const TOKEN_MS = 3_600_000;

/** Makes a token: a JSON text and its signature. */
async function sign(user: User): Promise<string> {
  const text = JSON.stringify({ ...user, expires: Date.now() + TOKEN_MS });
  const signature = await crypto.subtle.sign("HMAC", secret, encode(text));
  return `${btoa(text)}.${new Uint8Array(signature).toBase64()}`;
}

const Token = z.object({
  name: z.string(),
  admin: z.boolean(),
  expires: z.number(),
});

/** Checks a token and returns its user. */
async function verify(token: string | undefined): Promise<User> {
  try {
    const [text = "", signature = ""] = `${token}`.split(".");
    const bytes = Uint8Array.fromBase64(signature);
    const json = atob(text);
    const valid = await crypto.subtle.verify(
      "HMAC",
      secret,
      bytes,
      encode(json),
    );
    const { expires, ...user } = Token.parse(JSON.parse(json));
    if (valid && expires > Date.now()) return user;
  } catch {
    // It is malformed.
  }
  throw new Unauthenticated("There is no valid token");
}

/** Adds the user's token to each request of a client, and to each event of a notifier. */
export const withToken =
  (user: User): ClientInterceptor => async (request, next) => {
    const authorization = await sign(user);
    return await next({
      ...request,
      headers: { ...request.headers, authorization },
    });
  };

/** The user whose token was verified. */
export const currentUser: Local<User> = local<User>("user");

/** Verifies the token of each request or event. One without a valid token reaches no handler. */
export const authenticate: ServiceInterceptor = async (request, next) => {
  const user = await verify(request.headers.authorization);
  request.context.locals.set(currentUser, user);
  return await next(request);
};

/** Refuses procedures that are for administrators. */
const authorize: ServiceInterceptor = (request, next) => {
  const { name, admin } = request.context.locals.get(currentUser);
  if (request.procedure === "remove" && !admin) {
    throw new Forbidden(`${name} may not remove a vault`);
  }
  return next(request);
};

/** A token of Mallory with which he claims to be Ada. */
const forged: ClientInterceptor = (request, next) =>
  withToken({ name: "Mallory", admin: true })(request, (signed) => {
    const [, signature] = `${signed.headers.authorization}`.split(".");
    const text = JSON.stringify({ name: "Ada", admin: true, expires: 9e15 });
    const authorization = `${btoa(text)}.${signature}`;
    return next({ ...signed, headers: { authorization } });
  });

/** Prints the class of the error with which a call fails. */
const outcomeOf = (call: Promise<unknown>) =>
  call.then(
    () => console.log("done"),
    ({ name, message }) => console.log(`${name}: ${message}`),
  );

/** Calls of users, of a stranger and of a forger. */
async function calls(connection: ConnectionContext): Promise<void> {
  const ada = withToken({ name: "Ada", admin: false });
  const client = connection.client(vaults, { interceptors: [ada] });
  console.log(await client.call("read", { id: "v1" }));
  await outcomeOf(client.call("remove", { id: "v1" }));
  const grace = withToken({ name: "Grace", admin: true });
  const admin = connection.client(vaults, { interceptors: [grace] });
  await outcomeOf(admin.call("remove", { id: "v1" }));

  // Without a token, or with values that claim to be somebody, nothing is answered: `context.values` is the caller's word.
  const stranger = connection.client(vaults);
  const context = { user: "Ada", admin: true };
  await outcomeOf(stranger.call("read", { id: "v1" }, { context }));
  const forger = connection.client(vaults, { interceptors: [forged] });
  await outcomeOf(forger.call("read", { id: "v1" }));
}

/** Events of a user, of a stranger and of a forger. */
async function notifications(connection: ConnectionContext): Promise<void> {
  const settled = [1, 2, 3].map(() => Promise.withResolvers<void>());
  let count = 0;
  const print: ServiceInterceptor = async (request, next) => {
    try {
      return await next(request);
    } catch (error) {
      console.log(`${request.procedure} refused: ${error}`);
      throw error;
    } finally {
      settled[count++]?.resolve();
    }
  };
  await connection.createListener(vaultEvents, {
    "vault.opened": ({ payload }, { locals }) =>
      console.log(`${payload.id} opened, says ${locals.get(currentUser).name}`),
  }, {
    pool: "vault-guards",
    interceptors: [print, authenticate],
    retry: { attempts: 1 }, // a token that is not valid will not become valid: a dead letter at once
  });
  const ada = withToken({ name: "Ada", admin: false });
  const senders = [[ada], [], [forged]]; // a user, a stranger, a forger
  for (const [at, interceptors] of senders.entries()) {
    const notifier = connection.notifier(vaultEvents, { interceptors });
    await notifier.notify("vault.opened", { id: `v${at + 1}` });
    await settled[at]?.promise;
  }
}

if (import.meta.main) {
  const url = Deno.args[0] ?? "memory:authentication";
  await using _service = await Service.start({
    url,
    manager: implement(vaults, {
      read: ({ id }, { locals }) =>
        `${id}, for ${locals.get(currentUser).name}`,
      remove: () => {},
    }),
    interceptors: [authenticate, authorize], // the first is the outermost
    signals: false,
  });
  await using connection = await createConnection(url);
  await calls(connection);
  await notifications(connection);
}

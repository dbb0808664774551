/**
 * Callers say who they are by a signed token in an application header; the service checks it before any handler runs, and
 * handlers read the user from `context.locals`, which no caller can set.
 *
 *     deno run -A examples/authentication.ts
 *
 * @module
 */
import { z } from "npm:zod@^4.6.7";
import {
  type ClientInterceptor,
  contract,
  createConnection,
  implement,
  local,
  Service,
  type ServiceInterceptor,
} from "../mod.ts";

/** A user, as the service has verified it. */
interface User {
  readonly name: string;
  readonly admin: boolean;
}

/** Error for a request without a valid token. */
class Unauthenticated extends Error {
  override readonly name = "Unauthenticated";
}

/** Error for a user who may not do this. */
class Forbidden extends Error {
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
  throw new Unauthenticated("The request has no valid token");
}

/** Adds the caller's token to each request. */
const withToken = (user: User): ClientInterceptor => async (request, next) => {
  const authorization = await sign(user);
  return await next({
    ...request,
    headers: { ...request.headers, authorization },
  });
};

const currentUser = local<User>("user");

/** Verifies the token of each request. A request without one reaches no handler. */
const authenticate: ServiceInterceptor = async (request, next) => {
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

const url = Deno.args[0] ?? "memory:authentication";
await using _service = await Service.start({
  url,
  manager: implement(vaults, {
    read: ({ id }, { locals }) => `${id}, for ${locals.get(currentUser).name}`,
    remove: () => {},
  }),
  interceptors: [authenticate, authorize], // the first is the outermost
  signals: false,
});
await using connection = await createConnection(url);

const ada = withToken({ name: "Ada", admin: false });
const client = connection.client(vaults, { interceptors: [ada] });
console.log(await client.call("read", { id: "v1" }));
/** Prints the class of the error with which a call fails. */
const refused = (call: Promise<unknown>) =>
  call.then(
    () => console.log("done"),
    ({ name, message }) => console.log(`${name}: ${message}`),
  );
await refused(client.call("remove", { id: "v1" }));
const root = withToken({ name: "Grace", admin: true });
const admin = connection.client(vaults, { interceptors: [root] });
await refused(admin.call("remove", { id: "v1" }));

// Without a token, or with values that claim to be somebody, nothing is answered: `context.values` is the caller's word.
const stranger = connection.client(vaults);
const context = { user: "Ada", admin: true };
await refused(stranger.call("read", { id: "v1" }, { context }));
const forged = withToken({ name: "Mallory", admin: true });
const forger = connection.client(vaults, {
  interceptors: [
    (request, next) =>
      forged(request, (signed) => {
        const [, signature] = `${signed.headers.authorization}`.split(".");
        const text = JSON.stringify({
          name: "Ada",
          admin: true,
          expires: 9e15,
        });
        const authorization = `${btoa(text)}.${signature}`;
        return next({ ...signed, headers: { authorization } });
      }),
  ],
});
await refused(forger.call("read", { id: "v1" }));

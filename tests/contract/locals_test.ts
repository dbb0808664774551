/** Locals: typed values of one request. */
import assert from "node:assert/strict";
import { local, requestContext } from "../../mod.ts";

Deno.test("a local is found by its key alone, and tells its name where it was not set", () => {
  const first = local<string>("user");
  const second = local<number | undefined>("user");
  const { locals } = requestContext();
  assert.equal(locals.has(first), false);
  assert.throws(() => locals.get(first), /No value for the local user/);
  locals.set(first, "ada");
  assert.equal(locals.get(first), "ada");
  assert.equal(locals.has(second), false);
  locals.set(second, undefined);
  assert.equal(locals.has(second), true);
  assert.equal(locals.get(second), undefined);
});

Deno.test("a copy of a context keeps its locals; another context has its own", () => {
  const key = local<string>("key");
  const context = requestContext({ user_id: "u" });
  const copy = { ...context };
  copy.locals.set(key, "value");
  assert.equal(context.locals.get(key), "value");
  assert.equal(requestContext().locals.has(key), false);
});

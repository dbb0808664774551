/** The program that uses every form of the public types, and the forms that must not compile, type-checks. */
import assert from "node:assert/strict";

Deno.test("tests/types/user.ts compiles, and each of its refusals is one", async () => {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["check", new URL("user.ts", import.meta.url).pathname],
    env: { NO_COLOR: "1" },
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
});

/** What a log shows of values, texts and errors. */
import assert from "node:assert/strict";
import { loggable, masked, maskedText } from "../src/masked.ts";

const texts: [given: string, shown: string][] = [
  ["amqp://guest:p@ss@host/v", "amqp://<SANITIZED>@host/v"],
  ["amqp://me:a/b@host", "amqp://<SANITIZED>@host"],
  ["see http://host/path", "see http://host/path"],
  ['password="hunter two" and more', "password=<SANITIZED> and more"],
  ['{"db_password": "x y", "a": 1}', '{"db_password": <SANITIZED>, "a": 1}'],
  ["x-api-key: abc, next", "x-api-key: <SANITIZED>, next"],
  ["credentials=abc&x=1", "credentials=<SANITIZED>&x=1"],
  ["the token is old", "the token is old"],
];
for (const [given, shown] of texts) {
  Deno.test(`a text is shown without secrets: ${given}`, () => {
    assert.equal(maskedText(given), shown);
  });
}

Deno.test("a value is shown without secrets, circles, and no end", () => {
  const circle: Record<string, unknown> = { token: "T", list: [1, [2]] };
  circle.itself = circle;
  circle.twice = [circle, { circle }];
  assert.deepEqual(masked(circle), {
    token: "<SANITIZED>",
    list: [1, [2]],
    itself: "…",
    twice: ["…", { circle: "…" }],
  });
  const same = { a: 1 };
  assert.deepEqual(masked([same, same]), [same, same]);
  const wide = masked(Array.from({ length: 20_000 }, () => 0)) as unknown[];
  assert.equal(wide.filter((item) => item === 0).length, 9_999);
});

Deno.test("an error is shown with its data, without what else it carries", () => {
  const error = Object.assign(new Error("at amqp://u:PW@h"), {
    data: { password: "PW", id: 7 },
    request: "PW",
    cause: { secret: "PW" },
  });
  const text = Deno.inspect(loggable(error));
  assert.ok(!text.includes("PW"), text);
  assert.match(text, /id: 7/);
  const odd = {
    get x() {
      throw new Error("no");
    },
  };
  assert.equal(loggable(odd), "what cannot be read");
  assert.equal(loggable("at amqp://u:PW@h"), "at amqp://<SANITIZED>@h");
  const cut = maskedText(`${" ".repeat(9_990)}amqp://u:PASSWORD@host`);
  assert.ok(!cut.includes("u:"), cut.trim());
  assert.deepEqual(masked({ "api-key": "K" }), { "api-key": "<SANITIZED>" });
});

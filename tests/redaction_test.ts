/** What a log shows of values, texts and errors. */
import assert from "node:assert/strict";
import {
  getAnsiColorFormatter,
  getJsonLinesFormatter,
  getTextFormatter,
  type TextFormatter,
} from "npm:@logtape/logtape@^2.4.2";
import { loggableError, redact, redactText } from "../src/redaction.ts";

const texts: [given: string, shown: string][] = [
  ["amqp://guest:p@ss@host/v", "amqp://<SANITIZED>@host/v"],
  ["amqp://me:a/b@host", "amqp://<SANITIZED>@host"],
  ["see http://host/path", "see http://host/path"],
  ['password="hunter two" and more', "password=<SANITIZED> and more"],
  ['{"db_password": "x y", "a": 1}', '{"db_password": <SANITIZED>, "a": 1}'],
  ["x-api-key: abc, next", "x-api-key: <SANITIZED>, next"],
  ["credentials=abc&x=1", "credentials=<SANITIZED>&x=1"],
  ["the token is old", "the token is old"],
  [`token="cut off in the mid`, "token=<SANITIZED>"],
  [`password="a\\"b", next`, "password=<SANITIZED>, next"],
  [`${"a-".repeat(60)}token=T`, `${"a-".repeat(60)}token=<SANITIZED>`],
  [`amqp://u:${"P".repeat(900)}@host`, "amqp://<SANITIZED>@host"],
  ["Authorization: Basic dTpw", "Authorization: <SANITIZED>"],
  [
    "{'authorization': 'Digest a=\"b\"', x: 1}",
    "{'authorization': <SANITIZED>, x: 1}",
  ],
  ["sent Bearer ey.J-x, then", "sent Bearer <SANITIZED>, then"],
  [
    `Invalid type: Expected number but received "hunter2"`,
    "Invalid type: Expected number but received <SANITIZED>",
  ],
  [
    "expected 'a' | 'b', received 'hunter2'",
    "expected 'a' | 'b', received <SANITIZED>",
  ],
  [
    `password must be a number (was "hunter2")`,
    "password must be a number (was <SANITIZED>)",
  ],
  [
    "for queue 'q': received 'true' but current is 'false'",
    "for queue 'q': received 'true' but current is 'false'",
  ],
];
for (const [given, shown] of texts) {
  Deno.test(`a text is shown without secrets: ${given}`, () => {
    assert.equal(redactText(given), shown);
  });
}

Deno.test("a value is shown without secrets, circles, and no end", () => {
  const circle: Record<string, unknown> = { token: "T", list: [1, [2]] };
  circle.itself = circle;
  circle.twice = [circle, { circle }];
  assert.deepEqual(redact(circle), {
    token: "<SANITIZED>",
    list: [1, [2]],
    itself: "…",
    twice: ["…", { circle: "…" }],
  });
  const same = { a: 1 };
  assert.deepEqual(redact([same, same]), [same, same]);
  const wide = redact(Array.from({ length: 20_000 }, () => 0)) as unknown[];
  assert.equal(wide.filter((item) => item === 0).length, 9_999);
});

Deno.test("an error is shown with its data, without what else it carries", () => {
  const error = Object.assign(new Error("at amqp://u:PW@h"), {
    data: { password: "PW", id: 7 },
    request: "PW",
    cause: { secret: "PW" },
  });
  const text = Deno.inspect(loggableError(error));
  assert.ok(!text.includes("PW"), text);
  assert.match(text, /"id":7/);
  const odd = {
    get x() {
      throw new Error("no");
    },
  };
  assert.equal(loggableError(odd), "a value that cannot be read");
  assert.equal(loggableError("at amqp://u:PW@h"), "at amqp://<SANITIZED>@h");
  const cut = redactText(`${" ".repeat(9_990)}amqp://u:PASSWORD@host`);
  assert.ok(!cut.includes("u:"), cut.trim());
  assert.deepEqual(redact({ "api-key": "K" }), { "api-key": "<SANITIZED>" });
});

/** The shortest of many runs, in milliseconds: the only figure that other processes do not blur. */
function fastest(work: () => void): number {
  const runs = Array.from({ length: 40 }, () => {
    const began = performance.now();
    work();
    return performance.now() - began;
  });
  return Math.min(...runs);
}

Deno.test("a text that strangers made up for it takes no longer to mask than any other", () => {
  const plain = "a text with a few words in it. ".repeat(342);
  const usual = fastest(() => redactText(plain));
  const parts = [
    "a-",
    `token="`,
    `token=\\"`,
    "://",
    "was `",
    "bearer ",
    "authorization:",
  ];
  for (const part of parts) {
    const text = part.repeat(Math.ceil(plain.length / part.length));
    const took = fastest(() => redactText(text));
    assert.ok(took < 20 * usual + 0.1, `${part}: ${took} ms, not ${usual} ms`);
  }
});

Deno.test("an error is one line of at most 4 kB in any format, whatever is in it", () => {
  const evil = `\r\nFAKE \x1b[2J\u2028\u202e\u0085"\\ password=PW ${
    "ü".repeat(10_000)
  }`;
  const made = Object.assign(new Error(evil, { cause: new Error(evil) }), {
    name: evil,
    data: { [evil]: evil, list: [1n] },
    more: evil,
  });
  made.stack = `${evil}\n    at ${evil} (file:///x.ts:1:1)`;
  const formats: TextFormatter[] = [
    getTextFormatter(),
    getTextFormatter({ value: "bare" }),
    getAnsiColorFormatter(),
    getJsonLinesFormatter(),
  ];
  for (const thrown of [made, evil, { evil }, [evil], Symbol(evil)]) {
    for (const format of formats) {
      const shown = loggableError(loggableError(thrown));
      const line = format({
        category: ["warren"],
        level: "error",
        message: ["failed: ", shown, ""],
        rawMessage: "failed: {shown}",
        properties: {},
        timestamp: 0,
      }).trimEnd().replaceAll(/\p{Cc}\[\d*m/gu, ""); // colours of the formatter
      const found = /[\p{Cc}\u2028\u202e]|PW/u.exec(line)?.[0];
      assert.equal(found, undefined, line.slice(0, 300));
      assert.ok(new TextEncoder().encode(line).length < 4_096);
    }
  }
});

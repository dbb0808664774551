/** Answers that are kept in buffers come back as they were. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { digestOf } from "../../../src/rpc/cache/digest.ts";
import {
  HeadersTable,
  parseHead,
  serializeHead,
} from "../../../src/rpc/cache/message_head.ts";
import { ReplyCache } from "../../../src/rpc/cache/reply_cache.ts";
import type { Message } from "../../../src/transport/transport.ts";
import { replyHeaders } from "../../../src/wire/headers.ts";

const reply = {
  kind: "reply",
  id: undefined,
  call: "c",
  ending: true,
} as const;
const PLAIN = replyHeaders(reply);
const PARSED = replyHeaders({ ...reply, parsed: true });

/** A message as the server encodes it. */
const usual = (n: number, headers: Message["headers"] = PARSED): Message => ({
  body: new Uint8Array(n).fill(n),
  headers,
  messageId: `m${n}`.padStart(32, "0"),
  correlationId: `c${n}`.padStart(32, "0"),
  mandatory: true,
});

/** Messages with digests of their bodies, since the difference of two large bodies takes minutes to print. */
const comparable = (messages: readonly Message[] | undefined) =>
  messages?.map(({ body, ...rest }) => ({
    ...rest,
    length: body.length,
    body: createHash("sha256").update(body).digest("hex"),
  }));

/** Messages of all kinds; each has another field, or another value of a field. */
const MESSAGES: readonly Message[] = [
  usual(0),
  usual(1, PLAIN),
  usual(300, {}),
  usual(2, replyHeaders({ ...reply, sequence: 7, runId: "r", inbox: "é" })),
  usual(3, Object.freeze({ "warren-call": "中\u{1f600}" })),
  { ...usual(4), headers: { n: 1, none: null, deep: { list: [1, "2"] } } },
  { ...usual(5), mandatory: false },
  { body: new Uint8Array([1]), headers: PARSED },
  { ...usual(6), messageId: "", correlationId: "" },
  { ...usual(6), messageId: "1 2 3 ", correlationId: "4 { 5" },
  { ...usual(7), messageId: "中", correlationId: "é\0\u{1f600}" },
  { ...usual(7), correlationId: "half a character \ud800" },
  { ...usual(8), correlationId: "x".repeat(300) },
  { ...usual(9), replyTo: "queue" },
  { ...usual(10), expiration: 0 },
  { ...usual(11), persistent: true },
  { ...usual(12), persistent: false },
  { ...usual(13), encodedProperties: new Uint8Array([0, 255, 7]) },
  { ...usual(14), unreadable: "a reason" },
  { ...usual(15), oversized: 2 ** 31 },
];

Deno.test("answers of any size and kind are kept next to each other as they were", () => {
  const cache = new ReplyCache();
  const sizes = [65_000, 70_000, 5, 200_000, 16_384, 65_536, 7];
  const all = [...MESSAGES, ...sizes.map((size) => usual(size)), ...MESSAGES];
  const entry = (n: number) => all.slice(n, n + n % 4); // none to three
  for (let n = 0; n < all.length; n++) cache.set(digestOf(`${n}`), entry(n));
  for (let n = 0; n < all.length; n++) {
    const stored = cache.get(digestOf(`${n}`));
    assert.deepEqual(comparable(stored), comparable(entry(n)));
  }
  assert.equal(cache.get(digestOf("unknown")), undefined);
});

Deno.test("answers whose ids are more bytes than characters fit into their buffers", () => {
  const cache = new ReplyCache();
  const wide = (n: number): Message => ({
    ...usual(n % 10),
    correlationId: `${n} ${"中".repeat(n)}`,
  });
  for (let n = 0; n < 1_000; n++) cache.set(digestOf(`${n}`), [wide(n)]);
  for (let n = 0; n < 1_000; n++) {
    assert.deepEqual(cache.get(digestOf(`${n}`)), [wide(n)]);
  }
});

Deno.test("an answer is a copy of its own, without the fields that it did not have", () => {
  const cache = new ReplyCache();
  const message = usual(50);
  const { body } = message;
  cache.set(digestOf("a"), [{ ...message, replyTo: undefined }]);
  body.fill(0);
  const [first] = cache.get(digestOf("a")) ?? [];
  assert.deepEqual(first, usual(50));
  assert.equal(first?.body.buffer.byteLength, 50);
  first?.body.fill(1);
  assert.deepEqual(cache.get(digestOf("a")), [usual(50)]);
});

Deno.test("headers that most answers have are kept once, of others 16 objects, and none that can change", () => {
  const table = new HeadersTable();
  assert.match(serializeHead(usual(1), table), /^1 32 /);
  assert.match(serializeHead(usual(2), table), /^1 32 /);
  assert.equal(table.at(1), PARSED);
  const open = { key: "before" };
  const head = serializeHead(usual(3, open), table);
  open.key = "after";
  assert.deepEqual(parseHead(head, table).headers, { key: "before" });
  const frozen = Array.from(
    { length: 50 },
    (_, n) => Object.freeze({ key: `${n}` }),
  );
  const heads = frozen.map((headers) =>
    serializeHead(usual(4, headers), table)
  );
  assert.equal(heads.filter((each) => !each.startsWith("{")).length, 14);
  for (const [n, each] of heads.entries()) {
    assert.deepEqual(parseHead(each, table).headers, frozen[n]);
  }
});

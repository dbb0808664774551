/** Messages of Folsom, Grizzly, Havana and oslo.messaging, captured: what they mean, and that Warren says the same. */
import assert from "node:assert/strict";
import { decode, encode } from "../../src/wire/codec.ts";
import { folsom, grizzly, oslo } from "../../src/wire/dialect.ts";
import type { ReplyForm } from "../../src/wire/rpc_message.ts";
import vectors from "../fixtures/wire/messages.json" with { type: "json" };

type Body = Record<string, unknown>;

const utf8 = new TextEncoder();
const parse = (text: string): Body => JSON.parse(text);

/** The body within an envelope, with the failure's JSON parsed too. */
function inner(text: string): Body {
  const outer = parse(text);
  const sealed = outer["oslo.message"];
  const body = typeof sealed === "string" ? parse(sealed) : outer;
  return typeof body.failure === "string"
    ? { ...body, failure: parse(body.failure) }
    : body;
}

function decoded(body: string) {
  const result = decode(utf8.encode(body), {});
  assert.ok("message" in result, JSON.stringify(result));
  return result;
}

/** In which form the sender wants its answer: by who it is. */
function formOf(name: string, body: Body): ReplyForm {
  if (!("_reply_q" in body)) return "perCallQueue";
  return /^(grizzly|havana)/.test(name) ? "twoMessages" : "oneMessage";
}

function contextOf(body: Body): Body {
  const prefix = "_context_";
  const entries = Object.entries(body).filter(([key]) => key.startsWith(prefix))
    .map(([key, value]) => [key.slice(prefix.length), value]);
  return Object.fromEntries(entries);
}

/** Without keys whose value is undefined. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

const kinds = { request: 0, reply: 0, notification: 0 };

Deno.test.each(vectors.map((vector) => [vector.name, vector] as const))(
  "decode understands %s, and encode says it again",
  (name, { body: text }) => {
    const body = inner(text);
    const { message, dialect } = decoded(text);
    assert.equal(dialect, "oslo.message" in parse(text) ? oslo : grizzly);
    assert.ok(message.kind !== "control");
    kinds[message.kind]++;
    if (message.kind === "request") {
      assert.equal(message.method, body.method);
      assert.deepEqual(message.args, body.args);
      assert.equal(message.version, body.version);
      assert.equal(message.namespace, body.namespace ?? undefined);
      assert.deepEqual(message.context, contextOf(body));
      assert.equal(message.id, body._unique_id);
      assert.equal(
        message.monitor,
        name === "monitor_request" ? 2_000 : undefined,
      );
      const call = body._msg_id;
      const { ids, ...reply } = message.reply ?? {};
      assert.deepEqual(
        reply,
        call === undefined
          ? {}
          : { call, queue: body._reply_q ?? call, form: formOf(name, body) },
      );
      if (call !== undefined) assert.equal(ids === false, !message.id);
    } else if (message.kind === "reply") {
      assert.equal(message.call, body._msg_id);
      assert.deepEqual(message.result, body.result);
      assert.equal(
        message.ending,
        body.ending === true || body.failure !== null,
      );
      const {
        class: type,
        module,
        message: said,
        kwargs: data,
        tb: traceback,
        args,
      } = (body.failure ?? {}) as Body;
      assert.deepEqual(
        message.failure,
        body.failure === null ? undefined : {
          ...{ type, module, message: said, data, traceback },
          ...(plain(args) + "" === said ? {} : { args }),
        },
      );
    } else {
      assert.equal(message.eventType, body.event_type);
      assert.equal(message.publisherId, body.publisher_id);
      assert.equal(message.messageId, body.message_id);
      assert.equal(message.priority, body.priority);
      assert.equal(message.timestamp, body.timestamp);
      assert.deepEqual(message.payload, body.payload);
      assert.deepEqual(message.context, contextOf(body));
    }
    if (name.startsWith("havana")) return; // nobody is asked as Havana asks
    const own = name.startsWith("folsom") ? folsom : dialect;
    const form = message.kind === "reply" ? replyForm(name, body) : undefined;
    const said = encode(message, own, undefined, form);
    const again = inner(new TextDecoder().decode(said.body));
    assert.deepEqual(plain(again), plain(body));
    if (message.kind !== "reply") assert.deepEqual(said.headers, {});
  },
);

function replyForm(name: string, body: Body): ReplyForm {
  if (!("_msg_id" in body)) return "perCallQueue";
  return name.startsWith("grizzly") ? "twoMessages" : "oneMessage";
}

Deno.test("the vectors are of all kinds", () => {
  assert.ok(kinds.request > 30 && kinds.reply > 30 && kinds.notification >= 5);
});

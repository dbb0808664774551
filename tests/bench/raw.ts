/**
 * amqplib on Deno without a framework: no schemas, no deadlines, no recovery. `raw.ts client|server <topic> [variant]`:
 * `bare` sends the least that works; `frames` the frames that Warren sends: mandatory, confirms on both sides, acknowledged
 * when the answer was confirmed. One write for each turn of the event loop.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import type { Duplex } from "node:stream";
import {
  type ChannelModel,
  connect,
  type ConsumeMessage,
  type Options,
} from "npm:amqplib@2.3.1";
import { type Client, serveOrders } from "./load.ts";
import { type Args, Counter, tell } from "./orders.ts";

const [role = "", topic = "bench", variant = "bare"] = Deno.args;
const full = variant === "frames";
const url = Deno.env.get("AMQP_URL") ?? "amqp://127.0.0.1";
const text = "y".repeat(70);
const encode = (value: unknown) => Buffer.from(JSON.stringify(value));
const newId = () => crypto.randomUUID().replaceAll("-", "");

function corked(model: ChannelModel): void {
  const { stream } = model.connection as unknown as { stream: Duplex };
  const write = stream.write.bind(stream) as Duplex["write"];
  let waiting = false;
  stream.write = ((chunk: Buffer) => {
    if (!waiting) {
      waiting = true;
      stream.cork();
      process.nextTick(() => {
        waiting = false;
        stream.uncork();
      });
    }
    return write(chunk);
  }) as Duplex["write"];
}

async function open(): Promise<ChannelModel> {
  const model = await connect(url, { noDelay: true });
  corked(model);
  return model;
}

/** What every request and answer of Warren's carries. */
const words = full
  ? {
    contentType: "application/json",
    contentEncoding: "utf-8",
    mandatory: true,
  }
  : {};

async function serve(): Promise<void> {
  const [incoming, outgoing] = [await open(), await open()];
  const receiving = await incoming.createChannel();
  const sending = full
    ? await outgoing.createConfirmChannel()
    : await outgoing.createChannel();
  const counter = new Counter();
  if (full) await receiving.assertExchange("warren", "topic");
  await receiving.assertQueue(topic, { durable: full, autoDelete: !full });
  if (full) await receiving.bindQueue(topic, "warren", topic);
  const fanout = `${topic}_fanout`;
  await receiving.assertExchange(fanout, "fanout", { durable: full });
  const { queue } = await receiving.assertQueue("", { exclusive: true });
  await receiving.bindQueue(queue, fanout, "");
  const receive = (message: ConsumeMessage | null) => {
    if (!message) return;
    const ack = () => full && receiving.ack(message);
    const { correlationId, replyTo } = message.properties;
    const { args } = JSON.parse(message.content.toString());
    if (!replyTo) {
      counter.handled();
      return ack();
    }
    const result = { id: args.id, text };
    const options = { ...words, correlationId };
    if (!full) {
      sending.sendToQueue(replyTo, encode({ result }), options);
      return;
    }
    const id = newId();
    const answer = { result, failure: null, ending: true, _unique_id: id };
    const body = encode({ ...answer, _msg_id: correlationId });
    const more = { messageId: id, headers: { warren: "1" } };
    const sent: Options.Publish = { ...options, ...more };
    sending.publish("", replyTo, body, sent, ack);
  };
  if (full) await receiving.prefetch(512);
  await receiving.consume(topic, receive, { noAck: !full });
  await receiving.consume(queue, receive, { noAck: !full });
  tell({ ready: true });
  await counter.obey();
  await receiving.deleteQueue(topic);
  await receiving.deleteExchange(fanout);
  await Promise.all([incoming.close(), outgoing.close()]);
}

/** What is sent for a request; `id` names the call. */
function requestOf(method: string, args: Args, id: string, inbox?: string) {
  if (!full) return { body: encode({ args }), options: { persistent: false } };
  const reply = { _msg_id: id, _reply_q: inbox, _timeout: null };
  const body = encode({
    method,
    args,
    version: "1.0",
    ...(inbox && reply),
    _unique_id: id,
  });
  const call = {
    headers: { warren: "1", "warren-timeout": "60000" },
    expiration: "60000",
  };
  const cast = { persistent: true, headers: {} };
  const options = { ...words, messageId: id, ...(inbox ? call : cast) };
  return { body, options };
}

async function call(): Promise<void> {
  const [incoming, outgoing] = [await open(), await open()];
  const receiving = await incoming.createChannel();
  const sending = await outgoing.createChannel();
  const confirming = await outgoing.createConfirmChannel();
  const waiting = new Map<string, (answer: Args) => void>();
  const exchange = full ? "warren" : "";
  const { queue: inbox } = await receiving.assertQueue(
    full ? `reply_${newId()}` : "",
    full ? { durable: true, expires: 60_000 } : { exclusive: true },
  );
  await receiving.consume(inbox, (message) => {
    if (!message) return;
    if (full) receiving.ack(message);
    const { correlationId } = message.properties;
    const { result } = JSON.parse(message.content.toString());
    waiting.get(correlationId)?.(result);
    waiting.delete(correlationId);
  }, { noAck: !full });
  const publish = (exchange: string, key: string, args: Args) => {
    const { body, options } = requestOf("note", args, newId());
    if (!full) {
      const free = sending.publish(exchange, key, body, options);
      return free ? Promise.resolve() : drained();
    }
    return new Promise<void>((resolve, reject) =>
      confirming.publish(
        exchange,
        key,
        body,
        options,
        (error) => error ? reject(error) : resolve(),
      )
    );
  };
  let draining: Promise<unknown> | undefined;
  const drained = () =>
    draining ??= new Promise((resolve) => sending.once("drain", resolve))
      .finally(() => draining = undefined);
  const client: Client = {
    call: (args) =>
      new Promise((resolve) => {
        const id = newId();
        waiting.set(id, resolve);
        const { body, options } = requestOf("lookup", args, id, inbox);
        const told = { ...options, correlationId: id, replyTo: inbox };
        sending.publish(exchange, topic, body, told);
      }),
    cast: (args) => publish(exchange, topic, args),
    fanout: (args) => publish(`${topic}_fanout`, "", args),
  };
  await serveOrders(client);
  await receiving.deleteQueue(inbox);
  await Promise.all([incoming.close(), outgoing.close()]);
}

await (role === "client" ? call() : serve());

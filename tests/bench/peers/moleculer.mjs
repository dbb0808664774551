/**
 * Moleculer on its AMQP transporter: `moleculer.mjs ROLE TOPIC [fast|reliable]`; TOPIC is its namespace.
 * `fast`: Moleculer chooses the node; a request goes to the node's queue and is acknowledged after the
 * handler, an event goes to the node's queue and is not acknowledged; messages are not persistent.
 * `reliable`: the broker chooses (disableBalancer); a request or event goes to a queue that all nodes share and is
 * acknowledged after the handler; messages are persistent. A broadcast is not acknowledged all the same.
 * All queues are durable. The transporter has no confirms: an event counts as sent once it is written.
 */
import { Readable } from "node:stream";
import { answer, load, run, url } from "./peer.mjs";

const { default: { ServiceBroker } } = await load("moleculer");

const UNUSED = 60_000; // the broker deletes the queue that nobody has used for so long

async function start(topic, variant, service) {
  const reliable = variant === "reliable";
  const broker = new ServiceBroker({
    namespace: topic,
    transporter: {
      type: "AMQP",
      options: {
        url,
        prefetch: 512,
        socketOptions: { noDelay: true },
        autoDeleteQueues: UNUSED,
        queueOptions: { expires: UNUSED },
        exchangeOptions: { autoDelete: true },
        messageOptions: { persistent: reliable },
      },
    },
    disableBalancer: reliable,
    // At once: after the default second, what was sent to the shared queues before they were declared is lost.
    transit: { serviceChangedDebounceTime: 0 },
    logger: false,
    validator: false,
    metrics: false,
    internalServices: false,
  });
  if (service) broker.createService(service);
  await broker.start();
  return broker;
}

async function serve(topic, variant, handled) {
  function* items(count) {
    for (let n = 1; n <= count; n++) yield { n };
  }
  const broker = await start(topic, variant, {
    name: "bench",
    actions: {
      lookup: ({ params }) => answer(params),
      items: ({ params }) => Readable.from(items(params.count)),
    },
    events: { "bench.note": handled, "bench.all": handled },
  });
  return { close: () => broker.stop() };
}

async function connect(topic, variant) {
  const broker = await start(topic, variant);
  await broker.waitForServices("bench");
  return {
    call: (args) => broker.call("bench.lookup", args),
    cast: (args) => broker.emit("bench.note", args, { throwError: true }),
    fanout: (args) => broker.broadcast("bench.all", args, { throwError: true }),
    async stream(count, take) {
      for await (const item of await broker.call("bench.items", { count })) {
        take(item);
      }
    },
    close: () => broker.stop(),
  };
}

await run(serve, connect);

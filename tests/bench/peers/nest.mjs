/**
 * NestJS microservices on RabbitMQ: `nest.mjs ROLE TOPIC [default|reliable]`.
 * Both: a durable queue TOPIC, and a durable exchange of type fanout with a queue of each server's own.
 * `default`: messages are not persistent, the broker forgets them as it sends them (noAck), no prefetch.
 * `reliable`: messages are persistent and acknowledged by the handler, prefetch 200.
 * In both `emit` resolves on the broker's confirm; of a request, neither the message nor its answer is waited for.
 */
import { answer, load, run, url } from "./peer.mjs";

await load("reflect-metadata");
const { Logger } = await load("@nestjs/common");
const { NestFactory } = await load("@nestjs/core");
const {
  ClientProxyFactory,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
} = await load("@nestjs/microservices");
const { firstValueFrom, map, range } = await load("rxjs");

Logger.overrideLogger(false);

const common = {
  urls: [url],
  socketOptions: { connectionOptions: { noDelay: true } },
};
const UNUSED = { expires: 60_000 }; // the broker deletes the queue that nobody has used for so long

const toOne = (topic, options) => ({
  transport: Transport.RMQ,
  options: { ...common, queue: topic, queueOptions: UNUSED, ...options },
});
const toAll = (topic, options) => ({
  transport: Transport.RMQ,
  options: {
    ...common,
    exchange: `${topic}.all`,
    exchangeType: "fanout",
    ...options,
  },
});

/** A controller whose methods are given as [name, pattern, function of payload and context]. */
function controller(handlers) {
  class Controller {}
  for (const [name, pattern, value] of handlers) {
    Object.defineProperty(Controller.prototype, name, { value });
    Payload()(Controller.prototype, name, 0);
    Ctx()(Controller.prototype, name, 1);
    const described = Object.getOwnPropertyDescriptor(
      Controller.prototype,
      name,
    );
    pattern(name)(Controller.prototype, name, described);
  }
  return Controller;
}

async function listen(handlers, options) {
  class Root {}
  const controllers = [controller(handlers)];
  const root = { module: Root, controllers };
  const app = await NestFactory.createMicroservice(root, {
    ...options,
    logger: false,
  });
  await app.listen();
  return app;
}

async function serve(topic, variant, handled) {
  const reliable = variant === "reliable";
  const options = reliable ? { noAck: false, prefetchCount: 200 } : {};
  const acked = (handle) => (payload, context) => {
    const result = handle(payload);
    if (reliable) context.getChannelRef().ack(context.getMessage());
    return result;
  };
  const items = ({ count }) => range(1, count).pipe(map((n) => ({ n })));
  const one = await listen([
    ["lookup", MessagePattern, acked(answer)],
    ["items", MessagePattern, acked(items)],
    ["note", EventPattern, acked(handled)],
  ], toOne(topic, options));
  const all = await listen(
    [["note", EventPattern, acked(handled)]],
    toAll(topic, { ...options, queueOptions: { exclusive: true } }),
  );
  return {
    async close() {
      await all.close();
      const channel = one.unwrap().createChannel();
      channel.on("error", () => {}); // another server still listens to the exchange
      await channel.waitForConnect();
      await channel.deleteExchange(`${topic}.all`, { ifUnused: true })
        .catch(() => {});
      await one.close();
    },
  };
}

async function connect(topic, variant) {
  const options = variant === "reliable" ? { persistent: true } : {};
  const [one, all] = [toOne(topic, options), toAll(topic, options)]
    .map((made) => ClientProxyFactory.create(made));
  await Promise.all([one.connect(), all.connect()]);
  const sent = { defaultValue: undefined };
  return {
    call: (args) => firstValueFrom(one.send("lookup", args)),
    cast: (args) => firstValueFrom(one.emit("note", args), sent),
    fanout: (args) => firstValueFrom(all.emit("note", args), sent),
    stream: (count, take) => one.send("items", { count }).forEach(take),
    close: () => Promise.all([one.close(), all.close()]),
  };
}

await run(serve, connect);

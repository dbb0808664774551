/** The supervised link against any sequence of faults and wishes: what is wanted in the end is so, and nothing else. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import type amqp from "npm:amqplib@2.3.1";
import { direct } from "../../../src/transport/address.ts";
import type { Consumer, Session } from "../../../src/transport/transport.ts";
import { TopologyError } from "../../../src/errors.ts";
import { privateBroker, rabbitmqServer } from "../../setup/broker.ts";
import { until } from "../../setup/probe.ts";
import {
  Mailbox,
  message,
  plain,
  type Proxied,
  proxiedBus,
  queue,
  soon,
  withoutPauses,
} from "../support.ts";

/** What may happen to one of a run's queues, or to its connections. Most faults restore all, so the others come more often. */
const EVENTS = [
  "reset",
  "reset and refuse",
  "reset and blackhole",
  "blackhole",
  "close channel",
  "delete queue",
  "delete queue",
  "delete queue",
  "consume or cancel",
  "consume or cancel",
  "consume or cancel",
  "publish",
] as const;

interface Step {
  readonly event: typeof EVENTS[number];
  /** Which queue. */
  readonly which: number;
  /** Milliseconds before the next. */
  readonly then: number;
}

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    event: fc.constantFrom(...EVENTS),
    which: fc.nat({ max: 2 }),
    then: fc.constantFrom(0, 1, 2, 5, 10, 20),
  }),
  { minLength: 3, maxLength: 6 },
);

const ms = (time: number) =>
  new Promise((resolve) => setTimeout(resolve, time));

/** A consumer that somebody wanted once. */
interface Wish {
  readonly mail: Mailbox;
  readonly consumer: Promise<Consumer>;
}

/** One link through its proxy, what is wanted of it, and a plain channel that goes round the proxy. */
class Run {
  readonly #bus: Proxied;
  readonly #transport: Session;
  readonly #plain: amqp.ConfirmChannel;
  /** What is wanted now, by the queue. */
  readonly #wishes = new Map<string, Wish>();
  readonly #names: readonly string[];
  /** Never deleted: nothing that it took may be lost. */
  readonly #kept: string;
  /** Another has it alone: who consumes it loses the channel. */
  readonly #taken: string;
  readonly #safe = new Mailbox();
  readonly #sent: string[] = [];
  readonly #work: Promise<unknown>[] = [];

  private constructor(
    bus: Proxied,
    transport: Session,
    channel: amqp.ConfirmChannel,
  ) {
    this.#bus = bus;
    this.#transport = transport;
    this.#plain = channel;
    this.#names = [bus.name(), bus.name(), bus.name()];
    this.#kept = bus.name();
    this.#taken = bus.name();
  }

  static async open(bus: Proxied, channel: amqp.ConfirmChannel) {
    const run = new Run(bus, await bus.link.openSession(soon()), channel);
    await channel.assertQueue(run.#taken, { durable: true });
    await channel.consume(run.#taken, () => {}, { exclusive: true });
    await run.#transport.consume(
      queue(run.#kept),
      (delivery) => {
        run.#safe.receive(delivery);
        delivery.ack();
      },
      { prefetch: 5 },
      soon(),
    );
    for (const name of run.#names.slice(1)) run.#consume(name);
    await Promise.all(run.#work);
    return run;
  }

  /** Lets something happen; what takes its time goes on meanwhile. */
  async happen({ event, which, then }: Step): Promise<void> {
    const name = `${this.#names[which]}`;
    const { proxy } = this.#bus;
    if (event === "reset") proxy.reset();
    if (event === "reset and refuse") {
      proxy.refuse(true);
      await this.#lost();
    }
    if (event === "reset and blackhole") {
      proxy.blackhole(true);
      await this.#lost();
    }
    if (event === "blackhole") {
      proxy.blackhole(true);
      this.#publish();
    }
    if (event === "close channel") this.#work.push(this.#refused());
    if (event === "delete queue") {
      this.#work.push(Promise.resolve(this.#plain.deleteQueue(name)));
    }
    if (event === "consume or cancel") {
      if (this.#wishes.has(name)) this.#cancel(name);
      else this.#consume(name);
    }
    if (event === "publish") this.#publish();
    await ms(then);
    proxy.refuse(false);
    proxy.blackhole(false);
  }

  /** All that was begun ends well, and what is wanted is so. */
  async check(): Promise<void> {
    this.#publish();
    await Promise.all(this.#work);
    await until("all that was taken has come", () => {
      const came = new Set(this.#safe.texts);
      return this.#sent.every((text) => came.has(text));
    });
    await until("each queue has its consumers", async () => {
      for (const name of this.#names) {
        const { consumerCount } = await this.#plain.assertQueue(name);
        if (consumerCount !== (this.#wishes.has(name) ? 1 : 0)) return false;
      }
      return true;
    });
    for (const [name, { mail }] of this.#wishes) {
      const before = mail.deliveries.length;
      await this.#transport.publish(direct(name), message("probe"), soon());
      const [last] = (await mail.first(before + 1)).slice(-1);
      last?.ack();
    }
    const { open } = this.#bus.proxy.connections;
    assert.equal(open, 2, "a connection for each side");
  }

  /** Connections are dropped, and the next ones meet the fault as well. */
  async #lost(): Promise<void> {
    const { proxy } = this.#bus;
    const { accepted } = proxy.connections;
    proxy.reset();
    this.#publish();
    await until("it tries again", () => proxy.connections.accepted > accepted);
  }

  async #refused(): Promise<void> {
    const mail = new Mailbox();
    await assert.rejects(
      this.#transport.consume(
        queue(this.#taken),
        mail.receive,
        { prefetch: 0 },
        soon(),
      ),
      TopologyError,
    );
  }

  #consume(name: string): void {
    const mail = new Mailbox();
    const options = { prefetch: 1 };
    const consumer = this.#transport.consume(
      queue(name),
      mail.receive,
      options,
      soon(),
    );
    this.#wishes.set(name, { mail, consumer });
    this.#work.push(consumer);
  }

  #cancel(name: string): void {
    const wish = this.#wishes.get(name);
    this.#wishes.delete(name);
    this.#work.push(
      Promise.resolve(wish?.consumer.then((consumer) => consumer.cancel())),
    );
  }

  #publish(): void {
    const text = crypto.randomUUID();
    this.#sent.push(text);
    const sent = message(text, { persistent: true });
    this.#work.push(
      this.#transport.publish(direct(this.#kept), sent, soon()),
    );
  }
}

Deno.test({
  name:
    "any sequence of faults ends in what is wanted, on one connection a side (needs rabbitmq-server)",
  ignore: rabbitmqServer === undefined,
  async fn() {
    await using node = await privateBroker();
    using _ = withoutPauses();
    await using links = new AsyncDisposableStack();
    let runs = 0;
    await plain(node.url, async (channel) => {
      await fc.assert(
        fc.asyncProperty(steps, async (steps) => {
          runs++;
          const bus = links.use(await proxiedBus(node.url));
          const run = await Run.open(bus, channel);
          for (const step of steps) await run.happen(step);
          await run.check();
        }),
        {
          numRuns: 25,
        },
      );
    });

    // One to publish with confirms; one to consume on, and one to declare on. None is left of those that faults ended.
    const what = ["list_channels", "connection", "confirm"];
    const lines = (await node.ctl(...what, "--silent", "--no-table-headers"))
      .split("\n").filter((line) => line !== "");
    const sides = Map.groupBy(lines, (line) => line.split("\t")[0]);
    const channels = [...sides.values()].map((side) =>
      side.map((line) => line.split("\t")[1]).join()
    );
    const count = (side: string) =>
      channels.filter((each) => each === side).length;
    assert.equal(channels.length, 2 * runs);
    assert.equal(count("true"), runs, channels.join(" "));
    assert.equal(
      count("false") + count("false,false"),
      runs,
      channels.join(" "),
    );
  },
});

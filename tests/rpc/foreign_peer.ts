/** Somebody else on the bus of a test, who sends and takes bytes as he likes. */
import {
  type Address,
  direct,
  queueName,
} from "../../src/transport/address.ts";
import type {
  Delivery,
  Message,
  Session,
} from "../../src/transport/transport.ts";
import {
  busName,
  sharedTransport,
  transportKey,
} from "../../src/connection/transport_registry.ts";
import { busProfile } from "../../src/connection/bus_profile.ts";
import { defaultLimits } from "../../src/wire/json.ts";
import { sharedBus } from "../../src/transport/memory/bus.ts";
import { MemoryTransport } from "../../src/transport/memory/transport.ts";
import { until } from "../setup/probe.ts";
import type { Bus } from "./support.ts";

const utf8 = new TextEncoder();
const soon = () => ({ at: performance.now() + 30_000 });

/** Channels of his own, on the link of whoever is connected. */
export class Stranger implements AsyncDisposable {
  /** His channels. */
  readonly transport: Session;
  readonly #release: () => Promise<void>;

  private constructor(transport: Session, release: () => Promise<void>) {
    this.transport = transport;
    this.#release = release;
  }

  /** Comes to a bus to which somebody is connected with default options. */
  static async on({ url }: Bus): Promise<Stranger> {
    const profile = busProfile(undefined, "auto");
    const key = transportKey([new URL(url)], {}, profile);
    const make = () =>
      // nobody is connected
      new MemoryTransport(profile, sharedBus(busName(new URL(url))));
    const { pool } = sharedTransport(key, make, defaultLimits);
    const transport = await pool.acquire(false, soon());
    const release = () => pool.release(transport, false, false);
    return new Stranger(transport, release);
  }

  /** Puts a body into a queue. */
  async put(
    queue: string,
    body: Uint8Array | string,
    more: Partial<Message> = {},
  ): Promise<void> {
    const bytes = typeof body === "string" ? utf8.encode(body) : body;
    const message = { headers: {}, mandatory: true, ...more, body: bytes };
    await this.transport.publish(direct(queue), message, soon());
  }

  /** Takes all that is in the queue of a route and comes to it until there are so many; they are acknowledged. */
  async take(route: Address, count: number): Promise<Delivery[]> {
    const came: Delivery[] = [];
    const receive = (delivery: Delivery) => {
      came.push(delivery);
      delivery.ack();
    };
    const options = { prefetch: 0 };
    const { transport } = this;
    const consumer = await transport.consume(route, receive, options, soon());
    await until(
      `${count} came to ${queueName(route)}`,
      () => came.length >= count,
    );
    await consumer.cancel();
    return came;
  }

  /** What is left in a topic's queue, in its order, when nobody consumes it. */
  async left(topic: string): Promise<Delivery[]> {
    const route: Address = { kind: "topic", topic };
    const mark = crypto.randomUUID();
    await this.put(topic, mark);
    const came: Delivery[] = [];
    const marked = Promise.withResolvers<void>();
    const receive = (delivery: Delivery) => {
      delivery.ack();
      const { body } = delivery.message;
      if (new TextDecoder().decode(body) === mark) marked.resolve();
      else came.push(delivery);
    };
    const options = { prefetch: 0 };
    const { transport } = this;
    const consumer = await transport.consume(route, receive, options, soon());
    await marked.promise;
    await consumer.cancel();
    return came;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#release();
  }
}

/** The queue of a topic's dead letters. */
export function deadOf(topic: string): Address {
  return { kind: "deadLetter", of: { kind: "topic", topic } };
}

/** Looks at the messages of a queue, which stay where they are: on both transports. */
import assert from "node:assert/strict";
import { TopologyError } from "../../mod.ts";
import { direct } from "../../src/transport/address.ts";
import type {
  BrowseOptions,
  Browser,
  Delivery,
  Need,
} from "../../src/transport/transport.ts";
import { until } from "../setup/probe.ts";
import { type Bus, conforms, message, queue, soon, text } from "./support.ts";

/** A queue with messages of these texts. */
async function filled(bus: Bus, texts: readonly string[]) {
  const named = queue(bus.name());
  const session = await bus.link.openSession(soon());
  await session.declare(named, soon());
  for (const each of texts) await session.publish(named, message(each), soon());
  const ready = async () =>
    (await bus.link.inspect(direct(named.key), soon()))?.messages;
  const browse = async (options: Partial<BrowseOptions> = {}) => {
    const all = { maxBodyBytes: 1_000, ...options };
    const browser = await session.browse(named, all, soon());
    assert.ok(browser);
    return browser;
  };
  return { session, ready, browse };
}

/** All messages of a look. */
async function readAll(browser: Browser): Promise<Delivery[]> {
  const found: Delivery[] = [];
  for (let batch = await browser.read(); batch; batch = await browser.read()) {
    found.push(...batch);
  }
  return found;
}

const texts = (found: readonly Delivery[]) => found.map(text);
const many = Array.from({ length: 500 }, (_, n) => `${n}`);

conforms(
  "a look shows all messages in their order, and returns them to their places",
  async (bus) => {
    const { browse, ready } = await filled(bus, many);
    for (const firstBatch of [200, 1, 1_000]) {
      const browser = await browse({ firstBatch });
      assert.equal(browser.messages, 500);
      assert.deepEqual(texts(await readAll(browser)), many);
      assert.equal(await browser.close(), true);
      await until("all are back", async () => await ready() === 500);
    }
  },
);

conforms(
  "an acknowledged message of a look is gone, and no other one",
  async (bus) => {
    const { browse, ready } = await filled(bus, many);
    const browser = await browse();
    for (const each of await readAll(browser)) {
      if (Number(text(each)) % 3 === 0) each.ack();
    }
    assert.equal(await browser.close(), true);
    const left = many.filter((each) => Number(each) % 3 > 0);
    await until(
      "the others are back",
      async () => await ready() === left.length,
    );
    const again = await browse();
    assert.deepEqual(texts(await readAll(again)), left);
    await again.close();
  },
);

conforms(
  "a message that arrives during a look is not shown, also for one that is acknowledged",
  async (bus) => {
    const { browse, session, ready } = await filled(bus, ["a", "b", "c"]);
    const browser = await browse({ firstBatch: 2 });
    const first = await browser.read();
    for (const each of first ?? []) {
      await session.publish(direct(each.key), message("late"), soon());
      each.ack();
    }
    const rest = await readAll(browser);
    assert.deepEqual(texts([...first ?? [], ...rest]), ["a", "b", "c"]);
    await browser.close();
    await until("three are ready", async () => await ready() === 3);
  },
);

conforms(
  "a look has no more messages than are wanted, and only what is needed of them",
  async (bus) => {
    const { browse } = await filled(bus, ["a", "bb", "ccc", "dddd", "e"]);
    const needs: readonly Need[] = ["body", "none", "head", "body"];
    const seen: number[] = [];
    const browser = await browse({
      maxMessages: 4,
      maxBodyBytes: 3,
      onHead: ({ bytes }) => needs[seen.push(bytes) - 1] ?? "body",
    });
    const found = await readAll(browser);
    assert.deepEqual(seen, [1, 2, 3, 4]);
    const sizes = found.map(({ message: { oversized, body } }) =>
      oversized ?? body.length
    );
    assert.deepEqual(sizes, [1, 3, 4]);
    await browser.close();
  },
);

conforms(
  "a queue that does not exist is not created by a look, and one with a consumer is refused",
  async (bus) => {
    const { browse, session } = await filled(bus, ["a"]);
    const other = queue(bus.name());
    const options = { maxBodyBytes: 1_000 };
    assert.equal(await session.browse(other, options, soon()), undefined);
    assert.equal(await bus.link.inspect(direct(other.key), soon()), undefined);
    const first = await browse();
    await assert.rejects(
      browse(),
      (error) =>
        error instanceof TopologyError && error.data.reason === "inUse",
    );
    await first.close();
    const empty = await filled(bus, []);
    const nothing = await empty.browse();
    assert.equal(await nothing.read(), undefined);
    assert.equal(await nothing.close(), true);
  },
);

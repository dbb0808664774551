/** What is sent and not settled is bounded: who sends faster waits its turn, in order, until its deadline. */
import assert from "node:assert/strict";
import { Confirms } from "../../../src/amqp/channel/confirms.ts";
import { InFlightWindow } from "../../../src/transport/rabbitmq/publishing/publish_window.ts";
import { direct } from "../../../src/transport/address.ts";
import type { RpcError } from "../../../src/errors.ts";
import { until } from "../../setup/probe.ts";
import {
  consumer,
  eventsOf,
  message,
  proxiedBus,
  queue,
  soon,
  told,
  withoutPauses,
} from "../support.ts";

/** Who was let in so far, in order; each asks for so many bytes. */
function asking(window: InFlightWindow) {
  const came: string[] = [];
  const ask = (name: string, bytes = 1) => {
    const turn = window.acquire(bytes);
    void turn.granted.then(() => came.push(name));
    return turn;
  };
  return { came, ask };
}

const turns = () => new Promise((resolve) => setTimeout(resolve));

Deno.test("Window.take() takes what there is, and nothing before those who wait", async () => {
  const window = new InFlightWindow({ messages: 2, bytes: 100 });
  const { came, ask } = asking(window);
  assert.deepEqual([1, 1, 1].map((bytes) => window.tryAcquire(bytes)), [
    ...[true, true, false],
  ]);
  for (const name of ["a", "b", "c"]) ask(name);
  window.release(1);
  await turns();
  assert.deepEqual(came, ["a"]);
  assert.equal(window.tryAcquire(1), false);
  window.release(1);
  window.release(1);
  await turns();
  assert.deepEqual(came, ["a", "b", "c"]);
  assert.equal(window.tryAcquire(1), false);
  window.release(1);
  assert.equal(window.tryAcquire(1), true);
});

Deno.test("Window bounds bytes, and lets one that is too large go alone", async () => {
  const window = new InFlightWindow({ messages: 10, bytes: 100 });
  const { came, ask } = asking(window);
  assert.deepEqual([window.tryAcquire(60), window.tryAcquire(41)], [
    true,
    false,
  ]);
  assert.equal(window.tryAcquire(40), true);
  ask("large", 500);
  ask("small", 1);
  window.release(60);
  await turns();
  assert.deepEqual(came, []);
  window.release(40);
  await turns();
  assert.deepEqual(came, ["large"]);
  window.release(500);
  await turns();
  assert.deepEqual(came, ["large", "small"]);
});

Deno.test("a Turn that is left makes way, and gives back what it got", async () => {
  const window = new InFlightWindow({ messages: 10, bytes: 100 });
  const { came, ask } = asking(window);
  assert.ok(window.tryAcquire(60));
  const large = ask("large", 90);
  ask("small", 40);
  large.cancel();
  await turns();
  assert.deepEqual(came, ["small"]);
  const late = ask("late", 1);
  window.release(60); // it has the room now, and does not know yet
  late.cancel();
  window.release(40);
  assert.deepEqual([window.tryAcquire(100), window.tryAcquire(1)], [
    true,
    false,
  ]);
});

/** Watches how much is not confirmed, over all channels of this process. */
function watched() {
  const { prototype } = Confirms;
  const { add } = prototype;
  let held = 0;
  let most = 0;
  prototype.add = function (told) {
    most = Math.max(most, ++held);
    add.call(this, (word) => {
      held--;
      told(word);
    });
  };
  return {
    held: () => held,
    most: () => most,
    [Symbol.dispose]: () => void (prototype.add = add),
  };
}

const many = (count: number, send: (at: number) => Promise<void>) =>
  Promise.all(Array.from({ length: count }, (_, at) => send(at)));

for (const end of ["returns", "is cut"] as const) {
  Deno.test(`an endless producer has 1000 in flight while a network swallows all, and loses nothing when it ${end}`, async () => {
    using _ = withoutPauses();
    await using bus = await proxiedBus();
    const route = queue(bus.name());
    const { transport, mail } = await consumer(bus, route);
    const outcomes = new Map<string, string>();
    const send = async (name: string, ms: number) => {
      const { at } = soon(ms);
      await transport.publish(direct(route.key), message(name), { at })
        .then(() => outcomes.set(name, "taken"), (error: RpcError) => {
          const late = performance.now() - at > 1_000;
          const text = `${error.code} ${error.inDoubt}`;
          outcomes.set(name, late ? `${text}, late` : text);
        });
    };
    await send("first", 20_000);
    using flight = watched();
    const events = eventsOf(bus.link);
    bus.proxy.blackhole(true);
    const hasty: Promise<void>[] = [];
    await until("4000 have ended", () => {
      for (let at = 0; at < 200; at++) {
        hasty.push(send(`hasty ${hasty.length}`, 400));
      }
      return outcomes.size > 4_000;
    });
    assert.equal(flight.most(), 1_000);
    await Promise.all(hasty);
    const patient = many(1_500, (at) => send(`patient ${at}`, 60_000));
    if (end === "is cut") {
      bus.proxy.reset();
      await told(events, "disconnected");
    }
    bus.proxy.blackhole(false);
    await patient;
    assert.deepEqual(
      new Set(outcomes.values()),
      new Set(["taken", "UNCONFIRMED true", "TIMEOUT false"]),
    );
    const taken = [...outcomes].filter(([, outcome]) => outcome === "taken");
    assert.ok(taken.length >= 1_501);
    await until("all that was taken has come", () => {
      const came = new Set(mail.texts);
      return taken.every(([name]) => came.has(name));
    });
    const came = new Set(mail.texts);
    const unsent = [...outcomes].filter(([, how]) => how === "TIMEOUT false");
    assert.ok(unsent.every(([name]) => !came.has(name)), "never sent");
    assert.equal(flight.most(), 1_000);
    await until("all is settled", () => flight.held() === 0);
    await many(2_000, (at) => send(`more ${at}`, 20_000));
    assert.equal(flight.most(), 1_000, "all room was given back, and no more");
  });
}

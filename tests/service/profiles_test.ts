/** Options that say whose bus it is, and in which words: what is refused. */
import assert from "node:assert/strict";
import { createConnection, InvalidValueError } from "../../mod.ts";
import { failureOf, onEachBus, sumHandlers, sums } from "../rpc/bus.ts";

const wrong: readonly [object, RegExp][] = [
  [
    { profile: "novae" },
    /^Invalid option profile "novae": give warren, nova, or/,
  ],
  [{ profile: null }, /^Invalid option profile object: give/],
  [
    { profile: { durabel: true } },
    /profile\.durabel boolean: give exchange, member, durable/,
  ],
  [
    { profile: { durable: "yes" } },
    /profile\.durable "yes": give true or false/,
  ],
  [{ profile: { exchange: "a b" } }, /Invalid profile\.exchange "a b"/],
  [{ profile: { member: "a b" } }, /profile\.member "a b": give 1 to 150/],
  [
    { dialect: "havana" },
    /^Invalid option dialect havana: give grizzly, folsom or oslo/,
  ],
  [{ dialect: "toString" }, /^Invalid option dialect toString/],
];

for (const [options, message] of wrong) {
  Deno.test(`${JSON.stringify(options)} is refused`, async () => {
    const error = await failureOf(createConnection("memory:profiles", options));
    assert.ok(error instanceof InvalidValueError);
    assert.match(error.message, message);
  });
}

onEachBus("monitor is 2000 milliseconds or more", async (bus) => {
  await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
  await using connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  for (const monitor of [0, -1, 1_999, NaN, Infinity]) {
    const call = client.call("add", { a: 1, b: 2 }, { monitor });
    const error = await failureOf(call);
    assert.ok(error instanceof InvalidValueError, String(error));
    assert.match(error.message, /option monitor/);
  }
  const options = { monitor: 2_000 };
  assert.equal(await client.call("add", { a: 1, b: 2 }, options), 3);
});

for (const dialect of ["folsom", "grizzly", "oslo"] as const) {
  for (const profile of ["warren", "nova"] as const) {
    onEachBus(
      `all verbs work in the dialect ${dialect}, profile ${profile}`,
      async (bus) => {
        const common = { dialect, profile };
        const heard: string[] = [];
        const handlers = sumHandlers({
          wait: ({ tag }) => void heard.push(`${tag}`),
        });
        await using _worker = await bus.serve(
          sums(bus.topic),
          handlers,
          common,
        );
        await using connection = await bus.connect(common);
        const client = connection.client(sums(bus.topic));
        assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
        const items: number[] = [];
        for await (const item of client.multicall("count", { to: 3 })) {
          items.push(item);
        }
        assert.deepEqual(items, [1, 2, 3]);
        await client.cast("wait", { tag: "cast" });
        await client.fanoutCast("wait", { tag: "fanout" });
        const done = async () => {
          while (heard.length < 2) {
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        };
        await done();
        const failed = failureOf(client.call("add", { a: "x" as never, b: 2 }));
        assert.ok(await failed instanceof InvalidValueError);
      },
    );
  }
}

/** The version of a broker, and the limits that it has by that version. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import { contract } from "../../../mod.ts";
import { checkDurations } from "../../../src/ledger/options.ts";
import {
  hasConsumerTimeout,
  isSince,
  versionOf,
} from "../../../src/transport/rabbitmq/broker_version.ts";
import { opened } from "../../amqp/broker.ts";

const version = (text: unknown) =>
  versionOf({ serverProperties: { version: text } } as never);

Deno.test("a version is compared by its numbers", () => {
  assert.deepEqual(version("4.10.1"), { major: 4, minor: 10 });
  assert.deepEqual(version("4.3.0-rc.1"), { major: 4, minor: 3 });
  for (const text of [undefined, "", "unknown"]) {
    assert.deepEqual(version(text), { major: 0, minor: 0 });
  }
  assert.ok(isSince(version("4.10.0"), 4, 3));
  assert.ok(isSince(version("5.0.0"), 4, 3));
  assert.ok(!isSince(version("4.2.9"), 4, 3));
  assert.ok(!isSince(version("3.13.7"), 4, 0));
});

Deno.test("the broker tells its version", async () => {
  await using there = await opened();
  assert.ok(isSince(versionOf(there.connection), 3, 10));
});

Deno.test("from 4.3 on, classic queues have no consumer timeout, and all others may have one", () => {
  const has = (text: string, type?: string) =>
    hasConsumerTimeout(version(text), {
      arguments: type === undefined ? {} : { "x-queue-type": type },
    });
  for (const type of ["classic", "quorum", "stream", undefined]) {
    assert.equal(has("3.10.8", type), true);
    assert.equal(has("4.2.0", type), true);
    assert.equal(has("4.3.6", type), type !== "classic", `${type}`);
  }
});

Deno.test("a procedure that outlasts the limit needs a ledger only where there is one", () => {
  const procedures = { work: { args: z.object({}), maxDuration: 60_000 } };
  const managers = ["limited", "free"].map((topic) => ({
    contract: contract({ topic, version: "1.0", procedures }),
  }));
  const options = { consumerTimeout: 60_000 };
  const check = (limited: string) => () =>
    checkDurations(managers, options, (topic) => topic === limited);
  assert.throws(
    check("limited"),
    /Cannot serve limited\.work: its maxDuration/,
  );
  assert.doesNotThrow(check("none"));
});

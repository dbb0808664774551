/** The fault matrix in short: rows of `deno task chaos` with five seconds of fault each, on one broker. */
import assert from "node:assert/strict";
import { isAll, ONLY_ALL } from "../setup/all.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../setup/broker.ts";
import type { RunSettings } from "./bench.ts";
import { rowsOf } from "./rows.ts";
import { runRow } from "./run.ts";
import { lineOf } from "./table.ts";

const SECONDS = 5;
const ROWS = ["K8", "K11", "K17", "K20"];
/** Of these, other tests prove what matters, on a broker with an alarm, without a queue, and with a poisonous message. */
const MORE_ROWS = ["K13", "K15", "K19"];
/** The times are measured by `deno task chaos`, on a machine that does nothing else. */
const patience = 2_000;
const settings: RunSettings = {
  queue: "classic",
  ledger: "memory",
  seed: 1,
  patience,
};

let broker: PrivateBroker | undefined;

/** The one broker of this file; another after a row that failed. */
async function shared(): Promise<PrivateBroker> {
  return broker ??= await privateBroker();
}

async function discard(): Promise<void> {
  await broker?.[Symbol.asyncDispose]();
  broker = undefined;
}

const ignore = rabbitmqServer === undefined;
for (const row of rowsOf([...ROWS, ...MORE_ROWS])) {
  const isMore = MORE_ROWS.includes(row.id);
  const needs = isMore ? ` ${ONLY_ALL}` : "";
  Deno.test({
    name: `Chaos: ${row.id}, ${row.title} (needs rabbitmq-server)${needs}`,
    ignore: ignore || (isMore && !isAll),
    async fn() {
      const report = await runRow(
        row,
        { broker: await shared() },
        settings,
        SECONDS,
      );
      assert.ok("result" in report);
      if (report.breaches.length > 0) await discard();
      assert.deepEqual(report.breaches, [], lineOf(report, settings));
    },
  });
}

Deno.test({
  name: "Chaos: the broker of the rows is gone (needs rabbitmq-server)",
  ignore,
  fn: discard,
});

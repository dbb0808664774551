/** Rows in which the network between processes and broker breaks. */
import type { Bench } from "./bench.ts";
import type { Result } from "./result.ts";
import { flat, recovers, type Row, unless } from "./row.ts";

const proxies = ({ workerProxy, callerProxy }: Bench) => [
  workerProxy,
  callerProxy,
];

const HEARTBEAT = 5;

/** K10: connections stay open, and nothing passes. */
const blackhole: Row = {
  id: "K10",
  title: "blackhole (half-open connections)",
  options: { heartbeat: HEARTBEAT },
  seconds: 3 * HEARTBEAT,
  fault: async (bench, seconds) => {
    for (const proxy of proxies(bench)) proxy.blackhole(true);
    await bench.pause(seconds * 1_000);
    for (const proxy of proxies(bench)) {
      proxy.blackhole(false);
      proxy.reset(); // a firewall that forgot its connections does not remember them again
    }
  },
  judge: (result) => [
    ...[...result.lasting].flatMap((name) =>
      unless(
        noticed(result, name) <= 2_500 * HEARTBEAT + 1_000,
        `${name} noticed after ${Math.round(noticed(result, name))} ms`,
      )
    ),
    ...flat(result, 128), // some 5 kB for each of 3000 casts that wait, and what is not collected yet
    ...recovers(result, 7_000),
  ],
};

/** Milliseconds until a process told that its broker is lost. */
function noticed({ history, from }: Result, name: string): number {
  const line = history.find((line) =>
    line.t === "event" && line.from === name && line.name === "disconnected" &&
    line.at >= from
  );
  return line?.t === "event" ? line.at - from : Infinity;
}

/** K11: the broker has the messages, and the caller is not told before the connection is gone. */
const confirmsLost: Row = {
  id: "K11",
  title: "confirms lost, then reset",
  fault: async (bench, seconds) => {
    const { callerProxy } = bench;
    await bench.repeat(seconds, async () => {
      callerProxy.swallow(true);
      await bench.pause(300 + 700 * bench.random());
      callerProxy.reset();
      callerProxy.swallow(false);
      bench.healed();
      await bench.pause(2_000);
    });
  },
  judge: (result) => recovers(result, 3_000),
};

/** K12: resets, then a slow line, then a narrow one. */
const badLine: Row = {
  id: "K12",
  title: "resets; latency 200 ms; 20 kB/s",
  after: 4_500,
  fault: async (bench, seconds) => {
    await bench.repeat(seconds / 3, async () => {
      for (const proxy of proxies(bench)) proxy.reset();
      bench.healed();
      await bench.pause(1_000 + 4_000 * bench.random());
    });
    for (const how of [{ latency: 200 }, { bytesPerSecond: 20_000 }]) {
      for (const proxy of proxies(bench)) proxy.slow(how);
      await bench.pause(seconds * 1_000 / 3);
    }
    for (const proxy of proxies(bench)) proxy.slow({});
  },
  judge: (result) => [...recovers(result, 3_000), ...throughput(result)],
};

/** Casts succeed as often as before, from 3 s after the fault on. */
function throughput({ outcomes, from, to }: Result): readonly string[] {
  const rate = (start: number) =>
    outcomes.filter(({ verb, code, settled }) =>
      verb === "cast" && code === undefined && settled >= start &&
      settled < start + 1_000
    ).length;
  const [before, after] = [rate(from - 1_000), rate(to + 3_000)];
  return unless(
    after >= 0.8 * before,
    `${after} casts/s after 3 s, ${before} before`,
  );
}

/** Rows of the network. */
export const networkRows: readonly Row[] = [blackhole, confirmsLost, badLine];

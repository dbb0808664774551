/** Rows in which the broker dies, takes nothing, or loses a queue. */
import type { Bench } from "./bench.ts";
import type { Result } from "./result.ts";
import { goesOn, onlyCodes, recovers, type Row, unless } from "./row.ts";

/** K8: a single node is killed and comes back. */
const brokerKilled: Row = {
  id: "K8",
  title: "broker kill -9, restart",
  fault: async (bench, seconds) =>
    await bench.repeat(seconds, async () => {
      await bench.broker.kill();
      await bench.broker.start();
      bench.healed();
      await bench.recovered(15_000); // or the backlog of one outage is still there in the next
      await bench.pause(3_000);
    }),
  judge: (result) => recovers(result, 9_000), // 20 s with the 11 s that a node takes to boot
};

/** An alarm for so many seconds: work that began before it goes on, what is sent meanwhile is refused at its deadline. */
const alarm =
  (on: string[], off: string[]): Row["fault"] => async (bench, seconds) => {
    bench.burst("before", 300, { ms: 400 });
    await bench.pause(500); // the broker has them
    try {
      await bench.broker.ctl(...on);
      bench.note("alarm");
      await bench.pause(seconds * 1_000);
    } finally {
      await bench.broker.ctl(...off);
      bench.healed();
    }
  };

/** Casts in the alarm end as blocked, handlers go on, and all is clear in a second. */
function judgeAlarm(result: Result): readonly string[] {
  const { outcomes, history, heals: [healed = 0] } = result;
  const alarmed = history.find((line) =>
    line.t === "event" && line.name === "alarm"
  );
  const at = alarmed?.t === "event" ? alarmed.at : Infinity;
  const within = outcomes.filter(({ verb, at: sent, due }) =>
    verb === "cast" && sent > at + 500 && due < healed - 500
  );
  const clear = Math.min(
    ...outcomes.filter(({ verb, code, settled }) =>
      verb === "cast" && code === undefined && settled >= healed
    ).map(({ settled }) => settled - healed),
  );
  const others = within.filter(({ code }) => code !== "BLOCKED");
  const ends = history.filter((line) =>
    line.t === "end" && line.id.startsWith("before-") && line.at > at &&
    line.at < healed
  );
  return [
    ...unless(within.length > 0, "no cast had its deadline in the alarm"),
    ...unless(
      others.length === 0,
      `${others.length} of ${within.length} casts in the alarm were not blocked: ${
        others.slice(0, 3).map(({ id, code }) => `${id} ${code}`)
      }`,
    ),
    ...unless(ends.length > 0, "no handler finished in the alarm"),
    ...unless(
      clear <= 1_000 + result.lag,
      `the first cast was taken ${Math.round(clear)} ms after the alarm`,
    ),
    ...recovers(result, 5_000),
  ];
}

/** K13: the broker has no memory left. */
const memoryAlarm: Row = {
  id: "K13",
  title: "memory alarm",
  options: { castTimeout: 5_000 },
  seconds: 8,
  fault: alarm(
    ["set_vm_memory_high_watermark", "absolute", "1MB"],
    ["set_vm_memory_high_watermark", "absolute", "400MB"],
  ),
  judge: judgeAlarm,
};

/** K14: the broker has no disk left. */
const diskAlarm: Row = {
  id: "K14",
  title: "disk alarm",
  options: { castTimeout: 5_000 },
  seconds: 8,
  fault: alarm(
    ["set_disk_free_limit", "2000GB"],
    ["set_disk_free_limit", "50MB"],
  ),
  judge: judgeAlarm,
};

/** K15: an operator deletes the queue, again and again. */
const queueRemoved: Row = {
  id: "K15",
  title: "queue deleted under load",
  fault: async (bench, seconds) =>
    await bench.repeat(seconds, async () => {
      await bench.removeQueue();
      bench.healed();
      await bench.pause(2_500 + 1_000 * bench.random());
    }),
  judge: (result) => recovers(result, 2_000),
};

/** K16: the broker closes the channel of a handler that takes too long, or cancels its consumer (RabbitMQ 4.3, quorum queues). */
const consumerTimeout: Row = {
  id: "K16",
  title: "consumer_timeout 5 s, handlers of 20 s",
  options: { consumerTimeout: 5_000 },
  seconds: 30,
  drain: 90_000,
  mixes: false,
  before: async ({ broker }) => {
    // A channel looks at its timeouts once a minute unless told otherwise before it is opened; a quorum queue does every 5 s.
    await setEnv(broker, "channel_tick_interval", 2_000);
    await setEnv(broker, "consumer_timeout", 5_000);
  },
  fault: async (bench, seconds) => {
    bench.burst("long", 2, { ms: 20_000 }, {}, "long");
    await bench.pause(seconds * 1_000);
    await setEnv(bench.broker, "channel_tick_interval", 60_000);
    await setEnv(bench.broker, "consumer_timeout", 1_800_000);
    const closed = bench.history.filter((line) =>
      line.t === "log" && /channel lost|cancelled the consumer/.test(line.text)
    );
    bench.cut(closed.length); // channels were closed or consumers cancelled, connections were not
  },
  judge: (result) => [
    ...goesOn(result, 2_000),
    ...result.lasting.flatMap((name) =>
      unless(
        name === "caller" || result.history.some((line) =>
          line.t === "end" && line.from === name && line.at > result.to - 2_000
        ),
        `${name} did nothing in the end`,
      )
    ),
  ],
};

function setEnv(
  broker: Bench["broker"],
  name: string,
  value: number,
): Promise<string> {
  return broker.ctl("eval", `application:set_env(rabbit, ${name}, ${value}).`);
}

/** K20: the queue is full, and the broker says no. */
const queueFull: Row = {
  id: "K20",
  title: "queue full, reject-publish",
  fault: async (bench, seconds) => {
    const { broker, topic } = bench;
    // One after the other: a limit alone would first drop what waits already.
    const overflow = `"overflow":"reject-publish"`;
    for (const policy of [`{${overflow}}`, `{${overflow},"max-length":10}`]) {
      await broker.ctl("set_policy", topic, `^${topic}$`, policy);
    }
    await bench.repeat(seconds, async (round) => {
      // A cast that is refused is sent again until its deadline.
      bench.burst(`full-${round}`, 300, { ms: 30 }, { timeout: 100 });
      await bench.pause(1_000);
    });
    await broker.ctl("clear_policy", topic);
  },
  judge: (result) => [
    // Unconfirmed: the last of its attempts was under way at the deadline. A burst may reach its own before its first.
    ...onlyCodes(result, ["cast"], ["REJECTED", "UNCONFIRMED"]),
    ...onlyCodes(result, ["burst"], ["REJECTED", "UNCONFIRMED", "TIMEOUT"]),
    ...onlyCodes(result, ["call"], ["REJECTED", "TIMEOUT"]), // requests of calls are not confirmed
    ...unless(
      result.outcomes.some(({ code }) => code === "REJECTED"),
      "nothing was rejected: the queue was not full",
    ),
  ],
};

/** Rows of the broker. */
export const brokerRows: readonly Row[] = [
  brokerKilled,
  memoryAlarm,
  diskAlarm,
  queueRemoved,
  consumerTimeout,
  queueFull,
];

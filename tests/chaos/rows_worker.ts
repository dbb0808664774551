/** Rows in which workers die, freeze, are slow, or have wrong clocks. */
import { type Bench, usual } from "./bench.ts";
import type { Result } from "./result.ts";
import { flat, goesOn, onlyCodes, recovers, type Row, unless } from "./row.ts";

/** K17: one worker after the other is killed, or told to stop, and replaced. */
const workersEnd: Row = {
  id: "K17",
  title: "workers: kill -9 and SIGTERM in turn",
  zombies: true,
  fault: async (bench, seconds) =>
    await bench.repeat(seconds, async (round) => {
      const [oldest] = bench.running;
      const name = round % 2 === 0 ? "SIGKILL" : "SIGTERM";
      if (name === "SIGKILL") bench.cut(1);
      const successor = bench.startWorker(bench.hostOf(oldest));
      await Promise.all([oldest?.end(name), successor]);
      await bench.pause(500);
    }),
  judge: (result) => [
    ...goesOn(result, 2_000),
    ...onlyCodes(result, ["cast", "call"], []),
  ],
};

const HEARTBEAT = 2;

/** K18: a worker is frozen until the broker has given its messages to others, and wakes up. */
const zombies: Row = {
  id: "K18",
  title: "workers: SIGSTOP for 4 heartbeats, SIGCONT",
  options: { heartbeat: HEARTBEAT },
  zombies: true,
  fault: async (bench, seconds) =>
    await bench.repeat(seconds, async (round) => {
      const { running } = bench;
      const worker = running[round % running.length];
      worker?.signal("SIGSTOP");
      try {
        await bench.pause(4_000 * HEARTBEAT);
      } finally {
        worker?.signal("SIGCONT");
      }
      bench.cut(1);
      await bench.pause(2_000);
    }),
  judge: (result) => [...goesOn(result, 2_000), ...recovers(result, 2_000)],
};

/** K19: a message that kills whoever takes it. */
const poison: Row = {
  id: "K19",
  title: "a poison message",
  mixes: false,
  zombies: true,
  seconds: 15,
  fault: async (bench, seconds) => {
    bench.burst("poison", 1, { poison: true });
    const end = performance.now() + seconds * 1_000;
    const successors: Promise<unknown>[] = [];
    while (performance.now() < end) {
      for (const worker of bench.workers) {
        if (worker.expected || worker.code === undefined) continue;
        worker.expected = tookPoison(bench, worker.name);
        if (!worker.expected) continue;
        bench.cut(1);
        const successor = bench.startWorker();
        successors.push(successor.catch(() => {})); // it may take the poison at once
      }
      await bench.pause(50);
    }
    await Promise.all(successors);
  },
  judge: (result) => {
    const starts =
      result.history.filter((line) =>
        line.t === "start" && line.id.startsWith("poison-")
      ).length;
    const innocents = result.dead.filter((id) => !id.startsWith("poison-"));
    return [
      ...unless(starts > 0, "nobody took the poison"),
      ...unless(starts <= 6, `the poison killed ${starts} workers`),
      ...unless(
        result.dead.length > innocents.length,
        "the poison is no dead letter",
      ),
      ...unless(
        innocents.length === 0,
        `${innocents.length} innocent messages are dead letters`,
      ),
    ];
  },
};

/** True if a worker took poison. */
function tookPoison({ history }: Bench, name: string): boolean {
  return history.some((line) =>
    line.from === name && line.t === "start" && line.id.startsWith("poison-")
  );
}

const TTL = 0.6;

/** K21: a slow consumer, and far more than it can do. */
const slowConsumer: Row = {
  id: "K21",
  title: "slow consumer (1/s), 10 000 casts with a ttl, 500 under way",
  options: {
    workers: 1,
    concurrency: 1,
    rates: { cast: 0, call: 0, fanout: 5, stream: 0 },
  },
  mixes: false,
  seconds: 10,
  warm: async (bench) => {
    bench.burst("warm", 3_000, { ms: 0 }, { ttl: 1 });
    await bench.pause(2_000);
  },
  fault: async (bench, seconds) => {
    const ttl = TTL * seconds * 1_000;
    bench.burst("slow", 10_000, { ms: 1_000 }, { ttl });
    await bench.pause(seconds * 1_000);
  },
  judge: (result) => {
    const { outcomes, history } = result;
    const slow = new Map(
      outcomes.filter(({ id }) => id.startsWith("slow-")).map((o) => [o.id, o]),
    );
    const starts = history.flatMap((line) =>
      line.t === "start" && line.id.startsWith("slow-") ? line : []
    );
    const ttl = slow.values().next().value?.ttl ?? 0;
    const late = starts.filter(({ id, at }) => {
      const { settled = 0 } = slow.get(id) ?? {};
      return at > settled + ttl + 1_500; // it may be in the worker's hand for the second of another
    });
    return [
      ...unless(slow.size === 10_000, `only ${slow.size} casts`),
      ...onlyCodes(result, ["burst"], []),
      ...unless(late.length === 0, `${late.length} began after their ttl`),
      ...unless(
        starts.length >= 0.5 * ttl / 1_000,
        `only ${starts.length} were handled`,
      ),
      ...flat(result, 64),
    ];
  },
};

/** Where Debian keeps what `faketime` preloads; undefined = it is not installed. */
async function fakeTime(): Promise<string | undefined> {
  const asked = new Deno.Command("faketime", {
    args: ["-f", "+0", "printenv", "LD_PRELOAD"],
    stdin: "null",
    stderr: "null",
  });
  const output = await Promise.try(() => asked.output()).catch(() => undefined);
  return output?.success
    ? new TextDecoder().decode(output.stdout).trim()
    : undefined;
}

let preload = "";

/** K22: clocks that run six hundred times too fast, and clocks that jump by two hours. */
const wrongClocks: Row = {
  id: "K22",
  title: "wall clocks: ×600, and a jump of 2 h",
  mixes: false,
  cannot: async () => {
    preload = await fakeTime() ?? "";
    return preload === "" ? "faketime is not installed" : undefined;
  },
  options: {
    env: (n, folder) => {
      const file = `${folder}/clock`;
      Deno.writeTextFileSync(file, "+0");
      const how: Record<string, string> = n % 2 === 0
        ? { FAKETIME: "+0 x600" }
        : { FAKETIME_TIMESTAMP_FILE: file, FAKETIME_CACHE_DURATION: "1" };
      const steady = { FAKETIME_DONT_FAKE_MONOTONIC: "1" };
      return { LD_PRELOAD: preload, ...steady, ...how };
    },
  },
  fault: async (bench, seconds) => {
    await bench.pause(seconds * 500);
    Deno.writeTextFileSync(`${bench.folder}/clock`, "+2h");
    await bench.pause(seconds * 500);
  },
  judge: (result) => [
    ...onlyCodes(result, ["cast", "call", "fanout", "stream"], []),
    ...result.lasting.flatMap((name) =>
      unless(
        name === "caller" || drift(result, name) > 1_000_000,
        `the clock of ${name} was right`,
      )
    ),
  ],
};

/** Milliseconds by which a process's wall clock went too far. */
function drift({ history }: Result, name: string): number {
  const clocks = history.flatMap((line) =>
    line.t === "rss" && line.from === name ? line : []
  );
  const [first, last] = [clocks[0], clocks.at(-1)];
  return first && last
    ? last.clock - first.clock - (last.seen - first.seen)
    : 0;
}

const SPIN = 4_000 * HEARTBEAT;

/** K23: a handler blocks its event loop for longer than the broker waits for a heartbeat. */
const blockedLoop: Row = {
  id: "K23",
  title: "a handler spins for 4 heartbeats",
  options: { ...usual, heartbeat: HEARTBEAT },
  zombies: true,
  fault: async (bench, seconds) =>
    await bench.repeat(seconds, async (round) => {
      bench.burst(`spin-${round}`, 1, { ms: 0, spin: SPIN });
      await bench.pause(SPIN + 3_000);
    }),
  judge: (result) => {
    const spun = result.history.filter((line) =>
      line.t === "end" && line.id.startsWith("spin-")
    );
    const warned = result.history.some((line) =>
      line.t === "log" && /event loop/i.test(line.text)
    );
    return [
      ...unless(spun.length > 0, "no handler spun to its end"),
      ...unless(warned, "no line of the log tells of the blocked event loop"),
      ...goesOn(result, 2_000),
    ];
  },
};

/** Rows of the workers. */
export const workerRows: readonly Row[] = [
  workersEnd,
  zombies,
  poison,
  slowConsumer,
  wrongClocks,
  blockedLoop,
];

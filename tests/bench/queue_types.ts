/**
 * How long a service takes to start whose queues exist, by the type with which they were created and the type that
 * `queueType: "auto"` would create: `deno run -A tests/bench/queue_types.ts`. Needs RabbitMQ on this machine.
 *
 * @module
 */
import { contract, implement, Service } from "../../mod.ts";
import { privateBroker } from "../setup/broker.ts";
import { useRabbitmq } from "../setup/rabbitmq/versions.ts";

const TOPICS = 12; // of each: queue of the topic, queue of the host, and the quarantine of both
const ROUNDS = 7;
type QueueType = "classic" | "quorum";

console.log(`RabbitMQ in ${await useRabbitmq()}`);
await using broker = await privateBroker();

/** Starts a service of all topics, and returns the milliseconds that this took. */
async function start(
  url: string | string[],
  queueType: "auto" | QueueType,
  topics = Array.from({ length: TOPICS }, (_, n) => `topic${n}`),
): Promise<number> {
  const managers = topics.map((topic) =>
    implement(contract({ topic, version: "1.0", procedures: {} }), {})
  );
  const since = performance.now();
  const options = {
    url,
    queueType,
    manager: managers,
    host: "gb07",
    signals: false,
  };
  await using _service = await Service.start(options);
  return performance.now() - since;
}

/** Creates a virtual host in which all queues exist: those of odd topics as `odd`, the others as `even`. */
async function prepare(even: QueueType, odd: QueueType): Promise<string> {
  const name = `${even}-${odd}`;
  await broker.ctl("add_vhost", name);
  await broker.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*");
  const url = `${broker.url}/${name}`;
  const all = Array.from({ length: TOPICS }, (_, n) => n);
  for (const [at, type] of [even, odd].entries()) {
    const topics = all.filter((n) => n % 2 === at).map((n) => `topic${n}`);
    await start(url, type, topics);
  }
  return url;
}

const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;

for (
  const [even, odd] of [
    ["classic", "classic"],
    ["quorum", "quorum"],
    ["classic", "quorum"],
  ] as const
) {
  const url = await prepare(even, odd);
  const measured = { stated: [], classic: [], quorum: [] } as Record<
    string,
    number[]
  >;
  for (let round = 0; round < ROUNDS; round++) {
    if (even === odd) measured.stated?.push(await start(url, even));
    measured.classic?.push(await start(url, "auto"));
    measured.quorum?.push(await start([url, url], "auto"));
  }
  for (const [preferred, times] of Object.entries(measured)) {
    if (times.length === 0) continue;
    const form = preferred === "stated"
      ? `queueType: "${even}"`
      : `auto, which would create ${preferred}`;
    const range = `${Math.min(...times).toFixed(0)}–${
      Math.max(...times).toFixed(0)
    }`;
    const found = even === odd ? even : "half classic, half quorum";
    console.log(
      `${4 * TOPICS} queues, ${found}; ${form}: ${
        median(times).toFixed(0)
      } ms (${range})`,
    );
  }
}

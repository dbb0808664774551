/**
 * What telemetry that is off costs: the processor time of a call, caller and worker together, as it is and with modules that
 * record nothing in the place of the spans and figures of requests. Both take turns:
 *
 *     deno run -A tests/bench/telemetry/main.ts --rounds 15            # on a private RabbitMQ
 *     deno run -A tests/bench/telemetry/main.ts --url memory:cost      # on the memory transport
 */
import { parseArgs } from "node:util";
import { privateBroker } from "../../setup/broker.ts";

const { values } = parseArgs({
  options: {
    url: { type: "string" },
    rounds: { type: "string", default: "15" },
    calls: { type: "string", default: "30000" },
  },
});

const here = (path: string) => new URL(path, import.meta.url).href;
/** Import map of the variant without telemetry. */
const without = {
  imports: {
    [here("../../../src/rpc/telemetry/sent_message.ts")]: here(
      "no_sent_message.ts",
    ),
    [here("../../../src/rpc/telemetry/handled_message.ts")]: here(
      "no_handled_message.ts",
    ),
  },
};
const noMap = { imports: {} };

/** Microseconds of processor time of a call. */
async function measure(url: string, map: object): Promise<number> {
  const importMap = `data:application/json,${
    encodeURIComponent(JSON.stringify(map))
  }`;
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", "--import-map", importMap],
      ...[here("calls.ts"), url, values.calls],
    ],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("The calls have failed.");
  return Number(new TextDecoder().decode(stdout));
}

const sorted = (numbers: readonly number[]) =>
  numbers.toSorted((a, b) => a - b);

/** Median, and the quarters below and above it. */
function spread(numbers: readonly number[]): string {
  const all = sorted(numbers);
  const at = (share: number) => all[Math.floor(share * (all.length - 1))] ?? 0;
  const [low, median, high] = [at(0.25), at(0.5), at(0.75)].map((each) =>
    each.toFixed(3)
  );
  return `${median} (${low} to ${high})`;
}

await using stack = new AsyncDisposableStack();
const url = values.url ?? stack.use(await privateBroker()).url;
const ratios: number[] = [];
const costs: { as: number[]; without: number[] } = { as: [], without: [] };
for (let round = 0; round < Number(values.rounds); round++) {
  const order = round % 2 === 0 ? [noMap, without] : [without, noMap];
  const found = new Map<object, number>();
  for (const map of order) found.set(map, await measure(url, map));
  const [as, none] = [found.get(noMap) ?? 0, found.get(without) ?? 0];
  costs.as.push(as);
  costs.without.push(none);
  ratios.push(as / none);
}
console.log(`as it is, µs a call: ${spread(costs.as)}`);
console.log(`without telemetry:   ${spread(costs.without)}`);
console.log(`ratio:               ${spread(ratios)}`);

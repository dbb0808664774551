/** What the peers on Node share: the protocol with the harness, and the load that a client makes. */
import process from "node:process";
import { createInterface } from "node:readline";

const [, , role, topic, variant] = process.argv;

export const url = process.env.AMQP_URL;

/** Imports a package of this folder's package.json, which Deno's checks do not know and so must not see. */
export const load = (name) => import(name);

/** What is answered to `lookup`. */
export const answer = ({ id }) => ({ id, text: "y".repeat(70) });

/**
 * Runs the peer until stdin ends. `serve(topic, variant, handled)` resolves to `{close}` once it consumes;
 * `connect(topic, variant)` to `{call, cast, fanout, stream, close}` once it can call.
 */
export async function run(serve, connect) {
  const side = role === "server"
    ? await server(serve)
    : client(await connect(topic, variant));
  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    say(await side[command.do]?.(command) ?? { unsupported: true });
  }
  await side.close();
  process.exit(0);
}

function say(words) {
  process.stdout.write(`${JSON.stringify(words)}\n`);
}

async function server(serve) {
  let handled = 0;
  let wanted = Infinity;
  const { close } = await serve(topic, variant, () => {
    if (++handled === wanted) say({ handled });
  });
  return {
    close,
    count({ count }) {
      handled = 0;
      wanted = count;
      return { counting: true };
    },
  };
}

function client({ call, cast, fanout, stream, close }) {
  const send = (how) => how && ((command) => sendAll(how, command));
  return {
    close,
    call: (command) => callFor(call, command),
    cast: send(cast),
    fanout: send(fanout),
    stream: stream && (({ count }) => receive(stream, count)),
  };
}

async function callFor(call, { inFlight, ms, bytes }) {
  const make = maker(bytes);
  const times = [];
  let failed = 0;
  let error;
  const begun = performance.now();
  await together(inFlight, async () => {
    while (performance.now() - begun < ms) {
      const args = make();
      const sent = performance.now();
      try {
        const { id } = await call(args);
        if (id !== args.id) throw new Error(`answer ${id} to call ${args.id}`);
        times.push(performance.now() - sent);
      } catch (reason) {
        failed++;
        error ??= String(reason?.message ?? reason);
      }
    }
  });
  const elapsed = performance.now() - begun;
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.floor(share * times.length)];
  const calls = times.length;
  return { calls, failed, ms: elapsed, p50: at(0.5), p99: at(0.99), error };
}

async function sendAll(send, { count, inFlight, bytes }) {
  const make = maker(bytes);
  let left = count;
  let failed = 0;
  const begun = performance.now();
  await together(inFlight, async () => {
    while (left-- > 0) await send(make()).catch(() => failed++);
  });
  return { sent: count - failed, failed, ms: performance.now() - begun };
}

async function receive(stream, count) {
  let items = 0;
  const begun = performance.now();
  await stream(count, ({ n }) => {
    if (n !== ++items) throw new Error(`item ${n} in the place of ${items}`);
  });
  return { items, ms: performance.now() - begun };
}

function together(many, work) {
  return Promise.all(Array.from({ length: many }, work));
}

let last = 0;

/** Makes arguments of so many bytes as JSON. */
function maker(bytes) {
  const texts = [];
  return () => {
    const id = ++last;
    const rest = bytes - `{"id":${id},"text":""}`.length;
    return { id, text: texts[rest] ??= "x".repeat(rest) };
  };
}

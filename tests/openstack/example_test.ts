/** `examples/openstack/main.ts` as its reader runs it, with the real oslo.messaging on the same bus. */
import assert from "node:assert/strict";
import { TextLineStream } from "../fleet/lines.ts";
import { privateBroker, rabbitmqServer } from "../setup/broker.ts";
import { until } from "../setup/probe.ts";
import { OsloPeer, osloPython } from "./oslo.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The example with the rights that it needs and no more. */
function example(words: readonly string[], url?: string): Deno.Command {
  const rights = [
    ...["--no-prompt", "--allow-net=127.0.0.1", "--allow-env=AMQP_URL"],
    ...["--allow-sys=hostname"],
  ];
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...rights, "examples/openstack/main.ts", ...words],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...(url && { AMQP_URL: url }) },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** The example while it runs. Disposal interrupts it, as Ctrl-C does, and expects it to end in order. */
class Running implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;

  constructor(words: readonly string[], url: string) {
    this.#child = example(words, url).spawn();
    this.#reading = this.#read();
  }

  async printed(line: RegExp): Promise<void> {
    const found = () => this.lines.some((each) => line.test(each));
    await until(`${line} in ${this.lines}`, found, 20_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGINT");
    const [{ code }] = await Promise.all([this.#child.status, this.#reading]);
    assert.equal(code, 0, this.lines.join("\n"));
  }

  async #read(): Promise<void> {
    const { stdout, stderr } = this.#child;
    const read = async (from: ReadableStream<Uint8Array<ArrayBuffer>>) => {
      const lines = from.pipeThrough(new TextDecoderStream())
        .pipeThrough(new TextLineStream());
      for await (const line of lines) this.lines.push(line);
    };
    await Promise.all([read(stdout), read(stderr)]);
  }
}

async function run(words: readonly string[], url?: string) {
  const { code, stdout, stderr } = await example(words, url).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test({
  name:
    "openstack/main.ts listens, pings and serves (needs rabbitmq-server, python3-oslo.messaging)",
  ignore: rabbitmqServer === undefined || osloPython === undefined,
  async fn() {
    await using broker = await privateBroker();
    const { url } = broker;
    await using listener = new Running(
      ["listen", "--event-type", "lab.*"],
      url,
    );
    await using host = new Running(["serve", "--host", "gb07"], url);
    await listener.printed(/^listening$/);
    await host.printed(/^serving compute\.gb07$/);

    const ping = await run(["ping", "compute", "gb07"], url);
    assert.match(
      ping.out,
      /^\{"service":"compute","arg":"warren"\} in \d+\.\d ms\n$/,
    );
    assert.deepEqual([ping.code, ping.err], [0, ""]);
    const nobody = await run(["ping", "conductor"], url);
    assert.equal(nobody.code, 1);
    assert.match(
      nobody.err,
      /^NO_ROUTE: The queue conductor\S* does not exist yet/,
    );

    await using peer = await OsloPeer.start(url, "nova");
    const asked = {
      do: "call",
      topic: "compute",
      server: "gb07",
      version: "6.0",
      method: "get_host_uptime",
      args: { host: "gb07" },
    };
    assert.match(
      String(await peer.perform(asked)),
      /^up \d+ s, posing as gb07$/,
    );
    // Two listeners each get the event: nothing is taken.
    await peer.perform({ do: "listen", topic: "notifications" });
    const event = (type: string) =>
      peer.perform({
        do: "notify",
        driver: "messagingv2",
        priority: "info",
        topic: "notifications",
        publisher: "lab.host1",
        type,
        payload: { id: 1 },
      });
    await event("other.thing");
    await event("lab.thing");
    await listener.printed(/INFO lab\.host1 lab\.thing \{"id":1\}$/);
    await peer.event("it has it too", ({ type }) => type === "lab.thing");
    assert.ok(!listener.lines.some((line) => line.includes("other.thing")));
  },
});

Deno.test("openstack/main.ts says what it does not understand", async () => {
  const help = await run(["--help"]);
  assert.equal(help.code, 0);
  assert.match(help.out, /main\.ts ping <topic> \[<host>\]/);
  assert.equal((await run([])).code, 2);
  assert.equal((await run(["ping"])).code, 2);
  assert.equal((await run(["listen", "--loud"])).code, 2);
  const refused = await run(["ping", "compute", "--url", "amqp://127.0.0.1:1"]);
  assert.equal(refused.code, 1);
  assert.match(refused.err, /^CONNECTION: Cannot connect/m);
});

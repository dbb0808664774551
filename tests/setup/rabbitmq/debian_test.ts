/** Unpacking of RabbitMQ, with an invented apt and dpkg in front of the path: no network is needed, and nothing large is written. */
import assert from "node:assert/strict";
import { findInstalled, provideRabbitmq, versionOf } from "./versions.ts";

/** What the script finds in place of apt and dpkg. The package holds an Erlang that tells its own folder, as the real one does. */
const PROGRAMS = {
  "apt-get": `case $* in
indextargets*) echo "$MIRROR" ;;
*update) [ ! -e "$FAKE/offline" ] || { echo "E: The mirror is away" >&2; exit 100; } ;;
*install*) echo >>"$FAKE/installs"
  : >"$(dirname "$APT_CONFIG")/archives/rabbitmq.deb" ;;
esac`,
  "apt-config": "exit 0",
  "dpkg": `case $1 in
--print-architecture) echo amd64; exit ;;
esac
erlang=$3/usr/lib/erlang
sbin=$3/usr/lib/rabbitmq/lib/rabbitmq_server-$RELEASE/sbin
mkdir -p "$erlang/bin" "$erlang/erts-1/bin" "$sbin"
printf '#!/bin/sh\\nROOTDIR="/usr/lib/erlang"\\nprintf %%s "$ROOTDIR"\\n' >"$erlang/bin/erl"
chmod 755 "$erlang/bin/erl"
cp "$erlang/bin/erl" "$erlang/erts-1/bin/erl"
: >"$erlang/bin/epmd"
: >"$erlang/bin/escript"
: >"$sbin/rabbitmq-server"
[ ! -e "$FAKE/killed" ] || kill -9 $PPID`,
};

/** An invented apt with a cache of its own. */
class FakeApt implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "warren-apt-" });
  readonly #env: Readonly<Record<string, string>>;

  constructor(env: Readonly<Record<string, string>> = {}) {
    for (const [name, text] of Object.entries(PROGRAMS)) {
      const mode = 0o755;
      const script = `#!/bin/sh\n${text}\n`;
      Deno.writeTextFileSync(`${this.folder}/${name}`, script, { mode });
    }
    this.#env = {
      PATH: `${this.folder}:${Deno.env.get("PATH")}`,
      FAKE: this.folder,
      XDG_CACHE_HOME: `${this.folder}/cache`,
      MIRROR: "http://mirror.invalid/debian",
      RELEASE: "4.3.9",
      TEST_RABBITMQ: "",
      ...env,
    };
  }

  /** A file that the programs look for, present or not. */
  async set(name: "offline" | "killed", present: boolean): Promise<void> {
    if (present) await Deno.writeTextFile(`${this.folder}/${name}`, "");
    else await Deno.remove(`${this.folder}/${name}`);
  }

  /** Number of installations. */
  async installs(): Promise<number> {
    const text = await Deno.readTextFile(`${this.folder}/installs`);
    return text.length;
  }

  /** Evaluates an expression of the module in a process; resolves to its value or to the message of its error. */
  async evaluate(expression: string): Promise<string> {
    const module = new URL("versions.ts", import.meta.url).href;
    const code = `import * as versions from "${module}";
      const value = await (async () => ${expression})().catch((error) => error.message);
      console.log(value);`;
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-check", code],
      env: this.#env,
    }).output();
    const lines = new TextDecoder().decode(stdout).trim().split("\n");
    return lines.at(-1) || new TextDecoder().decode(stderr);
  }

  /** Brings the version 4.3. */
  provide(): Promise<string> {
    return this.evaluate('versions.provideRabbitmq("4.3")');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

const UNPACKED =
  /\/cache\/warren\/rabbitmq-4\.3-[0-9a-f]{8}\/usr\/lib\/rabbitmq\/lib\/rabbitmq_server-4\.3\.9\/sbin$/;
const ignore = Deno.build.os !== "linux";

Deno.test(
  { name: "a version is unpacked once, and found again", ignore },
  async () => {
    await using apt = new FakeApt();
    const [one, two] = await Promise.all([apt.provide(), apt.provide()]);
    assert.match(one, UNPACKED);
    assert.equal(two, one, "two processes at once");
    assert.equal(await apt.provide(), one);
    assert.equal(await apt.installs(), 1);
    assert.equal(versionOf(one), "4.3.9");
    const found = await apt.evaluate("versions.findRabbitmq()");
    const installed = findInstalled();
    assert.equal(found, installed ?? one);
    const erl = await new Deno.Command(`${one}/erl`).output();
    const erlang = one.replace(/rabbitmq\/lib.*/, "erlang");
    assert.equal(new TextDecoder().decode(erl.stdout), erlang);
    for (const name of ["epmd", "escript"]) await Deno.stat(`${one}/${name}`);
  },
);

Deno.test(
  { name: "an unpacking that was interrupted is begun anew", ignore },
  async () => {
    await using apt = new FakeApt();
    await apt.set("killed", true);
    assert.match(await apt.provide(), /RabbitMQ 4\.3 cannot be unpacked/);
    const found = await apt.evaluate("versions.findRabbitmq()");
    assert.doesNotMatch(found, UNPACKED);
    await apt.set("killed", false);
    assert.match(await apt.provide(), UNPACKED);
    assert.equal(await apt.installs(), 2);
  },
);

Deno.test({
  name:
    "without a mirror, or with another version on it, one sentence tells what to do",
  ignore,
}, async () => {
  await using apt = new FakeApt();
  await apt.set("offline", true);
  assert.equal(
    await apt.provide(),
    "RabbitMQ 4.3 cannot be unpacked from Debian forky (The mirror is away): " +
      "give the folder of a RabbitMQ with --rabbitmq, or set AMQP_URL.",
  );
  await using elsewhere = new FakeApt({
    MIRROR: "http://mirror.invalid/other",
  });
  assert.match(
    await elsewhere.provide(),
    /\(apt has no mirror of Debian\): give/,
  );
  await using later = new FakeApt({ RELEASE: "4.4.0" });
  assert.match(
    await later.provide(),
    /\(it has rabbitmq_server-4\.4\.0 now\): give/,
  );
});

Deno.test("the environment and --rabbitmq name a RabbitMQ by its folder or by that of its scripts", async () => {
  const folder = await Deno.makeTempDir({
    prefix: "warren-rabbitmq_server-9.8.7",
  });
  const sbin = `${await Deno.realPath(folder)}/sbin`;
  await Deno.mkdir(sbin);
  const wrong = /^--rabbitmq is ".*": give 4\.3, 3\.10, 4\.0, or a folder/;
  await assert.rejects(provideRabbitmq(folder), { message: wrong });
  await Deno.writeTextFile(`${sbin}/rabbitmq-server`, "");
  for (const path of [folder, sbin]) {
    assert.equal(await provideRabbitmq(path), sbin);
    await using apt = new FakeApt({ TEST_RABBITMQ: path });
    assert.equal(await apt.evaluate("versions.findRabbitmq()"), sbin);
  }
  assert.match(versionOf(sbin), /^9\.8\.7/);
  await Deno.remove(folder, { recursive: true });
});

/** Files of the configuration that hold secrets, and who else may read them. */
import assert from "node:assert/strict";
import { type ConfigOptions, loadConfig, watchConfig } from "../../mod.ts";
import { logged } from "../setup/logged.ts";
import { temporary, within } from "./support.ts";

const KEY = "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n";
const CERT = KEY.replaceAll("PRIVATE KEY", "CERTIFICATE");
const secretive = { url: ["amqp://one", "amqp://me:secret@two"] };

/** Loads what a file with this mode and content, named so in the options, gives; then all that was logged. */
async function warnings(
  mode: number,
  content: unknown,
  named: (path: string) => ConfigOptions = (file) => ({ file }),
): Promise<string[]> {
  using file = temporary(content);
  Deno.chmodSync(file.path, mode);
  await using log = await logged();
  within({}, () => {
    const config = loadConfig(named(file.path));
    loadConfig(named(file.path));
    using watcher = watchConfig(config);
    watcher.reload();
  });
  log.times(/./); // those that were held back
  return log.records.filter(({ level }) => level === "warning")
    .map(({ message }) => message.join("").replaceAll(file.path, "FILE"));
}

const cases: [what: string, () => Promise<string[]>, secret?: string][] = [
  ["password, group", () => warnings(0o640, secretive), "a password"],
  ["password, all", () => warnings(0o604, secretive), "a password"],
  [
    "password of oslo.messaging",
    () => warnings(0o644, { url: "rabbit://me:secret@one,you:too@two/" }),
    "a password",
  ],
  ["key", () => warnings(0o644, { tls: { key: KEY } }), "a private key"],
  [
    "path of a key",
    () => warnings(0o644, KEY, (key) => ({ tls: { key } } as ConfigOptions)),
    "a private key",
  ],
  [
    "key behind its certificate",
    () =>
      warnings(
        0o644,
        CERT + KEY.replace("BEGIN", "BEGIN RSA"),
        (cert) => ({ tls: { cert } } as ConfigOptions),
      ),
    "a private key",
  ],
  ["its owner's password", () => warnings(0o600, secretive)],
  ["its owner's key", () => warnings(0o400, { tls: { key: KEY } })],
  ["user without a password", () => warnings(0o644, { url: "amqp://me@one" })],
  ["certificates", () => warnings(0o644, { tls: { cert: CERT, ca: CERT } })],
  [
    "path of a certificate",
    () => warnings(0o644, CERT, (ca) => ({ tls: { ca } } as ConfigOptions)),
  ],
];

Deno.test({
  name: "a file with a secret that others may read is one warning",
  ignore: Deno.build.os === "windows",
  async fn() {
    for (const [what, load, secret] of cases) {
      const expected = secret === undefined ? [] : [
        `FILE contains ${secret} and can be read by other users than its owner: run chmod 600 on it`,
      ];
      assert.deepEqual(await load(), expected, what);
    }
  },
});

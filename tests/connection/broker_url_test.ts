/** URLs of brokers: what each form stands for, and that no error shows a password. */
import assert from "node:assert/strict";
import { createConnection, InvalidValueError, loadConfig } from "../../mod.ts";
import { brokerUrls, urlsOfList } from "../../src/connection/broker_url.ts";
import { parseUrls } from "../../src/connection/connection_options.ts";
import { logged } from "../setup/logged.ts";
import { within } from "../config/support.ts";

/** Each form, and the URLs that it stands for. */
const forms: readonly [given: string, ...urls: string[]][] = [
  ["amqp://localhost", "amqp://localhost"],
  ["amqp://u:p@h:5673/v%2Fx", "amqp://u:p@h:5673/v%2Fx"],
  ["amqps://u:a,b@h/v", "amqps://u:a,b@h/v"], // one password with a comma
  ["amqp://a:1@h, amqp://a:1@i", "amqp://a:1@h", "amqp://a:1@i"],
  ["memory:name", "memory:name"],
  ["rabbit://u:p@h1:5673/vhost", "amqp://u:p@h1:5673/vhost"],
  [
    "rabbit://u:p@h1:5672,u:p@h2:5672/vhost",
    "amqp://u:p@h1:5672/vhost",
    "amqp://u:p@h2:5672/vhost",
  ],
  [
    "rabbit://a:1@h,a:1@i, rabbit://a:1@j",
    "amqp://a:1@h",
    "amqp://a:1@i",
    "amqp://a:1@j",
  ],
  ["kombu+amqp://u:p@h/v", "amqp://u:p@h/v"],
  ["rabbit+amqp://u:p@h/v", "amqp://u:p@h/v"],
  ["kombu+amqps://u:p@h:5671//", "amqps://u:p@h:5671/%2F"],
  ["RABBIT://u:p@h", "amqp://u:p@h"],
  ["rabbit://u:p@h/", "amqp://u:p@h"],
  ["rabbit://u:p@h//", "amqp://u:p@h/%2F"],
  ["rabbit://u:p@h/%2F", "amqp://u:p@h/%2F"],
  ["rabbit://u:p@h/a/b c", "amqp://u:p@h/a%2Fb%20c"],
  ["rabbit://h1,[::1]:5673/v", "amqp://h1/v", "amqp://[::1]:5673/v"],
  // Reserved characters of a password, unescaped or not: the last @ and the first colon part it from the rest.
  ["rabbit://u:p@:s@h/v", "amqp://u:p%40%3As@h/v"],
  ["rabbit://u:p%2Fq%3F%23%2C@h/v", "amqp://u:p%2Fq%3F%23%2C@h/v"],
  ["rabbit://u:100%@h/v", "amqp://u:100%25@h/v"],
  ["rabbit://u:%zz+%C3%BC@h/v", "amqp://u:%25zz%2B%C3%BC@h/v"],
  ["rabbit://u:p@h:5671/v?ssl=1", "amqps://u:p@h:5671/v"],
  ["rabbit://u:p@h/v?ssl=False", "amqp://u:p@h/v"],
];

Deno.test("each form of a broker's URL stands for its nodes", () => {
  for (const [given, ...urls] of forms) {
    assert.deepEqual(urlsOfList(given).flatMap(brokerUrls), urls, given);
    const config = within({ AMQP_URL: given }, () => loadConfig());
    assert.deepEqual(config.url, urls, given);
    assert.deepEqual(parseUrls(config.url).map(String), urls, given);
  }
});

/** Each is refused, with words that the error has. The password is always hunter2. */
const wrong: readonly [given: string | readonly string[], says: RegExp][] = [
  ["amqp://u:hunter2@h?heartbeat=9", /unknown query parameter heartbeat/],
  ["rabbit://u:hunter2@h/?ssl=1&rpc_ttl=3", /unknown query parameter rpc_ttl/],
  ["amqp://u:1?hunter2=x@h/v", /unknown query parameter;/],
  ["rabbit://u:1?ssl=hunter2@h/v", /ssl is neither true nor false/],
  ["rabbit://", /there is no host/],
  ["rabbit://u:hunter2@/v", /give amqp:/],
  ["rabbit://u:hunter2@h:x/v", /give amqp:/],
  ["rabbit://u:hunter2/@h/v", /unescaped \//],
  ["rabbit://u:%ff%feHunter2@h/v", /not UTF-8/],
  ["rabbit+ssl://u:hunter2@h/v", /scheme rabbit\+ssl/],
  ["amqp://u:hunter2@h,u:hunter2@i/v", /give a list of URLs/],
  [
    ["amqps://u:hunter2@h", "amqp://u:hunter2@i"],
    /amqps: and amqp: in one list/,
  ],
  [["memory:a", "amqp://h"], /in one list/],
  [[], /give one URL, or several/],
];

Deno.test("a broker's URL that is wrong is refused without its password", () => {
  for (const [given, says] of wrong) {
    assert.throws(() => parseUrls(given), (error) => {
      assert.ok(error instanceof InvalidValueError, String(given));
      assert.match(error.message, says, String(given));
      assert.doesNotMatch(
        Deno.inspect({ ...error, m: error.message }),
        /hunter2/i,
      );
      return true;
    });
    const set = { AMQP_URL: String(given) };
    if (given.length === 0) continue;
    assert.throws(() => within(set, () => loadConfig()), (error) => {
      assert.doesNotMatch(String(error), /hunter2/i, String(given));
      return error instanceof InvalidValueError;
    });
  }
  const set = { AMQP_URL: "rabbit://u:p@h/?rpc_ttl=3" };
  assert.throws(() => within(set, () => loadConfig()), /rpc_ttl/);
});

Deno.test("a connection without TLS is a warning, but on loopback", async () => {
  await using log = await logged();
  const connect = (url: string) =>
    createConnection(url, { timeout: 1 }).catch(() => {});
  await connect("amqp://u:hunter2@broker.invalid:1/v");
  await connect("amqps://u:hunter2@broker.invalid:1/v");
  for (const host of ["localhost", "127.0.0.9", "[::1]"]) {
    await connect(`amqp://u:hunter2@${host}:1/v`);
  }
  const found = log.lines.filter((line) => line.includes("without TLS"));
  assert.equal(found.length, 1, found.join("\n"));
  assert.match(`${found}`, /broker\.invalid/);
  assert.doesNotMatch(log.lines.join("\n"), /hunter2/);
});

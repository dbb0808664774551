/** Texts that name brokers: URLs of AMQP, and the `transport_url` of oslo.messaging, which names several hosts at once. @module */
import { InvalidValueError } from "../errors.ts";

/** Schemes of oslo.messaging's RabbitMQ driver, and the same with kombu's transport after a plus sign. */
const OSLO = /^(?:rabbit|kombu)(?:\+(amqps?))?:\/\//i;

/** A comma between two URLs of a list. A comma within a `transport_url` stands between two hosts. */
const BETWEEN =
  /,(?=\s*(?:(?:amqps?|(?:rabbit|kombu)(?:\+amqps?)?):\/\/|memory:))/i;

/** The URLs of a list with commas between them. */
export function urlsOfList(list: string): string[] {
  return list.split(BETWEEN).map((one) => one.trim());
}

/**
 * The AMQP URLs that a text names: one for each host of a `transport_url` such as
 * `rabbit://user:password@host1:5672,user:password@host2:5672/vhost` (oslo.messaging `transport.py`, `TransportURL.parse`),
 * else the text itself.
 *
 * @throws {InvalidValueError} it has a query parameter that is not known, or cannot be read. The text is not shown.
 */
export function brokerUrls(text: string): string[] {
  const [start, amqps] = OSLO.exec(text) ?? [];
  const [address = "", ...query] = text.split("?");
  const parameters = new URLSearchParams(query.join("?"));
  if (start === undefined) {
    const [first] = parameters.keys();
    if (first !== undefined) throw unknownParameter(parameters, first, "none");
    // A password cannot hold a host: this is a list of hosts, whose first password would reach to the last host.
    const hosts = /:\/\/([^/]*)/.exec(address)?.[1] ?? "";
    if (/@.*,.*@/.test(hosts)) {
      throw invalid(
        "several hosts in one URL are those of rabbit://; give a list of URLs",
      );
    }
    return [text];
  }
  const scheme = tls(parameters) || amqps?.toLowerCase() === "amqps"
    ? "amqps"
    : "amqp";
  const [hosts = "", ...path] = address.slice(start.length).split("/");
  const vhost = path.join("/");
  if (vhost.includes("@")) {
    throw invalid(
      "an unescaped / ends its hosts; give those of a password as %2F",
    );
  }
  const named = hosts.split(",").filter((host) => host !== "");
  if (named.length === 0) throw invalid("there is no host in it");
  const where = vhost === "" ? "" : `/${reencoded(vhost)}`;
  return named.map((host) => `${scheme}://${authority(host)}${where}`);
}

/** oslo.messaging reads options from the query; `ssl` is the one that says what the URL of a broker says too. */
function tls(parameters: URLSearchParams): boolean {
  for (const name of parameters.keys()) {
    if (name !== "ssl") throw unknownParameter(parameters, name, "ssl");
  }
  const said = parameters.get("ssl")?.toLowerCase() ?? "false";
  if (["true", "1", "yes", "on"].includes(said)) return true;
  if (["false", "0", "no", "off"].includes(said)) return false;
  throw invalid("its query parameter ssl is neither true nor false");
}

/** The last @ ends the password, as in oslo.messaging. Each host has a login of its own, or none. */
function authority(text: string): string {
  const at = text.lastIndexOf("@");
  const host = text.slice(at + 1);
  if (at < 0) return host;
  const login = text.slice(0, at);
  const colon = login.indexOf(":");
  if (colon < 0) return `${reencoded(login)}@${host}`;
  const user = reencoded(login.slice(0, colon));
  return `${user}:${reencoded(login.slice(colon + 1))}@${host}`;
}

/** Percent-encoded throughout. A percent sign that begins no code stands for itself, as in Python. */
function reencoded(text: string): string {
  try {
    return encodeURIComponent(
      decodeURIComponent(text.replace(/%(?![0-9a-f]{2})/gi, "%25")),
    );
  } catch {
    throw invalid("a part of it is not UTF-8 in %xx");
  }
}

function unknownParameter(
  parameters: URLSearchParams,
  name: string,
  allowed: string,
): InvalidValueError {
  // A password with a question mark in it looks like a query, and an @ comes after it.
  const secret = /@|%40/.test(parameters.toString()) ||
    !/^\w{1,40}$/.test(name);
  const shown = secret ? "" : ` ${name}`;
  return invalid(
    `it has an unknown query parameter${shown}; allowed is ${allowed}, other settings are options`,
  );
}

function invalid(why: string): InvalidValueError {
  return new InvalidValueError(`Invalid broker URL: ${why}`, {
    data: { path: "url" },
  });
}

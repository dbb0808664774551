/** Parser of broker URLs: AMQP URLs, and the `transport_url` of oslo.messaging, which may contain several hosts. @module */
import { InvalidValueError } from "../errors.ts";

/** Schemes of oslo.messaging's RabbitMQ driver, optionally with the scheme of a kombu transport after a plus sign. */
const OSLO_SCHEME = /^(?:rabbit|kombu)(?:\+(amqps?))?:\/\//i;

/** Comma between two URLs of a list. A comma within a `transport_url` separates two hosts instead. */
const URL_SEPARATOR =
  /,(?=\s*(?:(?:amqps?|(?:rabbit|kombu)(?:\+amqps?)?):\/\/|memory:))/i;

/** Splits a list of URLs that are separated by commas. */
export function urlsOfList(list: string): string[] {
  return list.split(URL_SEPARATOR).map((one) => one.trim());
}

/**
 * Returns the AMQP URLs of a text: for a `transport_url`, one for each host, e.g. of
 * `rabbit://user:password@host1:5672,user:password@host2:5672/vhost` (oslo.messaging `transport.py`,
 * `TransportURL.parse`); for any other text, the text itself.
 *
 * @throws {InvalidValueError} the text cannot be parsed, or has an unknown query parameter. The message does not
 * contain the text.
 */
export function brokerUrls(text: string): string[] {
  const [start, amqps] = OSLO_SCHEME.exec(text) ?? [];
  const [address = "", ...query] = text.split("?");
  const parameters = new URLSearchParams(query.join("?"));
  if (start === undefined) {
    const [first] = parameters.keys();
    if (first !== undefined) throw unknownParameter(parameters, first, "none");
    // Several hosts in one `amqp:` URL would be parsed as one host, with the other hosts as a part of the first
    // password.
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
  const nonEmpty = hosts.split(",").filter((host) => host !== "");
  if (nonEmpty.length === 0) throw invalid("there is no host in it");
  const where = vhost === "" ? "" : `/${reencoded(vhost)}`;
  return nonEmpty.map((host) => `${scheme}://${authority(host)}${where}`);
}

/**
 * Returns true if the query asks for TLS. Of the options that oslo.messaging reads from a query, only `ssl` can be
 * expressed in an AMQP URL.
 */
function tls(parameters: URLSearchParams): boolean {
  for (const name of parameters.keys()) {
    if (name !== "ssl") throw unknownParameter(parameters, name, "ssl");
  }
  const ssl = parameters.get("ssl")?.toLowerCase() ?? "false";
  if (["true", "1", "yes", "on"].includes(ssl)) return true;
  if (["false", "0", "no", "off"].includes(ssl)) return false;
  throw invalid("its query parameter ssl is neither true nor false");
}

/**
 * Encodes a host with its login. The last `@` ends the password, as in oslo.messaging. Each host has its own login, or
 * none.
 */
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

/**
 * Percent-encodes a text that may be encoded in part. A percent sign that begins no valid code is taken literally, as
 * in Python.
 */
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
  // The part after a question mark in a password looks like a query. It can be recognised by the `@` that follows it.
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

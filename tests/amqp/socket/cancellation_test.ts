/** Attempts to connect that are cancelled while their socket opens. */
import assert from "node:assert/strict";
import { connect } from "../../../src/amqp/mod.ts";
import { brokerUrl } from "../../setup/broker.ts";

type Connect = (options: Deno.ConnectOptions) => Promise<Deno.TcpConn>;

/** Replaces `Deno.connect` until disposed. */
function replaceConnect(make: (original: Connect) => Connect): Disposable {
  const { connect } = Deno;
  Deno.connect = make(connect) as typeof connect;
  return { [Symbol.dispose]: () => void (Deno.connect = connect) };
}

Deno.test("a socket that opens after its attempt was cancelled is closed", async () => {
  const stop = new AbortController();
  const reason = new Error("no longer needed");
  let opened: Deno.TcpConn | undefined;
  using _ = replaceConnect((original) => async ({ hostname, port }) => {
    opened = await original({ hostname: hostname ?? "127.0.0.1", port });
    stop.abort(reason);
    return opened;
  });
  const attempt = connect(await brokerUrl(), { signal: stop.signal });
  await assert.rejects(attempt, reason);
  await assert.rejects(
    async () => await opened?.write(new Uint8Array(1)),
    Deno.errors.BadResource,
  );
});

Deno.test("Deno.connect is not cancelled in the turn in which the attempt is, since it may have opened a socket in it", async () => {
  const stop = new AbortController();
  const cancelled = Promise.withResolvers<void>();
  let signal: AbortSignal | undefined;
  using _ = replaceConnect(() => (options) => {
    signal = options.signal;
    return new Promise((_, reject) => {
      signal?.addEventListener("abort", () => {
        cancelled.resolve();
        reject(signal?.reason);
      });
    });
  });
  const attempt = connect("amqp://127.0.0.1", { signal: stop.signal });
  const rejected = assert.rejects(attempt, { name: "AbortError" });
  stop.abort();
  assert.equal(signal?.aborted, false);
  await Promise.resolve();
  assert.equal(signal?.aborted, false);
  await cancelled.promise;
  await rejected;
});

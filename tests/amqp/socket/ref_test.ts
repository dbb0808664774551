/** Connections that keep the process alive, and connections that do not. */
import assert from "node:assert/strict";
import { brokerUrl } from "../../setup/broker.ts";
import { run } from "../broker.ts";

const client = new URL("../../../src/amqp/mod.ts", import.meta.url);

/** Exit code of a program that was still alive after a second. */
const ALIVE = 7;

/** A program that opens a connection, and a channel with a consumer. */
const program = (url: string, rest: string) => `
  import { connect } from ${JSON.stringify(client)};
  const connection = await connect(${JSON.stringify(url)}, { heartbeat: 1 });
  const channel = await connection.openChannel();
  const { queue } = await channel.request("queue.declare", { exclusive: true });
  await channel.consume(queue, { onMessage: () => {} });
  ${rest}
  Deno.unrefTimer(setTimeout(() => Deno.exit(${ALIVE}), 1_000));
`;

Deno.test("only a connection that is open and referenced keeps the process alive", async () => {
  const url = await brokerUrl();
  const cases: readonly (readonly [string, number])[] = [
    ["", ALIVE],
    ["connection.unref();", 0],
    ["connection.unref(); connection.ref();", ALIVE],
    ["setTimeout(() => connection.close(), 1);", 0],
    ["connection.destroy('bye');", 0],
  ];
  const codes = await Promise.all(
    cases.map(([rest]) => run(program(url, rest))),
  );
  assert.deepEqual(codes, cases.map(([, code]) => code));
});

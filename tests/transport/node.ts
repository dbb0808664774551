/** A RabbitMQ node of a file of tests, which they may ill-treat. */
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
  type VirtualHost,
} from "../setup/broker.ts";

/** It runs while the file's tests do. */
export let node: PrivateBroker;

Deno.test.beforeAll(async () => {
  if (rabbitmqServer) node = await privateBroker({ tls: true });
});
Deno.test.afterAll(() => node?.[Symbol.asyncDispose]());

/** A test on the node. */
export function onNode(name: string, fn: () => Promise<void>): void {
  const ignore = rabbitmqServer === undefined;
  Deno.test({ name: `${name} (needs rabbitmq-server)`, ignore, fn });
}

/** A test on an empty virtual host of the node. */
export function onVirtualHost(
  name: string,
  fn: (host: VirtualHost) => Promise<void>,
): void {
  onNode(name, async () => await fn(await node.addVirtualHost()));
}

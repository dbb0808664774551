/** `Leases`: transports on loan, pooled and not, on a link that closes with the last of them. */
import assert from "node:assert/strict";
import {
  type PoolOptions,
  SessionPool,
} from "../../src/transport/session_pool.ts";
import type {
  Deadline,
  Session,
  Transport,
} from "../../src/transport/transport.ts";
import { ConnectionFailedError, TimeoutError } from "../../src/errors.ts";
import { until } from "../setup/probe.ts";
import { soon } from "./support.ts";

/** A link that only counts. */
class CountingLink {
  opened = 0;
  open_: Session[] = [];
  closed = 0;
  resting = false;
  opening: () => Promise<void> = () => Promise.resolve();

  async openSession(_wait: Deadline): Promise<Session> {
    const number = this.opened++;
    await this.opening();
    const transport = {
      number,
      [Symbol.asyncDispose]: () => {
        this.open_ = this.open_.filter((other) => other !== transport);
        return Promise.resolve();
      },
    } as unknown as Session;
    this.open_.push(transport);
    return transport;
  }

  ref(): void {
    this.resting = false;
  }

  unref(): void {
    this.resting = true;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.closed++;
    return Promise.resolve();
  }
}

function pool(options?: PoolOptions) {
  const link = new CountingLink();
  const told = { closed: 0 };
  const leases = new SessionPool(
    link as unknown as Transport,
    () => told.closed++,
    options,
  );
  return { link, leases, told };
}

const expired = (): Deadline => ({ at: performance.now() });

Deno.test("acquire() gives what was idle for the shortest time", async () => {
  const { link, leases } = pool();
  const [a, b, c] = [
    await leases.acquire(true, soon()),
    await leases.acquire(true, soon()),
    await leases.acquire(true, soon()),
  ];
  for (const each of [b, a, c]) await leases.release(each, true, true);
  const again = [
    await leases.acquire(true, soon()),
    await leases.acquire(true, soon()),
    await leases.acquire(true, soon()),
  ];
  assert.deepEqual(again, [c, a, b]);
  assert.equal(link.opened, 3);
  for (const each of again) await leases.release(each, true, false);
});

Deno.test("the pool has a bound; what is not pooled has none", async () => {
  const { link, leases } = pool({ size: 2 });
  const pooled = [
    await leases.acquire(true, soon()),
    await leases.acquire(true, soon()),
  ];
  const free = [
    await leases.acquire(false, soon()),
    await leases.acquire(false, soon()),
  ];
  await assert.rejects(leases.acquire(true, expired()), (error) => {
    assert.ok(error instanceof TimeoutError);
    assert.equal(error.inDoubt, false);
    assert.match(error.message, /All 2 connections/);
    return true;
  });
  assert.equal(link.opened, 4);
  for (const each of free) await leases.release(each, false, true);
  assert.equal(link.open_.length, 2);
  for (const each of pooled) await leases.release(each, true, false);
});

Deno.test("waiters are served in the order of asking, before whoever comes later", async () => {
  const { leases } = pool({ size: 1 });
  const served: number[] = [];
  const ask = async (number: number) => {
    const transport = await leases.acquire(true, soon());
    served.push(number);
    await leases.release(transport, true, true);
  };
  const transport = await leases.acquire(true, soon());
  const waiting = [1, 2, 3].map(ask);
  await assert.rejects(leases.acquire(true, expired()), TimeoutError);
  const release = leases.release(transport, true, true);
  waiting.push(ask(4)); // in the same turn: not before those who wait
  await release;
  await Promise.all(waiting);
  assert.deepEqual(served, [1, 2, 3, 4]);
  await leases.cleanup();
});

Deno.test("a waiter that gives up loses no place, also when one was just handed to it", async () => {
  const { leases } = pool({ size: 1 });
  const transport = await leases.acquire(true, soon());
  const controller = new AbortController();
  const reason = new Error("enough");
  const gaveUp = leases.acquire(true, {
    ...soon(),
    signal: controller.signal,
  });
  const next = leases.acquire(true, soon());
  const release = leases.release(transport, true, true);
  controller.abort(reason);
  await assert.rejects(gaveUp, (error) => error === reason);
  await release;
  await leases.release(await next, true, true);
  const last = await leases.acquire(true, expired()); // the place is free at once
  await leases.release(last, true, false);
});

Deno.test("a failed opening gives its place back", async () => {
  const { link, leases } = pool({ size: 1 });
  const keeper = await leases.acquire(false, soon());
  link.opening = () => Promise.reject(new Error("no channel"));
  await assert.rejects(leases.acquire(true, soon()), /no channel/);
  link.opening = () => Promise.reject(new ConnectionFailedError("too late"));
  await assert.rejects(leases.acquire(true, expired()), ConnectionFailedError);
  link.opening = () => Promise.resolve();
  const transport = await leases.acquire(true, soon());
  await leases.release(transport, true, false);
  await leases.release(keeper, false, false);
  assert.equal(link.closed, 1);
});

Deno.test("what is idle too long is closed, and the link with the last of it", async () => {
  const { link, leases, told } = pool({ idle: 30 });
  const [a, b] = [
    await leases.acquire(true, soon()),
    await leases.acquire(true, soon()),
  ];
  await leases.release(a, true, true);
  assert.equal(link.resting, false);
  await leases.release(b, true, true);
  assert.equal(link.resting, true);
  await until("both are closed", () => link.open_.length === 0);
  await until("the link is closed", () => link.closed === 1);
  assert.equal(told.closed, 1);
});

Deno.test("what is idle too long is closed while others are in use", async () => {
  const { link, leases } = pool({ idle: 30 });
  const keeper = await leases.acquire(false, soon());
  await leases.release(await leases.acquire(true, soon()), true, true);
  await until("the idle one is closed", () => link.open_.length === 1);
  assert.equal(link.closed, 0);
  await leases.release(keeper, false, true);
  assert.equal(link.closed, 1);
});

Deno.test("the link is closed with the last lease, once", async () => {
  const { link, leases, told } = pool();
  const [a, b] = [
    await leases.acquire(false, soon()),
    await leases.acquire(true, soon()),
  ];
  await leases.release(a, false, true);
  assert.equal(link.closed, 0);
  await leases.release(b, true, false); // not reusable
  await leases.cleanup();
  assert.deepEqual(link.open_, []);
  assert.equal(told.closed > 0, true);
  assert.equal(link.closed, 1);
});

Deno.test("cleanup() closes what is idle, and the link unless it is used", async () => {
  const { link, leases } = pool();
  const used = await leases.acquire(false, soon());
  await leases.release(await leases.acquire(true, soon()), true, true);
  assert.equal(link.open_.length, 2);
  await leases.cleanup();
  assert.deepEqual(link.open_, [used]);
  assert.equal(link.closed, 0);
  const again = await leases.acquire(true, soon());
  await leases.release(used, false, true);
  await leases.release(again, true, true);
  assert.equal(link.closed, 0);
  await leases.cleanup();
  assert.equal(link.closed, 1);
});

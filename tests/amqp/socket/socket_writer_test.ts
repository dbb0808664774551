/** The writer of a socket: all of a turn in one write, one write at a time, and nothing is left behind. */
import assert from "node:assert/strict";
import process from "node:process";
import type { Socket } from "../../../src/amqp/socket/socket.ts";
import { SocketWriter } from "../../../src/amqp/socket/socket_writer.ts";

/** A socket whose writes end when they are told to. */
class SlowSocket implements Socket {
  readonly writes: number[] = [];
  #writing: PromiseWithResolvers<number> | undefined;

  write(bytes: Uint8Array): Promise<number> {
    assert.equal(this.#writing, undefined, "one write at a time");
    this.writes.push(bytes.length);
    this.#writing = Promise.withResolvers();
    return this.#writing.promise;
  }

  /** Ends the write that is under way, of which so many bytes were written. */
  written(bytes: number): void {
    const writing = this.#writing;
    this.#writing = undefined;
    writing?.resolve(bytes);
  }

  read(): Promise<null> {
    return Promise.resolve(null);
  }

  close(): void {}
  ref(): void {}
  unref(): void {}
}

const HEARTBEAT_BYTES = 8;

function opened() {
  const socket = new SlowSocket();
  const writer = new SocketWriter(socket, () => {}, (error) => {
    throw error;
  });
  const send = () => {
    writer.frames.heartbeat();
    writer.schedule();
  };
  return { socket, send };
}

/** Resolves after all microtasks that are due now and those that they cause, within the turn. */
async function microtasks(): Promise<void> {
  for (let n = 0; n < 10; n++) await Promise.resolve();
}

/** Resolves at the end of the turn, after the writer's own work. */
const turnEnd = () => new Promise((resolve) => process.nextTick(resolve));

Deno.test("the frames of a turn are one write", async () => {
  const { socket, send } = opened();
  for (let n = 0; n < 3; n++) send();
  assert.deepEqual(socket.writes, []);
  await turnEnd();
  assert.deepEqual(socket.writes, [3 * HEARTBEAT_BYTES]);
});

Deno.test("frames that a write under way has taken along leave the writer able to write", async () => {
  const { socket, send } = opened();
  send();
  await turnEnd();
  send(); // the write under way takes this frame, and ends before the turn does
  socket.written(HEARTBEAT_BYTES);
  await microtasks();
  assert.deepEqual(socket.writes, [HEARTBEAT_BYTES, HEARTBEAT_BYTES]);
  socket.written(HEARTBEAT_BYTES);
  await microtasks();
  await turnEnd();
  send();
  await turnEnd();
  assert.equal(socket.writes.length, 3);
});

Deno.test("of a write that is cut short, the rest is written", async () => {
  const { socket, send } = opened();
  send();
  send();
  await turnEnd();
  socket.written(5);
  await turnEnd();
  assert.deepEqual(socket.writes, [16, 11]);
  socket.written(11);
});

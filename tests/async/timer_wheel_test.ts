/** `src/async/timer_wheel.ts`: one timer, deadlines in order, and nothing left of what is forgotten. */
import assert from "node:assert/strict";
import { clearDeadline, setDeadline } from "../../src/async/timer_wheel.ts";
import { delay, withDeadline } from "../../src/async/deadline.ts";
import { until } from "../setup/probe.ts";

const now = () => performance.now();
const later = () => new Error("too late");
const LONG = 60_000;

/** Keeps the event loop busy until then, as a long computation does. */
function spin(end: number): void {
  while (now() < end);
}

Deno.test("expireAt() fires in the order of the deadlines, also after a long turn", async () => {
  const start = now();
  const fired: number[] = [];
  const offsets = [90, 20, 60, 0, 120, 40];
  for (const ms of offsets) setDeadline(start + ms, () => fired.push(ms));
  spin(start + 150);
  await until("all have fired", () => fired.length === offsets.length);
  assert.deepEqual(fired, offsets.toSorted((a, b) => a - b));
});

Deno.test("expireAt() fires once, never before its deadline", async () => {
  const early: number[] = [];
  let fired = 0;
  const start = now();
  for (let ms = 0; ms < 50; ms++) {
    setDeadline(start + ms, () => {
      fired++;
      if (now() < start + ms) early.push(ms);
    });
  }
  await until("all have fired", () => fired >= 50);
  await delay(40, { at: Infinity });
  assert.equal(fired, 50);
  assert.deepEqual(early, []);
});

Deno.test("expireAt() rounds a deadline up by less than 16 ms", () => {
  for (const ms of [LONG, LONG + 0.01, LONG + 15.9, LONG + 16]) {
    const deadline = now() + ms;
    const waiting = setDeadline(deadline, () => {});
    const late = (waiting.bucket ?? NaN) * 16 - deadline;
    clearDeadline(waiting);
    assert.ok(late >= 0 && late < 16, `${late}`);
  }
});

Deno.test("expireAt() of a deadline that has passed fires in a later turn", async () => {
  const fired: number[] = [];
  for (const deadline of [-Infinity, -1, 0, now()]) {
    setDeadline(deadline, () => fired.push(deadline));
  }
  assert.deepEqual(fired, []);
  await until("all have fired", () => fired.length === 4);
});

Deno.test("expireAt(Infinity) is never, and needs no timer", () => {
  const timers = countTimers();
  const waiting = setDeadline(Infinity, () => assert.fail());
  assert.equal(waiting.bucket, undefined);
  assert.deepEqual(timers(), { most: 0, left: 0 });
  clearDeadline(waiting);
});

Deno.test("forget() takes a wait out, also one that is due with the one that forgets it", async () => {
  const fired: string[] = [];
  const start = Math.ceil(now() / 16) * 16 + 16;
  clearDeadline(setDeadline(start, () => fired.push("forgotten")));
  setDeadline(
    start,
    () => (fired.push("first"), clearDeadline(second), clearDeadline(next)),
  );
  const second = setDeadline(start, () => fired.push("second"));
  const next = setDeadline(start + 16, () => fired.push("next"));
  setDeadline(start + 32, () => fired.push("last"));
  spin(start + 48);
  await until("the last has fired", () => fired.includes("last"));
  assert.deepEqual(fired, ["first", "last"]);
});

Deno.test("expireAt() from an expiring wait fires too", async () => {
  const fired: string[] = [];
  const past = now();
  setDeadline(past, () => {
    setDeadline(past, () => fired.push("inner"));
    fired.push("outer");
  });
  await until("both have fired", () => fired.length === 2);
  assert.deepEqual(fired, ["outer", "inner"]);
});

Deno.test("a wait that throws takes no other with it", async () => {
  const thrown: unknown[] = [];
  const fired: string[] = [];
  const caught = (event: ErrorEvent) => {
    thrown.push(event.error);
    event.preventDefault();
  };
  globalThis.addEventListener("error", caught);
  const error = new Error("an expiry's own fault");
  setDeadline(now(), () => {
    throw error;
  });
  setDeadline(now(), () => fired.push("beside"));
  setDeadline(now() + 20, () => fired.push("behind"));
  await until("the others have fired", () => fired.length === 2);
  globalThis.removeEventListener("error", caught);
  assert.deepEqual(thrown, [error]);
});

Deno.test("100 000 waits use one timer, and leave none when they are forgotten", () => {
  const timers = countTimers();
  const start = now() + LONG;
  const waits = Array.from(
    { length: 100_000 },
    (_, at) => setDeadline(start + at % 5_000, () => assert.fail()),
  );
  assert.equal(timers(false).most, 1);
  for (const waiting of waits) clearDeadline(waiting);
  assert.deepEqual(timers(), { most: 1, left: 0 });
});

/** Counts the timers that are set from now on until it is asked for the last time. */
function countTimers() {
  const { setTimeout, clearTimeout } = globalThis;
  const set = new Set<unknown>();
  let most = 0;
  globalThis.setTimeout = ((...args: Parameters<typeof setTimeout>) => {
    const timer = setTimeout(...args);
    set.add(timer);
    most = Math.max(most, set.size);
    return timer;
  }) as typeof setTimeout;
  globalThis.clearTimeout = (timer) => {
    set.delete(timer);
    clearTimeout(timer);
  };
  return (last = true) => {
    if (last) Object.assign(globalThis, { setTimeout, clearTimeout });
    return { most, left: set.size };
  };
}

Deno.test("within() gives the outcome of the promise, and leaves nothing", async () => {
  const controller = new AbortController();
  const wait = { at: now() + LONG, signal: controller.signal };
  assert.equal(await withDeadline(Promise.resolve(1), wait, later), 1);
  const error = new Error("its own");
  await assert.rejects(
    withDeadline(Promise.reject(error), wait, later),
    (reason) => reason === error,
  );
  controller.abort(); // nobody listens any more: nothing is rejected
});

Deno.test("within() throws what `late` makes at the deadline", async () => {
  const never = new Promise(() => {});
  await assert.rejects(withDeadline(never, { at: now() + 5 }, later), later());
  await assert.rejects(withDeadline(never, { at: 0 }, later), later());
});

Deno.test("within() throws the reason of the signal, before and meanwhile", async () => {
  const never = new Promise(() => {});
  const reason = new Error("enough");
  const isReason = (error: unknown) => error === reason;
  const controller = new AbortController();
  const wait = { at: now() + LONG, signal: controller.signal };
  const waiting = withDeadline(never, wait, later);
  controller.abort(reason);
  await assert.rejects(waiting, isReason);
  await assert.rejects(withDeadline(never, wait, later), isReason);
});

Deno.test("within() looks after a promise that fails when nobody waits any more", async () => {
  const signal = AbortSignal.abort(new Error("enough"));
  const waits = [{ at: Infinity, signal }, { at: 0 }];
  for (const wait of waits) {
    const fails = Promise.withResolvers<void>();
    await assert.rejects(withDeadline(fails.promise, wait, later));
    fails.reject(new Error("too late for anyone")); // unhandled, this ends the test run
  }
  await delay(0, { at: Infinity });
  assert.ok(true);
});

Deno.test("pause() ends at its time, at the deadline, or with the signal", async () => {
  const start = now();
  await delay(20, { at: Infinity });
  assert.ok(now() >= start + 20);
  await delay(LONG, { at: now() + 10 });
  assert.ok(now() < start + LONG);
  const reason = new Error("enough");
  const controller = new AbortController();
  const wait = { at: Infinity, signal: controller.signal };
  const pausing = delay(LONG, wait);
  controller.abort(reason);
  await assert.rejects(pausing, (error) => error === reason);
  await assert.rejects(delay(LONG, wait), (error) => error === reason);
});

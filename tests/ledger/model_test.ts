/**
 * The protocol of a shared ledger against a model: two workers and one request, every order of their steps, deaths and
 * leases that end, without a gap; and longer random runs of more workers and requests.
 */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import { type LedgerStore, memoryLedgerStore } from "../../mod.ts";

const LEASE = 1_000;

/** Where a worker is with the request: it can die after each step. */
type Place =
  | { readonly at: "idle" }
  | { readonly at: "held"; readonly epoch: number }
  | { readonly at: "ran"; readonly epoch: number }
  /** Its handler has recorded it in a transaction; then the server does. */
  | { readonly at: "recorded"; readonly epoch: number }
  | { readonly at: "over" }
  | { readonly at: "dead" };

/** One request, its workers, and what has become of it. */
class World {
  readonly store: LedgerStore;
  readonly places: Place[];
  readonly key: string;
  readonly #clock: { now: number };
  /** Results that were recorded, and what was said. */
  readonly recorded: string[] = [];
  readonly said: string[] = [];
  /** The last epoch, and when its lease ends. */
  epoch = 0;
  until = 0;

  constructor(workers: number, key = "a", shared?: World) {
    const clock = shared ? shared.#clock : { now: 0 };
    this.#clock = clock;
    this.store = shared?.store ??
      memoryLedgerStore({ lease: LEASE, now: () => clock.now });
    this.places = new Array(workers).fill({ at: "idle" });
    this.key = key;
  }

  get leased(): boolean {
    return this.until > this.#clock.now;
  }

  #extend(): void {
    this.until = this.#clock.now + LEASE;
  }

  /** What could happen next. */
  get events(): string[] {
    const steps = this.places.flatMap(({ at }, worker) =>
      at === "over" || at === "dead"
        ? []
        : [`step ${worker}`, `die ${worker}`, ...renewal(at, worker)]
    );
    return [...steps, "expire"];
  }

  async happen(event: string): Promise<void> {
    const [what, number] = event.split(" ");
    const worker = Number(number);
    if (what === "expire") this.#clock.now += LEASE;
    if (what === "die") this.places[worker] = { at: "dead" };
    if (what === "renew") await this.#renew(worker);
    if (what === "step") this.places[worker] = await this.#step(worker);
  }

  async #step(worker: number): Promise<Place> {
    const place = this.places[worker] as Place;
    const { store, key } = this;
    if (place.at === "idle") {
      const claimed = await store.claim(key, "content");
      if (claimed.state === "taken") return place;
      if (claimed.state === "held") {
        const { epoch } = claimed;
        assert.ok(!this.leased && epoch > this.epoch, "held by two");
        this.epoch = epoch;
        this.#extend();
        return { at: "held", epoch };
      }
      assert.ok(claimed.state === "done");
      this.said.push(claimed.answers);
      return { at: "over" };
    }
    if (place.at === "held") return { at: "ran", epoch: place.epoch };
    if (!("epoch" in place)) return place;
    const { epoch } = place;
    const mine = await store.done({ key, epoch }, `${worker}`);
    if (!mine) return { at: "over" };
    assert.equal(epoch, this.epoch, "recorded by one that was taken over");
    this.recorded.push(`${worker}`);
    this.said.push(`${worker}`);
    return { at: "recorded", epoch };
  }

  async #renew(worker: number): Promise<void> {
    const place = this.places[worker] as Place;
    if (!("epoch" in place)) return;
    const { key, store } = this;
    const held = await store.renew({ key, epoch: place.epoch });
    if (held) this.#extend();
    else this.places[worker] = { at: "over" }; // it is told, and does not record
  }

  /** True whatever has happened so far. */
  check(trace: readonly string[]): void {
    const why = trace.join(", ");
    assert.ok(this.recorded.length <= 1, `recorded twice: ${why}`);
    const different = new Set([...this.recorded, ...this.said]);
    assert.ok(different.size <= 1, `said ${[...different]}: ${why}`);
  }

  /** Another worker that comes after all of it, when all leases have ended, brings it to its end. */
  async settle(trace: readonly string[]): Promise<void> {
    for (const [worker, { at }] of this.places.entries()) {
      if (at !== "over") this.places[worker] = { at: "dead" };
    }
    this.#clock.now += LEASE;
    const last = this.places.push({ at: "idle" }) - 1;
    for (let step = 0; step < 4; step++) await this.happen(`step ${last}`);
    this.check(trace);
    assert.equal(this.recorded.length, 1, `never done: ${trace.join(", ")}`);
  }
}

const renewal = (at: string, worker: number) =>
  at === "held" || at === "ran" ? [`renew ${worker}`] : [];

/** Runs a trace from the beginning. */
async function replay(trace: readonly string[]): Promise<World> {
  const world = new World(2);
  for (const event of trace) await world.happen(event);
  world.check(trace);
  return world;
}

/** What tells one state from another, as far as the future goes. */
const stateOf = ({ places, recorded, said, epoch, leased }: World) =>
  JSON.stringify([places, recorded, said, epoch, leased]);

Deno.test("two workers, one request: every order of steps, deaths and leases records one result", async () => {
  const seen = new Set<string>();
  let frontier: string[][] = [[]];
  for (let depth = 0; frontier.length > 0; depth++) {
    const next: string[][] = [];
    for (const trace of frontier) {
      const world = await replay(trace);
      const state = stateOf(world);
      if (seen.has(state)) continue;
      seen.add(state);
      next.push(...world.events.map((event) => [...trace, event]));
      await world.settle(trace);
    }
    frontier = next;
    assert.ok(depth < 50, "the states come to an end");
  }
  assert.ok(seen.size > 60, `${seen.size} states`);
});

Deno.test("many workers and requests in random order: each is recorded once", async () => {
  const run = fc.record({
    workers: fc.integer({ min: 1, max: 4 }),
    picks: fc.array(fc.tuple(fc.nat(2), fc.nat(30)), { maxLength: 60 }),
  });
  await fc.assert(
    fc.asyncProperty(run, async ({ workers, picks }) => {
      const first = new World(workers, "a");
      const others = ["b", "c"].map((key) => new World(workers, key, first));
      const worlds = [first, ...others];
      const trace: string[] = [];
      for (const [which, pick] of picks) {
        const world = worlds[which] as World;
        const { events } = world;
        const event = events[pick % events.length] as string;
        trace.push(`${world.key} ${event}`);
        await world.happen(event);
        for (const each of worlds) each.check(trace);
      }
      for (const world of worlds) await world.settle(trace);
    }),
    { numRuns: 300 },
  );
});

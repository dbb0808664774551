/** Where what is in hand is kept: the same as `Map` and arrays would keep, whatever comes and goes. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import { IndexedQueue, KeyedSlotMap, SlotMap } from "../src/slot_map.ts";

const steps = fc.array(
  fc.record({
    verb: fc.constantFrom("add" as const, "delete" as const),
    which: fc.nat(),
  }),
  { maxLength: 200 },
);

Deno.test("Slots keeps what was added and not deleted, and gives no number twice at a time", () => {
  fc.assert(fc.property(steps, (steps) => {
    const slots = new SlotMap<object>();
    const model = new Map<number, object>();
    for (const { verb, which } of steps) {
      const number = [...model.keys()][which % model.size];
      if (verb === "add") {
        const item = {};
        const number = slots.add(item);
        assert.ok(!model.has(number));
        model.set(number, item);
      } else if (number !== undefined) {
        slots.delete(number);
        slots.delete(number); // the second time does nothing
        model.delete(number);
      }
      assert.equal(slots.size, model.size);
      assert.deepEqual(new Set(slots), new Set(model.values()));
      for (const [number, item] of model) assert.equal(slots.get(number), item);
    }
  }));
});

Deno.test("Register keeps the last item of each key", () => {
  fc.assert(fc.property(steps, (steps) => {
    const register = new KeyedSlotMap<string, object>();
    const model = new Map<string, object>();
    for (const { verb, which } of steps) {
      const key = `${which % 8}`;
      if (verb === "add") {
        const item = {};
        register.set(key, item);
        model.set(key, item);
      } else {
        register.delete(key);
        model.delete(key);
      }
      assert.equal(register.size, model.size);
      assert.deepEqual(new Set(register), new Set(model.values()));
      for (let n = 0; n < 8; n++) {
        assert.equal(register.get(`${n}`), model.get(`${n}`));
      }
    }
  }));
});

Deno.test("Line keeps the order, whoever leaves it", () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 0, max: 3_000 }), (steps, before) => {
      const line = new IndexedQueue<object>();
      for (let n = 0; n < before; n++) line.add({});
      for (let n = 0; n < before; n++) assert.ok(line.delete(n));
      const model = new Map<number, object>();
      let next = before;
      for (const { verb, which } of steps) {
        const number = [...model.keys()][which % model.size];
        if (verb === "add") {
          const item = {};
          assert.equal(line.add(item), next);
          model.set(next++, item);
        } else if (number !== undefined) {
          assert.equal(line.delete(number), model.get(number));
          assert.equal(line.delete(number), undefined);
          model.delete(number);
        }
        assert.equal(line.size, model.size);
        const [first] = model;
        assert.equal(line.first, first?.[1]);
        assert.equal(line.head, first?.[0] ?? next);
      }
    }),
  );
});

Deno.test("Line lets thousands leave from its middle and its head", () => {
  const line = new IndexedQueue<number>();
  for (let n = 0; n < 5_000; n++) line.add(n);
  for (let n = 1; n < 5_000; n += 2) line.delete(n);
  for (let n = 0; n < 5_000; n += 2) {
    assert.equal(line.head, n);
    assert.equal(line.delete(n), n);
  }
  assert.equal(line.size, 0);
  assert.equal(line.add(5_000), 5_000);
});

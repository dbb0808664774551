/** Control commands reach what runs under the id of a call, also if callers have chosen the same id. */
import assert from "node:assert/strict";
import {
  type ControlTarget,
  ControlTargets,
} from "../../src/rpc/control_targets.ts";

/** A target that writes down what it is told. */
function target(
  name: string,
  told: string[],
  reader?: string,
  run?: string,
): ControlTarget {
  return {
    isRun: (id) => id === run,
    moveReader(queue) {
      told.push(`${name} moves to ${queue}`);
      reader = queue;
    },
    end: (reason) => void told.push(`${name} ends: ${reason}`),
    grant: ({ upTo }) => void told.push(`${name} may send ${upTo}`),
    get reader() {
      return reader;
    },
    resume: (from) => (told.push(`${name} resumes ${from}`), true),
    onReturned: (message) => void told.push(`${name} lost ${message}`),
  };
}

Deno.test("commands reach every target of a call and no other, until it is removed", () => {
  const targets = new ControlTargets();
  const told: string[] = [];
  const [a, b, c] = ["a", "b", "c"].map((name) => target(name, told, name)) as [
    ControlTarget,
    ControlTarget,
    ControlTarget,
  ];
  const grant = (call: string) => {
    told.length = 0;
    targets.grant(call, { upTo: 1 });
    return told.map((line) => line[0]).join("");
  };
  targets.add("one", a);
  targets.add("other", c);
  assert.equal(grant("one"), "a");
  targets.add("one", a);
  assert.equal(grant("one"), "a", "added twice");
  targets.add("one", b);
  targets.add("one", c);
  assert.equal(grant("one"), "abc");
  targets.remove("one", b);
  targets.remove("one", b);
  assert.equal(grant("one"), "ac");
  targets.remove("one", a);
  targets.remove("one", a);
  assert.equal(grant("one"), "c");
  targets.remove("one", c);
  assert.equal(grant("one"), "");
  assert.equal(grant("other"), "c");
  targets.remove("other", a);
  assert.equal(grant("other"), "c");
});

Deno.test("all targets of a call are told, although each of them leaves when it is told", () => {
  const targets = new ControlTargets();
  const told: string[] = [];
  for (const name of ["a", "b", "c"]) {
    const leaving: ControlTarget = {
      ...target(name, told),
      end: () => {
        told.push(name);
        targets.remove("call", leaving);
      },
    };
    targets.add("call", leaving);
  }
  targets.cancel("call");
  assert.deepEqual(told, ["a", "b", "c"]);
  targets.cancel("call");
  assert.equal(told.length, 3);
});

Deno.test("one target resumes, whose replies go to the reader's queue", () => {
  const targets = new ControlTargets();
  const told: string[] = [];
  for (const name of ["a", "b"]) targets.add("call", target(name, told, name));
  targets.add("call", target("twin", told, "b"));
  assert.equal(targets.resume("call", "b", 3, undefined), true);
  assert.equal(targets.resume("call", "c", 3, undefined), false);
  assert.equal(targets.resume("call", undefined, 3, undefined), false);
  assert.equal(targets.resume("none", "b", 3, undefined), false);
  targets.onReturned("call", "m");
  assert.deepEqual(told, [
    "b resumes 3",
    "a lost m",
    "b lost m",
    "twin lost m",
  ]);
});

Deno.test("a stream moves to the new queue of a reader who names its run, and of no other", () => {
  const targets = new ControlTargets();
  const told: string[] = [];
  targets.add("call", target("request", told, "old"));
  targets.add("call", target("run", told, "old", "its id"));
  targets.add("call", target("other", told, "another's"));
  assert.equal(targets.resume("call", "new", 3, undefined), false);
  assert.equal(targets.resume("call", "new", 3, "guessed"), false);
  assert.deepEqual(told, []);
  assert.equal(targets.resume("call", "new", 3, "its id"), true);
  const moved = ["request moves to new", "run moves to new"];
  assert.deepEqual(told, [...moved, "request resumes 3"]);
});

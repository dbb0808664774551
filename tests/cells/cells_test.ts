/** Cells on buses in memory, beside a broker that is not there: routes, targets, fanouts, services, errors. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  type Cells,
  ConnectionDisposedError,
  ConnectionFailedError,
  createConnection,
  events,
  InvalidValueError,
  memoryServiceStore,
  NoRouteError,
  Service,
} from "../../mod.ts";
import { byHost, compute, echo, work } from "./support.ts";

/** Nothing listens on this port. */
const NOBODY = "amqp://127.0.0.1:1";

/** Two cells in memory of this test alone. */
function twoCells(): { a: string; b: string } {
  const id = crypto.randomUUID().slice(0, 8);
  return { a: `memory:a-${id}`, b: `memory:b-${id}` };
}

Deno.test("each verb goes to the cell that the route names", async () => {
  const cells = twoCells();
  await using a = await work(cells, "a", "a-1");
  await using b = await work(cells, "b", "b-1");
  await using connection = await createConnection({ cells, route: byHost });
  const client = connection.client(compute);
  assert.deepEqual(connection.cells, ["a", "b"]);
  assert.equal(await client.call("where", {}, { host: "a-1" }), "a-1");
  assert.equal(await client.call("where", {}, { host: "b-1" }), "b-1");
  const target = { topic: "compute", host: "b-1" };
  assert.equal(await connection.call(target, "where"), "b-1");
  const numbers = client.multicall("count", { to: 3 }, { host: "b-1" });
  assert.deepEqual(await Array.fromAsync(numbers), [1, 2, 3]);
  const more = connection.multicall(target, "count", { to: 2 });
  assert.deepEqual(await Array.fromAsync(more), [1, 2]);
  const noted = b.noted();
  await client.cast("note", { text: "typed" }, { host: "b-1" });
  assert.equal(await noted, "typed");
  const again = b.noted();
  await connection.cast(target, "note", { text: "untyped" });
  assert.equal(await again, "untyped");
  assert.deepEqual(a.notes, []);
});

Deno.test("the defaults of a client are options of its requests, also for the route", async () => {
  const cells = twoCells();
  await using _b = await work(cells, "b", "b-1");
  await using connection = await createConnection({ cells, route: byHost });
  const client = connection.client(compute, { host: "b-1" });
  assert.equal(await client.call("where"), "b-1");
});

Deno.test("a route gets the topic, the host, the procedure and its arguments, and of an event its type and payload", async () => {
  const cells = twoCells();
  const seen: unknown[] = [];
  await using connection = await createConnection({
    cells,
    route: (request) => (seen.push(request), "a"),
  });
  await connection.cell("a").createListener(() => {});
  await connection.notify("disk.full", { disk: 1 });
  await assert.rejects(
    connection.cast({ topic: "x", namespace: "n", host: "h" }, "m", { k: 1 }),
    NoRouteError,
  );
  assert.deepEqual(seen, [
    { topic: "notifications", eventType: "disk.full", payload: { disk: 1 } },
    { topic: "x", namespace: "n", host: "h", method: "m", args: { k: 1 } },
  ]);
});

Deno.test("a notifier of several cells sends each event in the cell of its route", async () => {
  const contract = events({
    "disk.full": z.object({ cell: z.string(), disk: z.string() }),
  });
  await using connection = await createConnection({
    cells: twoCells(),
    route: ({ payload }) =>
      (payload as { readonly cell?: string } | null)?.cell,
  });
  const seen: unknown[] = [];
  const both = Promise.withResolvers<void>();
  for (const cell of connection.cells) {
    await connection.cell(cell).createListener(contract, {
      "disk.full": ({ payload, priority }) => {
        seen.push([cell, payload.disk, priority]);
        if (seen.length === 2) both.resolve();
      },
    }, { interceptors: [(request, next) => next(request)] });
  }
  const notifier = connection.notifier(contract, { priority: "error" });
  await notifier.notify("disk.full", { cell: "b", disk: "sdb" });
  await notifier.notify("disk.full", { cell: "a", disk: "sda" });
  await both.promise;
  assert.deepEqual(seen.toSorted(), [["a", "sda", "ERROR"], [
    "b",
    "sdb",
    "ERROR",
  ]]);
  const wrong = notifier.notify("disk.full", { cell: "a" } as never);
  await assert.rejects(wrong, (error) => {
    assert.ok(error instanceof InvalidValueError);
    assert.equal(error.data.path, "disk");
    return true;
  });
  const nowhere = notifier.notify("disk.full", { cell: "c", disk: "sdc" });
  await assert.rejects(nowhere, InvalidValueError);
  assert.throws(
    () => connection.notifier({ x: 1 as never }),
    InvalidValueError,
  );
});

Deno.test("cell() is the connection of one cell, without a route", async () => {
  const cells = twoCells();
  await using _a = await work(cells, "a", "a-1");
  await using connection = await createConnection({ cells });
  const client = connection.cell("a").client(compute);
  assert.equal(await client.call("where"), "a-1");
  assert.throws(() => connection.cell("c"), (error) => {
    assert.ok(error instanceof InvalidValueError);
    assert.match(error.message, /"c".*a, b/);
    return true;
  });
  await assert.rejects(
    connection.client(compute).call("where"),
    /give the option route, or name the cell with cell\(name\), one of a, b/,
  );
});

const wrongRoutes: Record<
  string,
  [() => unknown, typeof NoRouteError | typeof InvalidValueError, RegExp]
> = {
  "an unknown cell": [
    () => "c",
    InvalidValueError,
    /"c".*compute\.where.*a, b/,
  ],
  "no cell": [() => undefined, NoRouteError, /compute\.where.*a, b/],
  "a promise": [() => Promise.resolve("a"), InvalidValueError, /object.*a, b/],
  "a throw": [
    () => {
      throw new Error("no mapping");
    },
    InvalidValueError,
    /no mapping.*a, b/,
  ],
  "a name that every object has": [
    () => "constructor",
    InvalidValueError,
    /constructor/,
  ],
};

for (const [what, [route, type, text]] of Object.entries(wrongRoutes)) {
  Deno.test(`a route that gives ${what} is an error that names the cells`, async () => {
    const cells = twoCells();
    await using connection = await createConnection({
      cells,
      route: route as () => string,
    });
    const client = connection.client(compute);
    await assert.rejects(client.call("where"), (error) => {
      assert.ok(error instanceof type);
      assert.match(error.message, text);
      return true;
    });
    assert.throws(() => client.multicall("count", { to: 1 }), type);
  });
}

Deno.test("errors of a cell name it, errors of a handler and of arguments stay as they are", async () => {
  const cells = twoCells();
  await using connection = await createConnection({ cells, route: byHost });
  const client = connection.client(compute);
  await assert.rejects(client.call("where", {}, { host: "b-9" }), (error) => {
    assert.ok(error instanceof NoRouteError);
    assert.match(error.message, /^Cell b: /);
    assert.equal(error.data.cell, "b");
    assert.ok(error.cause instanceof NoRouteError);
    return true;
  });
  const args = { text: 1 } as unknown as { text: string };
  await assert.rejects(
    client.cast("note", args, { host: "b-9" }),
    (error) =>
      error instanceof InvalidValueError && !/^Cell/.test(error.message),
  );
  const stream = client.multicall("count", { to: 1 }, { host: "a-9" });
  await assert.rejects(stream.next(), /^NoRouteError: Cell a: /);
});

Deno.test("a fanout reaches the workers of all cells, and reports the cell that is down at once", async () => {
  const cells = { ...twoCells(), gone: NOBODY };
  await using a = await work(cells, "a", "a-1");
  await using b = await work(cells, "b", "b-1");
  await using connection = await createConnection({ cells, route: byHost });
  const notes = [a.noted(), b.noted()];
  const client = connection.client(compute);
  const report = await client.fanoutCast("note", { text: "all" });
  assert.deepEqual(await Promise.all(notes), ["all", "all"]);
  assert.deepEqual(report.reached.toSorted(), ["a", "b"]);
  const { gone, ...others } = report.failed;
  assert.deepEqual(others, {});
  assert.ok(gone instanceof ConnectionFailedError);
  assert.match(gone.message, /^Cell gone is not connected: .*refused/);
  const again = [a.noted(), b.noted()];
  const second = await connection.fanoutCast(compute, "note", { text: "2" });
  assert.deepEqual(Object.keys(second.failed), ["gone"]);
  await Promise.all(again);
});

Deno.test("a fanout whose arguments are wrong, or that no cell takes, throws", async () => {
  const cells = { ...twoCells(), gone: NOBODY };
  await using connection = await createConnection({ cells });
  const args = { text: 1 } as unknown as { text: string };
  await assert.rejects(
    connection.client(compute).fanoutCast("note", args),
    InvalidValueError,
  );
  await using none = await createConnection({
    cells: { gone: NOBODY },
    waitFor: [],
  });
  await assert.rejects(
    none.client(compute).fanoutCast("note", { text: "x" }),
    /Cell gone is not connected/,
  );
  const stop = AbortSignal.abort(new Error("enough"));
  await assert.rejects(
    connection.client(compute).fanoutCast("note", { text: "x" }, {
      signal: stop,
    }),
    /enough/,
  );
});

Deno.test("services() has the services of all cells with their cell, and names the cell that is down", async () => {
  const cells = { ...twoCells(), gone: NOBODY };
  await using _a = await work(cells, "a", "a-1");
  await using _b = await work(cells, "b", "b-1");
  await using connection = await createConnection({ cells });
  const services = connection.services({ timeout: 300 });
  const found = await Array.fromAsync(services);
  const places = found.map(({ host, cell }) => `${host} in ${cell}`);
  assert.deepEqual(places.toSorted(), ["a-1 in a", "b-1 in b"]);
  assert.deepEqual(Object.keys(services.failed), ["gone"]);
  assert.match(services.failed.gone?.message ?? "", /gone is not connected/);
  await assert.rejects(
    connection.services({ topic: "#" }).next(),
    InvalidValueError,
  );
});

Deno.test("a store that the cells share gives the services of each cell once, with its own state", async () => {
  const cells = twoCells();
  const store = memoryServiceStore();
  await using _a = await work(cells, "a", "a-1", store);
  const b = await work(cells, "b", "b-1", store);
  await b.service.stop();
  await using connection = await createConnection({ cells });
  const found = await Array.fromAsync(
    connection.services({ timeout: 300, store }),
  );
  const places = found.map(({ host, cell, state }) => [host, cell, state]);
  assert.deepEqual(places.toSorted(), [
    ["a-1", "a", "up"],
    ["b-1", "b", "stopped"],
  ]);
});

Deno.test("services are watched in all cells until the loop is left or the connection is disposed", async () => {
  const cells = twoCells();
  await using connection = await createConnection({ cells });
  await using _a = await work(cells, "a", "a-1");
  const watched = connection.services({ watch: true, timeout: 300 });
  assert.equal((await watched.next()).value?.host, "a-1");
  const later = watched.next();
  await using _b = await work(cells, "b", "b-1");
  const status = (await later).value;
  assert.deepEqual([status?.host, status?.cell], ["b-1", "b"]);
  const pending = watched.next();
  await watched.return();
  await pending;
  const disposed = connection.services({ watch: true, timeout: 300 });
  await disposed.next();
  await disposed.next();
  const failing = (async () => {
    for await (const _ of disposed);
  })();
  await Promise.all([
    assert.rejects(failing, ConnectionDisposedError),
    connection[Symbol.asyncDispose](),
  ]);
});

Deno.test("a request to a cell that is down ends at its own deadline, and others are not delayed", async () => {
  const cells = { ...twoCells(), gone: NOBODY };
  await using _a = await work(cells, "a", "a-1");
  await using connection = await createConnection({ cells, route: byHost });
  const client = connection.client(compute);
  const options = { host: "gone-1", timeout: 500 };
  const failing = client.call("where", {}, options);
  const order: string[] = [];
  const late = failing.catch((error) => (order.push("gone"), error));
  await client.call("where", {}, { host: "a-1" });
  order.push("a");
  const error = await late;
  assert.deepEqual(order, ["a", "gone"]);
  assert.ok(error instanceof ConnectionFailedError);
  assert.equal(error.data.cell, "gone");
  assert.equal(error.inDoubt, false);
  assert.match(error.message, /^Cell gone: /);
  const { gone, a } = connection.health();
  assert.equal(gone?.publishing.state, "recovering");
  assert.equal(a?.publishing.state, "up");
});

Deno.test("createConnection waits for one cell, or for those of waitFor", async () => {
  const cells = { ...twoCells(), gone: NOBODY, lost: NOBODY };
  await using _one = await createConnection({ cells });
  await using _named = await createConnection({ cells, waitFor: ["a", "b"] });
  const { gone, lost } = cells;
  await assert.rejects(
    createConnection({ cells: { gone, lost } }, { timeout: 300 }),
    (error) => {
      assert.ok(error instanceof ConnectionFailedError);
      assert.match(error.message, /^No cell.*Cell gone: .*Cell lost: /);
      return true;
    },
  );
  await assert.rejects(
    createConnection({ cells, waitFor: ["a", "gone"] }, { timeout: 300 }),
    /^ConnectionFailedError: Cell gone: /,
  );
  await assert.rejects(
    createConnection({ cells: { gone } }, {
      signal: AbortSignal.abort(new Error("enough")),
    }),
    /enough/,
  );
});

const wrong: Record<string, [unknown, RegExp]> = {
  "no cell": [{ cells: {} }, /cells/],
  "a name with a space": [{ cells: { "a b": "memory:x" } }, /cell "a b"/],
  "a URL that is none": [
    { cells: { a: "x" } },
    /cells\.a: .*Invalid broker URL/,
  ],
  "an unknown option": [{ cells: { a: "memory:x" }, rout: 1 }, /rout\b/],
  "an unknown option of a cell": [
    { cells: { a: { url: "memory:x", heartbaet: 1 } } },
    /cells\.a\.heartbaet/,
  ],
  "a wrong option of a cell": [
    { cells: { a: { url: "memory:x", heartbeat: -1 } } },
    /heartbeat/,
  ],
  "a route that is no function": [
    { cells: { a: "memory:x" }, route: "a" },
    /route/,
  ],
  "an unknown cell in waitFor": [
    { cells: { a: "memory:x" }, waitFor: ["b"] },
    /"b" in waitFor.*a/,
  ],
};

for (const [what, [options, text]] of Object.entries(wrong)) {
  Deno.test(`cells with ${what} are refused`, async () => {
    await assert.rejects(
      createConnection(options as { cells: Cells }),
      (error) => {
        assert.ok(error instanceof InvalidValueError);
        assert.match(error.message, text);
        return true;
      },
    );
  });
}

Deno.test("options of a cell replace those that all cells share", async () => {
  const { a, b } = twoCells();
  const cells = { a: { url: a, concurrency: 3 }, b };
  const options = { concurrency: 7 };
  await using connection = await createConnection({ cells }, options);
  assert.equal(connection.cell("a").concurrency, 3);
  assert.equal(connection.cell("b").concurrency, 7);
});

Deno.test("a service takes the broker of its cell, and its report names the cell", async () => {
  const cells = twoCells();
  await using _a = await work(cells, "a", "a-1");
  await using direct = await createConnection(cells.a);
  const [found] = await Array.fromAsync(direct.services({ timeout: 300 }));
  assert.equal(found?.cell, "a");
  await using other = await Service.start({
    url: new URL(cells.b),
    cell: "elsewhere",
    manager: echo,
    signals: false,
  });
  assert.equal(other.state, "up");
});

const wrongServices: Record<string, [object, RegExp]> = {
  "no URL": [{}, /option url/],
  "an unknown cell": [{ cells: { a: "memory:x" }, cell: "b" }, /"b".*a/],
  "cells, and no cell of its own": [{ cells: { a: "memory:x" } }, /option url/],
  "the URL of another cell": [
    { cells: { a: "memory:x" }, cell: "a", url: "memory:y" },
    /not the broker of the cell a/,
  ],
  "a name that is none": [{ url: "memory:x", cell: "a b" }, /cell "a b"/],
};

for (const [what, [options, text]] of Object.entries(wrongServices)) {
  Deno.test(`a service with ${what} is refused`, async () => {
    const all = { ...options, manager: echo };
    await assert.rejects(Service.start(all as never), (error) => {
      assert.ok(error instanceof InvalidValueError);
      assert.match(error.message, text);
      return true;
    });
  });
}

Deno.test("the URL of the cell may be given beside it", async () => {
  const cells = twoCells();
  await using service = await Service.start({
    ...{ cells, cell: "a", url: [cells.a] },
    manager: echo,
    signals: false,
  });
  assert.equal(service.state, "up");
});

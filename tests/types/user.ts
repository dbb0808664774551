// deno-fmt-ignore-file: each refusal must stay on the line under its directive
import { z } from "npm:zod@4";
import * as v from "npm:valibot@1";
import { type } from "npm:arktype@2";
import { type Args, type Handlers, Manager, SchedulerDependentManager, type RequestContext, contract, createConnection, implement, RpcDispatcher, RpcError, type RpcErrorOptions, RemoteError, Service, type Contract, type ContractOf, type Dispatcher, requestContext, type Client, type PeriodicTask, type Exact, type JsonProcedures, type FanoutReport, loadConfig, events, type EventContractOf, type JsonEvents, type EventHandlers, type Notifier, type ClientInterceptor, withNotifications } from "../../mod.ts";
class InstanceNotFound extends Error { constructor(m: string, o?: RpcErrorOptions) { super(m, o); } }
const Instance = z.object({ id: z.string(), host: z.string(), at: z.iso.datetime().transform((s) => new Date(s)) });
export const compute = contract({ topic: "compute", version: "1.1", errors: { "nova.exception.InstanceNotFound": InstanceNotFound }, procedures: {
  runInstance: { args: z.object({ name: z.string(), ram: z.number().default(512), n: z.string().transform(Number) }), result: Instance },
  reboot: { args: z.object({ id: z.string() }), delivery: "at-most-once" },
  console: { args: z.object({ id: z.string() }), yields: z.string() },
  list: { result: z.array(Instance), since: "1.1" },
  poke: {},
  val: { args: v.object({ a: v.optional(v.number(), 3) }), result: v.string() },
  ark: { args: type({ a: "number" }), result: type("string.numeric.parse") },
  opt: { args: z.object({ limit: z.number().optional() }) },
} });
export const compute12 = contract({ ...compute, version: "1.2", procedures: { ...compute.procedures, resize: { args: z.object({ id: z.string() }), since: "1.2" } } });
class ComputeManager extends Manager implements Handlers<typeof compute> {
  readonly contract = compute;
  override readonly periodic: readonly PeriodicTask[] = [{ every: 1000, run: () => this.poke() }];
  override async initHost() { await this.connection.notify("up", { host: this.host }); }
  async runInstance({ name, ram, n }: Args<typeof compute, "runInstance">, context: RequestContext) {
    await this.connection.client(sched).cast("hint", { id: name }, { context });
    const x: number = ram + n; return { id: name + x, host: "h", at: "2020-01-01T00:00:00Z" };
  }
  async reboot({ id }: Args<typeof compute, "reboot">) { await this.connection.notify("reboot", { id }); throw new InstanceNotFound("no", { data: { id } }); }
  async *console({ id }: Args<typeof compute, "console">, { signal }: RequestContext) { while (!signal.aborted) yield id; }
  list() { return []; }
  poke() {}
  val({ a }: Args<typeof compute, "val">) { return String(a); }
  ark({ a }: Args<typeof compute, "ark">) { return String(a); }
  opt(_: Args<typeof compute, "opt">) {}
}
const sched = contract({ topic: "scheduler", version: "1.0", namespace: "ns", procedures: { hint: { args: z.object({ id: z.string() }) }, ping: { result: z.string() } } });
const lit = implement(compute, {
  runInstance: ({ name, ram, n }, ctx) => { void ctx.signal; return { id: name + (ram + n), host: "x", at: "z" }; },
  reboot: ({ id }) => { id.length; },
  async *console({ id }, { signal }) { while (!signal.aborted) yield id; },
  list: () => [], poke: () => {}, val: ({ a }) => a.toFixed(), ark: ({ a }) => a.toFixed(), opt: ({ limit }) => { limit?.toFixed(); },
});
class Sched extends SchedulerDependentManager implements Handlers<typeof sched> { readonly contract = sched; capabilities() { return {}; } hint() {} ping() { return "x"; } }
const logged = (inner: Dispatcher): Dispatcher => ({ topics: inner.topics, async dispatch(...call) { const t = performance.now(); try { return await inner.dispatch(...call); } finally { console.log(call[2], performance.now() - t); } } });
await using c = await createConnection("amqp://localhost");
const client = c.client(compute, { versionCap: "1.1", confirm: false });
const vm = await client.call("runInstance", { name: "a", n: "3" }); vm.at.getTime();
(await client.call("ark", { a: 1 })).toFixed();
await client.call("list"); await client.call("poke"); await client.call("opt"); await client.call("opt", { limit: 1 }, { timeout: 5 }); await client.call("list", {}, { host: "x" });
const maybe: AbortSignal | undefined = undefined; await client.call("list", {}, { signal: maybe });
await client.cast("runInstance", { name: "a", n: "3" }, { ttl: 5, confirm: false }); await client.fanoutCast("reboot", { id: "x" }, { confirm: false });
await using s = client.multicall("console", { id: "x" }, { context: { user_id: "u" } }); for await (const l of s) l.trim();
{ await using _a = await Service.start({ url: "memory:t", manager: lit, interceptors: [(request, next) => next(request)] }); }
{ await using _a = await Service.start({ url: "memory:t", manager: new ComputeManager() }); await _a.stopped; }
{ await using _a = await Service.start({ url: "memory:t", manager: [new ComputeManager(), new Sched(), lit] }); }
await c.createConsumer("compute", new RpcDispatcher([new Sched(), lit, implement(compute12, { ...lit, resize: () => {} })]), { fanout: true });
await c.createConsumer("compute", new ComputeManager().createRpcDispatcher([lit]));
await c.createWorker("compute", logged(new RpcDispatcher([lit])), "pool"); await c.consume();
await c.call({ topic: "compute", host: "h" }, "ping", {}, { timeout: 4 }); await c.call({ topic: "compute" }, "ping");
c.addEventListener("blocked", (e) => e.detail.reason.trim()); c.addEventListener("zz", () => {});
await new ComputeManager().runInstance({ name: "x", ram: 1, n: 1 }, requestContext({ user_id: "u" })); lit.list({}, requestContext());
try { await client.call("poke"); } catch (e) { if (e instanceof InstanceNotFound) e.message; else if (e instanceof RemoteError) e.failure.type; else if (e instanceof RpcError) switch (e.code) { case "NO_ROUTE": break; } }
function gen<C extends Contract>(k: C): Client<C> { return c.client(k); }
await gen(sched).call("ping");
// events
export const volumeEvents = events({ "volume.grow": z.object({ id: z.string(), size: z.string().transform(Number) }), "volume.delete": v.object({ id: v.string() }), "volume.sync": z.undefined(), "volume.ark": type({ n: "string.numeric.parse" }) });
const withTrace: ClientInterceptor = (request, next) => next({ ...request, headers: { trace: "1" } });
const volumes: Notifier<typeof volumeEvents> = c.notifier(volumeEvents, { priority: "audit", interceptors: [withTrace] });
await volumes.notify("volume.grow", { id: "v", size: "20" }); await volumes.notify("volume.sync", undefined, { timeout: 5 }); await volumes.notify("volume.ark", { n: "1" });
await c.createListener(volumeEvents, {
  "volume.grow": ({ payload, eventType, publisherId }, { attempt, locals }) => { const x: number = payload.size + attempt; const t: "volume.grow" = eventType; void x; void t; void locals; publisherId.trim(); },
  "volume.delete": async ({ payload: { id } }) => { await c.notify("deleted", { id }); return "requeue" as const; },
}, { pool: "p", retry: { attempts: 1 }, interceptors: [(request, next) => next(request)] });
const handlers: EventHandlers<typeof volumeEvents> = { "volume.ark": ({ payload }) => { payload.n.toFixed(); }, "volume.sync": undefined }; await c.createListener(volumeEvents, handlers);
await c.createListener(({ payload, eventType }, { values }) => { const unknown: unknown = payload; void unknown; eventType.trim(); void values; }, { eventType: "volume.*" });
export const explicitEvents: EventContractOf<{ "a.b": { n: number } }> = events({ "a.b": z.object({ n: z.number() }) }); await c.notifier(explicitEvents).notify("a.b", { n: 1 });
const whyEvents: JsonEvents<{ "a.b": typeof when }>["a.b"] = "a.b.at: JSON cannot represent a Date"; void whyEvents;
interface ExplicitEvents { "a.b": { n: number } } export const byInterface: EventContractOf<ExplicitEvents> = explicitEvents;
{ await using _a = await Service.start({ url: "memory:t", manager: lit, taskInterceptors: [async ({ topic, host, task, leader, due, signal }, next) => { topic.trim(); host.trim(); task.trim(); void (leader === true); due.toFixed(); if (!signal.aborted) await next(); }] }); }
// a package's explicit type
interface Inst { readonly id: string; readonly host: string }
export const explicit: ContractOf<{ run: { args: { name: string }; result: Inst }; tail: { yields: string }; poke: Record<never, never> }> = contract({ topic: "t", version: "1.0", procedures: {
  run: { args: z.object({ name: z.string() }), result: z.object({ id: z.string(), host: z.string() }) }, tail: { yields: z.string() }, poke: {} } });
(await c.client(explicit).call("run", { name: "x" })).host.trim(); await c.client(explicit).call("poke"); for await (const l of c.client(explicit).multicall("tail")) l.trim();
export const anyJson = contract({ topic: "t", version: "1.0", procedures: { echo: { args: z.object({ value: z.json() }), result: z.json() } } });
await c.client(anyJson).call("echo", { value: { a: [1, { b: null }] } });
// values that may be undefined, and a recursive type
interface Tree { readonly name: string; readonly kids: readonly Tree[]; readonly up?: Tree | undefined }
export const nothing = contract({ topic: "t", version: "1.0", procedures: {
  maybe: { result: z.string().optional() }, none: { result: z.void() }, undef: { result: z.undefined() }, any: { result: z.any() }, unknown: { result: z.unknown() },
  items: { yields: z.number().optional() }, anys: { result: z.array(z.any()) }, tree: { result: z.custom<Tree>() }, nan: { result: z.nan() },
  rows: { result: z.array(z.object({ at: z.iso.datetime().transform((s) => new Date(s)), note: z.string().optional() })) },
} });
const some: string | undefined = await c.client(nothing).call("maybe"); void some; const none: void = await c.client(nothing).call("none"); void none;
// a refusal names the path and the reason
type Why<S> = JsonProcedures<{ p: { result: S } }>["p"]["result"];
const list = z.array(z.object({ x: z.string().optional(), l: z.array(z.string().optional()) })), when = z.object({ at: z.date(), f: z.custom<() => void>() }), money = z.record(z.string(), z.bigint());
export const reasons: [Why<typeof list>, Why<typeof when>, Why<typeof when>, Why<typeof money>, Exact<{ p: { reslt: 1 } }>["p"]["reslt"]] = [
  "result[].l[]: JSON cannot represent undefined in an array", "result.at: JSON cannot represent a Date", "result.f: JSON cannot represent a function",
  "result.any: JSON cannot represent a bigint", "reslt is no option of a procedure"];
// cells
export async function cells(names: Record<string, string>) {
  await using all = await createConnection({ cells: { a: "amqp://a", b: ["amqp://b1", "amqp://b2"], c: { url: () => "amqp://c", heartbeat: 5 } }, route: ({ host, method, args }) => { void method; void args; return names[host ?? ""]; }, waitFor: ["a"] }, { concurrency: 4 });
  const typed = all.client(compute); (await typed.call("runInstance", { name: "a", n: "3" }, { host: "h" })).at.getTime(); for await (const l of typed.multicall("console", { id: "x" })) l.trim();
  const report: FanoutReport = await typed.fanoutCast("poke"); report.failed["a"]?.message; report.reached.join();
  const found = all.services({ watch: true }); for await (const s of found) s.cell.trim(); found.failed["a"]?.message; all.health()["a"]?.publishing.state;
  await all.notifier(volumeEvents).notify("volume.delete", { id: "v" }); await withNotifications(all, "x", () => 1)(); await all.cell("a").createListener(volumeEvents, { "volume.delete": () => {} });
  await all.cell("a").createListener(() => {}); const one: Client<typeof compute> = all.cell("a").client(compute); await one.fanoutCast("poke");
  await Service.start({ cells: { a: "amqp://a" }, cell: "a", manager: [new ComputeManager(), lit] });
  await Service.start({ ...loadConfig(), manager: lit }); const config = loadConfig(); await createConnection({ cells: config.cells, route: () => config.cell }, config);
}
// --- must not compile
// @ts-expect-error a route that is asynchronous
createConnection({ cells: { a: "memory:" }, route: () => Promise.resolve("a") });
// @ts-expect-error cells without a name of the service's own, nor a URL
await Service.start({ cells: { a: "memory:" }, manager: lit });
// @ts-expect-error neither url nor cells
await Service.start({ manager: lit });
// @ts-expect-error no handlers, in a cell
await Service.start({ cells: { a: "memory:" }, cell: "a", manager: new Forgot() });
// @ts-expect-error typo in the options of a cell
createConnection({ cells: { a: { url: "memory:", heartbaet: 1 } } });
// @ts-expect-error missing args, in a cell
(await createConnection({ cells: { a: "memory:" } })).client(compute).call("runInstance");
// @ts-expect-error another reason
export const reason: Why<typeof list> = "result: something";
// @ts-expect-error argless
export const q: number = null! as Args<typeof compute, "poke">;
// @ts-expect-error stream by call
await client.call("console", { id: "x" });
// @ts-expect-error cast of a stream
await client.cast("console", { id: "x" });
// @ts-expect-error missing args
await client.call("runInstance");
// @ts-expect-error typo
await client.cast("runInstance", { name: "a", n: "3", typo: 1 });
class Forgot extends Manager { readonly contract = compute; }
// @ts-expect-error no handlers
await Service.start({ url: "memory:", manager: new Forgot() });
// @ts-expect-error no handlers
await Service.start({ url: "memory:", manager: [new Sched(), new Forgot()] });
// @ts-expect-error args not an object
contract({ topic: "t", version: "1", procedures: { bad: { args: z.string() } } });
// @ts-expect-error both
contract({ topic: "t", version: "1", procedures: { both: { result: z.string(), yields: z.string() } } });
// @ts-expect-error typo
contract({ topic: "t", version: "1", procedures: { typo: { arg: z.object({}) } } });
// @ts-expect-error typo beside a good word
contract({ topic: "t", version: "1", procedures: { typo: { args: z.object({}), reslt: z.string() } } });
// @ts-expect-error reserved
contract({ topic: "t", version: "1", procedures: { initHost: {} } });
// @ts-expect-error typo
contract({ topic: "t", version: "1", procedures: {}, versoin: 3 });
// @ts-expect-error delivery
contract({ topic: "t", version: "1", procedures: { a: { delivery: "once" } } });
// @ts-expect-error wrong explicit
export const wrong: ContractOf<{ run: { args: { name: string } } }> = contract({ topic: "t", version: "1.0", procedures: { run: { args: z.object({ name: z.number() }) } } });
// @ts-expect-error calls have replies, not confirms
await client.call("poke", {}, { confirm: false });
// @ts-expect-error fanout has no host
await client.fanoutCast("reboot", { id: "x" }, { host: "h" });
export async function more() { const l = await createConnection(["amqp://a", "amqp://b"], { queueType: "quorum", waitForRoute: true }); await l.createListener((e, x) => { void e.payload; void x.requestId; }, { eventType: "instance.*", pool: "audit" }); }
// @ts-expect-error a record of what JSON cannot represent
contract({ topic: "t", version: "1.0", procedures: { a: { args: z.object({ value: z.record(z.string(), z.bigint()) }) } } });
// @ts-expect-error undefined in a list
contract({ topic: "t", version: "1.0", procedures: { a: { result: z.array(z.string().optional()) } } });
// @ts-expect-error undefined in a list of arguments
contract({ topic: "t", version: "1.0", procedures: { a: { args: z.object({ l: z.array(z.undefined()) }) } } });
// @ts-expect-error nothing in a list
contract({ topic: "t", version: "1.0", procedures: { a: { yields: z.array(z.void()) } } });
// @ts-expect-error a symbol
contract({ topic: "t", version: "1.0", procedures: { a: { result: z.symbol().optional() } } });
// @ts-expect-error symbols as keys
contract({ topic: "t", version: "1.0", procedures: { a: { result: z.record(z.symbol(), z.string()) } } });
// @ts-expect-error a function deep inside
contract({ topic: "t", version: "1.0", procedures: { a: { result: z.object({ o: z.array(z.object({ f: z.custom<() => void>() })) }) } } });
// @ts-expect-error a Map
contract({ topic: "t", version: "1.0", procedures: { a: { yields: z.map(z.string(), z.string()) } } });
// @ts-expect-error a promise
contract({ topic: "t", version: "1.0", procedures: { a: { result: z.promise(z.string()) } } });
// @ts-expect-error no such event
await c.notifier(volumeEvents).notify("volume.shrink", { id: "v" });
// @ts-expect-error a member is missing
await c.notifier(volumeEvents).notify("volume.grow", { id: "v" });
// @ts-expect-error the output of the schema, not its input
await c.notifier(volumeEvents).notify("volume.grow", { id: "v", size: 20 });
// @ts-expect-error a member too many
await c.notifier(volumeEvents).notify("volume.delete", { id: "v", by: 1 });
// @ts-expect-error no payload
await c.notifier(volumeEvents).notify("volume.delete");
// @ts-expect-error no such option
c.notifier(volumeEvents, { eventType: "x" });
// @ts-expect-error no such event
await c.createListener(volumeEvents, { "volume.shrink": () => {} });
// @ts-expect-error no such event beside a good one
await c.createListener(volumeEvents, { "volume.delete": () => {}, "volume.shrink": () => {} });
await c.createListener(volumeEvents, {
  // @ts-expect-error the payload has no such member
  "volume.delete": ({ payload }) => { payload.size; },
});
// @ts-expect-error a handler returns nothing, or requeue
await c.createListener(volumeEvents, { "volume.delete": () => "again" });
// @ts-expect-error the types of the handlers choose the events
await c.createListener(volumeEvents, { "volume.delete": () => {} }, { eventType: "volume.*" });
// @ts-expect-error no handlers
await c.createListener(volumeEvents);
// @ts-expect-error JSON cannot represent a Date
events({ "a.b": z.object({ at: z.date() }) });
// @ts-expect-error no schema
events({ "a.b": {} });
// @ts-expect-error next of a task takes nothing
await Service.start({ url: "memory:t", manager: lit, taskInterceptors: [(run, next) => next(run)] });

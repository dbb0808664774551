/** One request in hand: its context, its deadline, and its delivery, which is settled once. @module */
import {
  ConnectionDisposedError,
  RpcError,
  TimeoutError,
} from "../../errors.ts";
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import type { QueueAddress } from "../../transport/address.ts";
import type { Delivery, Message } from "../../transport/transport.ts";
import type { Dialect } from "../../wire/dialect.ts";
import type { Request } from "../../wire/rpc_message.ts";
import { SendWindow, type StreamPosition } from "../streams/flow_control.ts";
import type { Waiter } from "./waiting_aside.ts";
import type { RequestContext } from "../../contract/request_context.ts";
import type { Procedure } from "../../contract/types.ts";
import { RawResults } from "../dispatch/handler_result.ts";
import { HandlerRun } from "./handler_run.ts";
import type { Lease } from "../../ledger/lease.ts";
import type { ControlTarget, ControlTargets } from "../control_targets.ts";
import { patienceOf } from "./caller_deadline.ts";
import type { HeartbeatReturns } from "./returned_heartbeats.ts";
import { type ExecutionObserver, ServedContext } from "../served_context.ts";
import type { ReplayBuffer } from "../streams/replay_buffer.ts";

/** What a job asks of its server. */
export interface JobHooks {
  /** Its queue, unless that is one process's own. */
  readonly queue: QueueAddress | undefined;
  /** Its handler has kept the event loop for so many milliseconds. */
  ran(incoming: IncomingRequest, ms: number): void;
  /** Its handler is about to start. */
  starting(
    incoming: IncomingRequest,
    procedure: Procedure,
  ): Promise<void> | undefined;
  /** Its handler records it in a transaction. */
  record(
    incoming: IncomingRequest,
    transaction: unknown,
    result: unknown,
  ): Promise<void>;
  /** Its deadline by the monotonic clock, where its caller names none; then `late` ends it. */
  patience(incoming: IncomingRequest): number;
  late(incoming: IncomingRequest): void;
}

/** A request from its arrival to its acknowledgement. */
export class IncomingRequest
  implements ControlTarget, ExecutionObserver, Waiter {
  /** What is asked. */
  readonly request: Request;
  /** What came, for another attempt at it. */
  readonly message: Message;
  /** True if it was in hand before, here or elsewhere. */
  readonly redelivered: boolean;
  /** Earlier deliveries, where the broker counts them. */
  readonly deliveryCount: number | undefined;
  /** What the handler sees. */
  readonly context: RequestContext;
  /** Time of arrival, and the time at which the caller gives up, in milliseconds of the monotonic clock. */
  readonly arrived: number;
  readonly deadline: number;
  /** In which words it was asked, and is answered. */
  readonly dialect: Dialect;
  /** Set once items of a stream are on their way: another worker could only begin it anew. */
  streaming = false;
  /** Called when its answer turns out to be a stream. */
  streams: (() => void) | undefined;
  /** `topic.method`, once that is found: before, the method alone. */
  name: string;
  /** What its handler gave. */
  readonly rawResults: RawResults = new RawResults();
  /** What it asks for, once that is found. */
  procedure: Procedure | undefined;
  /** This worker's hold on it, where the fleet has a ledger. */
  lease: Lease | undefined;
  /** How far its stream may run ahead; made when that is first asked. */
  #credit: SendWindow | undefined;
  /** What was sent of its stream; undefined while it is none, and for peers that are not Warren. */
  replay: ReplayBuffer | undefined;
  /** The last item of its stream that the broker has. */
  position: StreamPosition | undefined;
  /** Its number among those that give signs of life. */
  beats: number | undefined;
  /** Its number among those that keep the event loop busy. */
  watched: number | undefined;
  /** The signs of life that were sent; undefined while there were none. */
  heartbeatReturns: HeartbeatReturns | undefined;
  /** What was answered, to be said again if the request comes again; not the items of a stream. */
  answers: readonly Message[] = [];
  readonly #delivery: Delivery;
  readonly #hooks: JobHooks;
  /** The run of its handler. */
  readonly run: HandlerRun = new HandlerRun();
  /** True when nobody waits for the result any more. */
  over = false;
  /** True if another worker has taken it over. */
  fenced = false;
  /** Called when nobody waits for the result any more. */
  left: (() => void) | undefined;
  readonly #controller = new AbortController();
  #abandoned = false;
  #acknowledged = false;
  #kept = false;
  #expiry: Timer | undefined;
  #targets: ControlTargets | undefined;

  /** The clock starts at arrival: how long the message waited in its queue is bounded by its expiration. */
  constructor(
    delivery: Delivery,
    request: Request,
    dialect: Dialect,
    hooks: JobHooks,
  ) {
    this.request = request;
    this.name = request.method;
    this.dialect = dialect;
    this.#delivery = delivery;
    this.message = delivery.message;
    this.redelivered = delivery.redelivered;
    this.deliveryCount = delivery.deliveryCount;
    this.#hooks = hooks;
    const timeout = patienceOf(delivery, request);
    this.deadline = (this.arrived = performance.now()) + timeout;
    this.context = new ServedContext(this, Date.now() + timeout);
  }

  found(procedure: Procedure, name: string): void {
    this.procedure = procedure;
    this.name = name;
    if (this.deadline < Infinity || !this.#expiry || this.over) return;
    const late = () => this.#hooks.late(this);
    this.#expiry = setDeadline(this.#hooks.patience(this), late);
  }

  starting(procedure: Procedure): Promise<void> | undefined {
    const once = procedure.delivery === "at-most-once";
    if (once) this.#settled();
    const begun = once ? undefined : this.#hooks.starting(this, procedure);
    if (begun) return begun.then(() => this.#begin(procedure));
    this.#begin(procedure);
    return undefined;
  }

  #begin({ maxDuration }: Procedure): void {
    this.signal.throwIfAborted();
    const passed = (error: Error) => this.#controller.abort(error);
    this.run.begin(this.name, maxDuration, passed);
  }

  paused(ms: number): void {
    this.#hooks.ran(this, ms);
  }

  async record(transaction: unknown, result: unknown): Promise<void> {
    if (this.run.left) throw this.run.overtime;
    return await this.#hooks.record(this, transaction, result);
  }

  parsed(parsed: unknown, given: unknown): void {
    const stream = this.procedure?.yields !== undefined;
    this.rawResults.remember(parsed, given, stream);
  }

  /** True if it goes back to its queue. */
  get abandoned(): boolean {
    return this.#abandoned;
  }

  /** Fires when nobody waits any more. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends it at its deadline, or when the caller says so. */
  register(targets: ControlTargets): void {
    this.#expiry = setDeadline(
      this.over ? Infinity : this.deadline,
      () => this.#end(new TimeoutError("The caller's deadline passed")),
    );
    this.#targets = targets;
    const call = this.request.reply?.call;
    if (call !== undefined) targets.add(call, this);
  }

  /** Nothing ends it any more. */
  unregister(): void {
    if (this.#expiry) clearDeadline(this.#expiry);
    const call = this.request.reply?.call;
    if (call !== undefined) this.#targets?.remove(call, this);
  }

  end(reason: string): void {
    this.#end(new RpcError("ABORTED", `Aborted: ${reason}`));
  }

  /** Its stream has come so far: what is behind is known already. */
  reached(position: StreamPosition): void {
    const { sequence = 0 } = this.position ?? {};
    if (Number(position.sequence) > sequence) this.position = position;
  }

  get #room(): SendWindow {
    return this.#credit ??= new SendWindow(this.request.credit);
  }

  grant(upTo: number): void {
    this.#room.grant(upTo);
  }

  get reader(): string | undefined {
    return this.request.reply?.queue;
  }

  /** While nothing was sent, nothing is missing; later, what was sent is kept for its reader. */
  resume(): boolean {
    return !this.streaming && this.replay === undefined;
  }

  /** Resolves when an item of its stream may come; to false if nobody waits for it any more. */
  room(item: number): Promise<boolean> {
    return this.#room.room(item, this.signal);
  }

  returned(message: string | undefined): void {
    if (this.heartbeatReturns?.returned(message)) {
      this.end("the caller is gone");
    }
  }

  waits(evict: () => void): Disposable {
    return this.#delivery.waits(evict);
  }

  /** True once its channel is gone: its queue has it again, for whoever gets it next. */
  get lost(): boolean {
    return this.#delivery.lost;
  }

  /** True once its queue forgets it. */
  get acknowledged(): boolean {
    return this.#acknowledged;
  }

  /** True once nobody else will get it. */
  get settled(): boolean {
    return this.#acknowledged && !this.#kept;
  }

  /** Its queue, where the ledger has it in that one's place. */
  get keptFor(): QueueAddress | undefined {
    return this.#kept ? this.#hooks.queue : undefined;
  }

  /** The ledger has it: its queue need not keep it any longer. */
  keptElsewhere(): void {
    this.#kept = true;
    this.#settled();
  }

  /** Another worker has taken it over. */
  fence(): void {
    this.fenced = true;
    this.#leave(
      new RpcError("ABORTED", "Another worker has taken the request over"),
    );
  }

  /** Back into its queue, as if it had not come: it could not be taken care of. */
  giveBack(): void {
    if (this.settled || this.#abandoned) return;
    this.#abandoned = true;
    if (!this.#kept) this.#delivery.reject(true);
  }

  /** Its queue has a copy, or another worker has it: acknowledged, and not done here. */
  passOn(): void {
    this.#settled();
    this.#abandoned = true;
  }

  /** Acknowledges it, unless it was abandoned: then its queue keeps it for another worker. */
  settle(): void {
    if (!this.#abandoned) this.#settled();
  }

  #settled(): void {
    this.#acknowledged = true;
    this.#delivery.ack();
  }

  /** The worker stops: its handler is told. The message stays unacknowledged, unless a stream has begun. */
  abandon(): void {
    this.run.forget();
    if (this.streaming) this.settle();
    else this.#abandoned = true;
    this.#leave(new ConnectionDisposedError("The service stops"));
  }

  /** Nobody waits any more, so nobody else need run it either: acknowledged now, however long the handler goes on. */
  #end(reason: Error): void {
    if (this.over) return;
    this.settle();
    this.#leave(reason);
  }

  #leave(reason: Error): void {
    if (this.over) return;
    this.over = true;
    if (this.#expiry) clearDeadline(this.#expiry); // a handler that never ends must not keep the process
    this.left?.();
    this.#controller.abort(reason);
  }
}

/** One cell of a connection: its connection context, and the knowledge of whether its broker is there. @module */
import {
  BlockedError,
  ConnectionFailedError,
  type RpcError,
} from "../errors.ts";
import { type Deadline, settledWithin } from "../async/deadline.ts";
import { direct } from "../transport/address.ts";
import type { Transport } from "../transport/transport.ts";
import {
  type ConnectionContext,
  createContext,
} from "../connection/connection_context.ts";
import { openConnection } from "../connection/connect.ts";
import { checkConnectionOptions } from "../connection/checked_options.ts";
import { override } from "../option_names.ts";
import type { ConnectionOptions } from "../connection/connection_options.ts";
import type { CellOptions } from "./cells_options.ts";
import { inCell } from "./cell_errors.ts";

/** Milliseconds that a new cell has to connect before it counts as down. */
const SETTLE_MS = 1_000;

/** One cell. Its context exists from the start, also while the broker of the cell is down. */
export class Cell implements AsyncDisposable {
  /** Name. */
  readonly name: string;
  /** Connection context, whose requests wait for the broker until their own deadlines. */
  readonly context: ConnectionContext;
  readonly #transport: Transport;
  readonly #disposal = new AbortController();
  readonly #settled: Promise<void>;
  /** Reason why the cell is not connected; undefined while it is. */
  #down: string | undefined = "not connected yet";
  /** Reason why the broker accepts no messages; undefined while it does. */
  #blocked: string | undefined;
  /** Fires when the connection is lost; a new one for each connection. */
  #loss = new AbortController();
  /** True once an event has told the state of the connection. */
  #told = false;

  private constructor(
    name: string,
    context: ConnectionContext,
    transport: Transport,
  ) {
    this.name = name;
    this.context = context;
    this.#transport = transport;
    this.#follow();
    this.#settled = this.#settle();
  }

  /**
   * Opens a cell without waiting for its broker.
   *
   * @throws {InvalidValueError} an option is invalid.
   * @throws {ConnectionFailedError} the ledger store does not work.
   */
  static async open(
    name: string,
    { url, ...own }: CellOptions,
    shared: ConnectionOptions,
  ): Promise<Cell> {
    try {
      const checked = checkConnectionOptions(override(shared, own));
      const opened = await openConnection(url, checked, { connected: false });
      const { transport } = opened.resources;
      return new Cell(name, createContext(opened), transport);
    } catch (error) {
      throw inCell(name, error);
    }
  }

  /** Error that says why the cell cannot be used now; undefined while it can. */
  get failure(): RpcError | undefined {
    const data = { cell: this.name };
    if (this.#down !== undefined) {
      const text = `Cell ${this.name} is not connected: ${this.#down}`;
      return new ConnectionFailedError(text, { data });
    }
    if (this.#blocked === undefined) return undefined;
    const text = `Cell ${this.name} accepts no messages: ${this.#blocked}`;
    return new BlockedError(text, { data });
  }

  /** Fires when the connection is lost, with an error that names the cell and is in doubt. */
  get loss(): AbortSignal {
    return this.#loss.signal;
  }

  /**
   * Resolves when the cell has connected, or has not done so within a second of its creation. `failure` then tells the
   * state. At most `ms` milliseconds.
   */
  settled(ms: number): Promise<void> {
    return settledWithin(this.#settled, ms);
  }

  /**
   * Resolves when both connections to the broker are open.
   *
   * @throws {ConnectionFailedError} they are not by the deadline, or have failed for good.
   */
  async reach({ at, signal }: Deadline): Promise<void> {
    const signals = [signal, this.#disposal.signal];
    const either = AbortSignal.any(signals.filter((one) => one !== undefined));
    try {
      // A session of its own costs nothing as long as it opens no channel.
      const deadline = { at, signal: either };
      const session = await this.#transport.openSession(deadline);
      await session[Symbol.asyncDispose]();
    } catch (error) {
      throw inCell(this.name, error);
    }
  }

  /**
   * Asks the broker for the state of a queue, which proves that it answers.
   *
   * @throws {RpcError} it does not answer by the deadline.
   */
  async probe(deadline: Deadline): Promise<void> {
    try {
      await this.#transport.inspect(direct(this.#transport.inbox), deadline);
    } catch (error) {
      throw inCell(this.name, error);
    }
  }

  /** Disposes of the context. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposal.abort();
    await this.context[Symbol.asyncDispose]();
    await this.#settled;
  }

  async #settle(): Promise<void> {
    try {
      await this.reach({ at: performance.now() + SETTLE_MS });
      if (!this.#told) this.#down = undefined;
    } catch (error) {
      if (!this.#told) {
        const { cause } = error as Error;
        this.#down = cause instanceof Error ? cause.message : String(error);
      }
    }
  }

  #follow(): void {
    const { context } = this;
    context.addEventListener("connected", () => this.#connected());
    const onLost = ({ detail }: CustomEvent<{ readonly reason: string }>) =>
      this.#lost(detail.reason);
    context.addEventListener("disconnected", onLost);
    context.addEventListener("failed", onLost);
    const onBlocked = (reason?: string) => void (this.#blocked = reason);
    context.addEventListener(
      "blocked",
      ({ detail }) => onBlocked(detail.reason),
    );
    context.addEventListener("unblocked", () => onBlocked());
  }

  #connected(): void {
    this.#told = true;
    this.#down = this.#blocked = undefined;
    if (this.#loss.signal.aborted) this.#loss = new AbortController();
  }

  #lost(reason: string): void {
    this.#told = true;
    this.#down = reason;
    const text = `Cell ${this.name} was lost: ${reason}`;
    const options = { data: { cell: this.name }, inDoubt: true };
    this.#loss.abort(new ConnectionFailedError(text, options));
  }
}

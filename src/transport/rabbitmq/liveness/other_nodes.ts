/** Publishing over another node of a cluster than those that the connections of a process use. @module */
import type { Connection } from "../../../amqp/mod.ts";
import { type Deadline, withDeadline } from "../../../async/deadline.ts";
import { logger } from "../../../logging.ts";
import type { Message } from "../../transport.ts";
import { contentOf } from "../publishing/message_content.ts";
import { dial, type DialSettings } from "../connection/dial.ts";
import { GracefulClose } from "../connection/graceful_close.ts";
import { type Access, type Login, loginOf } from "../connection/login.ts";

/** Milliseconds for the broker to answer the close of a connection. */
const CLOSE_TIMEOUT_MS = 1_000;

/** Opens short connections to other nodes. */
export class OtherNodes {
  readonly #access: Access;
  readonly #settings: DialSettings;
  /** Next node to be used. */
  #next = Math.floor(Math.random() * 65_536);

  /** Opens nothing yet. */
  constructor(access: Access, settings: DialSettings) {
    this.#access = access;
    this.#settings = {
      ...settings,
      name: `${settings.name} trial`,
      gracefulClose: new GracefulClose(), // its silence says nothing about the other connections
    };
  }

  /**
   * Publishes a message to a queue over another node than the `used` ones (hosts with ports). Returns true once the broker
   * has confirmed it, and false if it has not by the deadline or the queue is missing. Never rejects.
   */
  async publish(
    queue: string,
    message: Message,
    used: readonly (string | undefined)[],
    deadline: Deadline,
  ): Promise<boolean> {
    const ended = new AbortController();
    const signals = [ended.signal, deadline.signal].filter((each) => !!each);
    const signal = AbortSignal.any(signals);
    try {
      const publishing = this.#publish(queue, message, used, signal);
      return await withDeadline(publishing, deadline, () => new Error("late"));
    } catch (error) {
      logger("bus").debug("Another node has not confirmed a probe: {error}", {
        error,
      });
      return false;
    } finally {
      ended.abort();
    }
  }

  /** Publishes on a connection of its own, which the signal closes. */
  async #publish(
    queue: string,
    message: Message,
    used: readonly (string | undefined)[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const login = await this.#loginBeside(used, signal);
    const connection = await dial(login, this.#settings, () => {}, signal);
    const close = () => void connection.close(CLOSE_TIMEOUT_MS);
    signal.addEventListener("abort", close);
    if (signal.aborted) close();
    return await publishOn(connection, queue, message);
  }

  /** Returns the login of a node that is not used, else of any node. */
  async #loginBeside(
    used: readonly (string | undefined)[],
    signal: AbortSignal,
  ): Promise<Login> {
    for (let tries = 1;; tries++) {
      const login = await loginOf(this.#access, this.#next++, signal);
      if (tries >= login.nodes || !used.includes(login.url.host)) return login;
    }
  }
}

/** Publishes a message to a queue on a channel of its own; returns true once the broker has confirmed it, and false if the queue is missing. */
export async function publishOn(
  connection: Connection,
  queue: string,
  message: Message,
): Promise<boolean> {
  let returned = false;
  const channel = await connection.openChannel({
    confirms: true,
    onReturned: () => returned = true,
  });
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const to = { exchange: "", routingKey: queue, mandatory: true };
  channel.publish(
    to,
    contentOf(message),
    (confirmation) => resolve(confirmation === "ack" && !returned),
  );
  const isConfirmed = await promise;
  await channel.close();
  return isConfirmed;
}

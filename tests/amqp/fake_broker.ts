/** A broker that a test plays frame by frame, on loopback. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  type Channel,
  type ChannelOptions,
  connect,
  type Connection,
  type ConnectOptions,
  type Content,
} from "../../src/amqp/mod.ts";
import { encodeHeader } from "../../src/amqp/codec/content.ts";
import { FieldWriter } from "../../src/amqp/codec/field_writer.ts";
import { FrameReader } from "../../src/amqp/codec/frame_reader.ts";
import { FrameWriter } from "../../src/amqp/codec/frame_writer.ts";
import type { Args, MethodName } from "../../src/amqp/codec/method_args.ts";
import { decodeMethod } from "../../src/amqp/codec/method_codec.ts";
import { closeQuietly, until } from "../setup/probe.ts";

/** A frame with any type and payload. */
export function frame(
  type: number,
  channel: number,
  payload: Uint8Array,
): Buffer {
  const bytes = Buffer.alloc(payload.length + 8);
  bytes.writeUInt8(type, 0);
  bytes.writeUInt16BE(channel, 1);
  bytes.writeUInt32BE(payload.length, 3);
  bytes.set(payload, 7);
  bytes[bytes.length - 1] = 0xce;
  return bytes;
}

const writer = new FrameWriter();
const fields = new FieldWriter();

/** A method frame. */
export function method<N extends MethodName>(
  channel: number,
  name: N,
  args: Partial<Args<N>> = {},
): Buffer {
  writer.method(channel, name, args);
  const bytes = Buffer.from(writer.take());
  writer.reset();
  return bytes;
}

/** A header frame; `bodySize` is announced instead of the true size. */
export function header(
  channel: number,
  content: Content,
  bodySize = content.body.length,
): Buffer {
  encodeHeader(fields, content);
  const payload = Buffer.from(fields.take());
  fields.reset();
  payload.writeBigUInt64BE(BigInt(bodySize), 4);
  return frame(2, channel, payload);
}

/** A body frame. */
export const body = (channel: number, bytes: Uint8Array): Buffer =>
  frame(3, channel, bytes);

/** A heartbeat. */
export const HEARTBEAT = frame(8, 0, new Uint8Array());

/** All frames of a delivery, its body in one frame. */
export function delivery(
  channel: number,
  args: Partial<Args<"basic.deliver">>,
  content: Content,
): Buffer {
  return Buffer.concat([
    method(channel, "basic.deliver", args),
    header(channel, content),
    body(channel, content.body),
  ]);
}

/** A message with that text. */
export const text = (value: string): Content => ({ body: Buffer.from(value) });

/** What the client has sent: a method with its name, or a part of a content. */
interface Sent {
  readonly channel: number;
  readonly name: MethodName | "header" | "body";
  readonly args: Readonly<Record<string, unknown>>;
}

/** One connection of a client. */
export class Peer implements Disposable {
  /** Everything that the client has sent and that was not expected yet. */
  readonly sent: Sent[] = [];
  /** Number of heartbeats that have arrived. */
  heartbeats = 0;
  /** True once the client has closed its side. */
  ended = false;
  readonly #socket: Deno.Conn;

  constructor(socket: Deno.Conn) {
    this.#socket = socket;
    void this.#read();
  }

  /** Sends bytes. An error is left to the expectations that follow. */
  async write(...parts: readonly Uint8Array[]): Promise<void> {
    let bytes: Uint8Array = Buffer.concat(parts);
    try {
      while (bytes.length > 0) {
        bytes = bytes.subarray(await this.#socket.write(bytes));
      }
    } catch {
      this.ended = true;
    }
  }

  /** Waits for the next frame, which must be that method. */
  async expect<N extends MethodName>(
    name: N,
    channel = 0,
  ): Promise<Args<N>> {
    const isSent = () => this.sent.length > 0 || this.ended;
    await until(`the client sends ${name}`, isSent, 5_000, 1);
    const sent = this.sent.shift();
    assert.deepEqual([sent?.channel, sent?.name], [channel, name]);
    return sent?.args as Args<N>;
  }

  /** Resolves when the client has closed the socket. */
  async closed(): Promise<void> {
    await until("the client closes the socket", () => this.ended, 8_000, 1);
  }

  /** Plays the handshake. */
  async handshake(tune: Partial<Args<"connection.tune">> = {}): Promise<void> {
    await this.write(START);
    await this.expect("connection.start-ok");
    const { channelMax = 2047, frameMax = 131_072, heartbeat = 0 } = tune;
    const args = { channelMax, frameMax, heartbeat };
    await this.write(method(0, "connection.tune", args));
    await this.expect("connection.tune-ok");
    await this.expect("connection.open");
    await this.write(method(0, "connection.open-ok"));
  }

  /** Opens a channel, and answers its opening. */
  async channel(
    connection: Connection,
    options: ChannelOptions = {},
  ): Promise<Channel> {
    const opening = connection.openChannel(options);
    const isSent = () => this.sent.length > 0;
    await until("the client opens a channel", isSent, 5_000, 1);
    const channel = this.sent[0]?.channel ?? 0;
    await this.expect("channel.open", channel);
    if (options.confirms) await this.expect("confirm.select", channel);
    await this.write(method(channel, "channel.open-ok"));
    if (options.confirms) {
      await this.write(method(channel, "confirm.select-ok"));
    }
    return await opening;
  }

  [Symbol.dispose](): void {
    closeQuietly(this.#socket);
  }

  async #read(): Promise<void> {
    const reader = new FrameReader();
    try {
      await this.#skipProtocolHeader();
      for (;;) {
        const bytes = await this.#socket.read(reader.space());
        if (bytes === null) break;
        const space = reader.space().subarray(0, bytes);
        this.#countHeartbeats(space);
        reader.received(bytes, {
          onMethod: (channel, fields) =>
            void this.sent.push({ channel, ...decodeMethod(fields) }),
          onHeader: (channel) =>
            void this.sent.push({ channel, name: "header", args: {} }),
          onBody: (channel, part) => {
            const args = { bytes: part.length };
            this.sent.push({ channel, name: "body", args });
            return false;
          },
        });
      }
    } catch {
      // The socket was closed by this side.
    }
    this.ended = true;
    closeQuietly(this.#socket);
  }

  #countHeartbeats(bytes: Uint8Array): void {
    if (Buffer.from(bytes).equals(HEARTBEAT)) this.heartbeats++;
  }

  async #skipProtocolHeader(): Promise<void> {
    const header = new Uint8Array(8);
    for (let got = 0; got < 8;) {
      const read = await this.#socket.read(header.subarray(got));
      if (read === null) throw new Error("The client has sent no header");
      got += read;
    }
    assert.deepEqual([...header], [0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]);
  }
}

/** The first method of a broker. */
export const START: Buffer = method(0, "connection.start", {
  versionMajor: 0,
  versionMinor: 9,
  serverProperties: { product: "fake" },
  mechanisms: "PLAIN AMQPLAIN",
  locales: "en_US",
});

/** A client and its broker's end. */
export interface Connected {
  readonly connection: Connection;
  readonly peer: Peer;
}

/** Listens for clients. */
export class FakeBroker implements Disposable {
  readonly #listener: Deno.Listener;
  readonly #peers: Peer[] = [];
  /** URL with the login `guest`. */
  readonly url: string;

  /** With a certificate the broker speaks TLS. */
  constructor(certificate?: { readonly cert: string; readonly key: string }) {
    const address = { hostname: "127.0.0.1", port: 0 };
    this.#listener = certificate
      ? Deno.listenTls({ ...address, ...certificate })
      : Deno.listen(address);
    const { port } = this.#listener.addr as Deno.NetAddr;
    this.url = `${certificate ? "amqps" : "amqp"}://127.0.0.1:${port}`;
  }

  /** Resolves with the next client. */
  async accept(): Promise<Peer> {
    const socket = await this.#listener.accept();
    if ("setNoDelay" in socket) (socket as Deno.TcpConn).setNoDelay();
    const peer = new Peer(socket);
    this.#peers.push(peer);
    return peer;
  }

  /** Connects a client; without heartbeats, unless the options have them. */
  async connect(
    options: ConnectOptions = {},
    tune: Partial<Args<"connection.tune">> = {},
  ): Promise<Connected> {
    const connecting = connect(this.url, { heartbeat: 0, ...options });
    const peer = await this.accept();
    await peer.handshake(tune);
    return { connection: await connecting, peer };
  }

  [Symbol.dispose](): void {
    closeQuietly(this.#listener);
    for (const peer of this.#peers) peer[Symbol.dispose]();
  }
}

/** Errors that listeners have thrown, until disposed. */
export function reported(): Disposable & { readonly messages: string[] } {
  const messages: string[] = [];
  const listen = (event: ErrorEvent) => {
    event.preventDefault();
    messages.push(event.error?.message ?? event.message);
  };
  globalThis.addEventListener("error", listen);
  return {
    messages,
    [Symbol.dispose]: () => globalThis.removeEventListener("error", listen),
  };
}

/** True for an error of this code and scope. */
export const withCode =
  (code: string, scope?: string) =>
  (error: Error & { readonly code?: string; readonly scope?: string }) => {
    assert.equal(error.name, "AmqpError", `${error.stack}`);
    assert.equal(error.code, code, error.message);
    if (scope !== undefined) assert.equal(error.scope, scope);
    return true;
  };

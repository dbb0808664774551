/** Messages with properties that no AMQP library for JavaScript writes, as a stranger may send them. */
import * as amqp from "npm:amqplib@2.3.1";
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";

/** A header: its name and its text, as bytes. */
export type OddHeader = readonly [
  name: Buffer,
  text: Buffer | readonly Buffer[],
];

/** What a message says of itself. */
export interface Odd {
  /** Headers; a list is written as an array of texts. */
  readonly headers?: readonly OddHeader[];
  /** `message_id`. */
  readonly id?: Buffer;
}

const u8 = (n: number) => Buffer.from([n]);
const u16 = (n: number) => Buffer.from([n >> 8, n & 0xff]);
const u32 = (n: number) => Buffer.concat([u16(n >>> 16), u16(n & 0xffff)]);
const short = (bytes: Buffer) => Buffer.concat([u8(bytes.length), bytes]);
const long = (bytes: Buffer) => Buffer.concat([u32(bytes.length), bytes]);
const text = (bytes: Buffer) => Buffer.concat([Buffer.from("S"), long(bytes)]);

function value(said: OddHeader[1]): Buffer {
  if (!Array.isArray(said)) return text(said as Buffer);
  return Buffer.concat([
    Buffer.from("A"),
    long(Buffer.concat(said.map(text))),
  ]);
}

const table = (headers: readonly OddHeader[]) =>
  long(
    Buffer.concat(
      headers.flatMap(([name, said]) => [short(name), value(said)]),
    ),
  );

function frame(type: number, channel: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([u8(type), u16(channel), long(body), u8(0xce)]);
}

/** Properties as they are written. */
export function propertiesOf({ headers, id }: Odd): Buffer {
  const flags = 0x1000 | (headers ? 0x2000 : 0) | (id ? 0x80 : 0);
  return Buffer.concat([
    u16(flags),
    ...(headers ? [table(headers)] : []),
    u8(2), // persistent
    ...(id ? [short(id)] : []),
  ]);
}

/** Puts messages with the same body into a queue, byte by byte; resolves when the broker has them. */
export async function putOdd(
  url: string,
  queue: string,
  messages: readonly (readonly [body: string, odd: Odd])[],
): Promise<void> {
  const connection = await amqp.connect(url);
  try {
    const channel = await connection.createChannel();
    const { ch, connection: { stream } } = channel as unknown as {
      readonly ch: number;
      readonly connection: { readonly stream: Socket };
    };
    const to = [short(Buffer.alloc(0)), short(Buffer.from(queue)), u8(0)];
    for (const [body, odd] of messages) {
      const bytes = Buffer.from(body);
      const size = Buffer.concat([u32(0), u32(bytes.length)]);
      stream.write(Buffer.concat([
        frame(1, ch, u16(60), u16(40), u16(0), ...to),
        frame(2, ch, u16(60), u16(0), size, propertiesOf(odd)),
        frame(3, ch, bytes),
      ]));
    }
    await channel.checkQueue(queue); // answered after them
    await channel.close();
  } finally {
    await connection.close();
  }
}

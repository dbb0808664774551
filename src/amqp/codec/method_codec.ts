/** Encoding and decoding of the arguments of methods. @module */
import { FrameError } from "./protocol.ts";
import type { FieldReader } from "./field_reader.ts";
import { checkInteger, type Table } from "./field_value.ts";
import type { FieldWriter } from "./field_writer.ts";
import type { Args, Method, MethodName } from "./method_args.ts";
import { type ArgumentType, methodName, METHODS } from "./methods.ts";

/**
 * Encodes a method with its arguments. An argument that is omitted is 0, false or empty.
 *
 * @throws {TypeError} an argument cannot be encoded.
 */
export function encodeMethod<N extends MethodName>(
  fields: FieldWriter,
  name: N,
  args: Partial<Args<N>>,
): void {
  const { id: [classId, methodId], args: types } = METHODS[name];
  fields.ensure(64);
  fields.u16(classId);
  fields.u16(methodId);
  const bits: boolean[] = [];
  for (const [key, type] of Object.entries<ArgumentType>(types)) {
    const value = (args as Readonly<Record<string, unknown>>)[key];
    if (type === "bit") bits.push(value === true);
    else {
      flushBits(fields, bits);
      encodeArgument(fields, type, key, value);
    }
  }
  flushBits(fields, bits);
}

/** Encodes the bits that stand next to each other as one octet. */
function flushBits(fields: FieldWriter, bits: boolean[]): void {
  if (bits.length === 0) return;
  fields.ensure(1);
  fields.u8(bits.reduce((octet, bit, n) => octet | (bit ? 1 << n : 0), 0));
  bits.length = 0;
}

function encodeArgument(
  fields: FieldWriter,
  type: ArgumentType,
  name: string,
  value: unknown,
): void {
  fields.ensure(8);
  switch (type) {
    case "octet":
      return fields.u8(integer(value, 0xff, name));
    case "short":
      return fields.u16(integer(value, 0xffff, name));
    case "long":
      return fields.u32(integer(value, 0xffff_ffff, name));
    case "longlong":
      return fields.u64(integer(value, Number.MAX_SAFE_INTEGER, name));
    case "shortstr":
      return fields.short(String(value ?? ""), name);
    case "longstr":
      return fields.long(String(value ?? ""));
    default:
      return fields.table((value ?? {}) as Table);
  }
}

/** Returns an argument that is a number up to `max`. */
function integer(value: unknown, max: number, name: string): number {
  const number = Number(value ?? 0);
  checkInteger(number, [0, max], name);
  return number;
}

/**
 * Decodes the arguments of a method, after its two numbers.
 *
 * @throws {RangeError} the method ends before its arguments do.
 */
export function decodeArgs<N extends MethodName>(
  fields: FieldReader,
  name: N,
): Args<N> {
  const args: Record<string, unknown> = {};
  let octet = 0, bit = 8;
  for (
    const [key, type] of Object.entries<ArgumentType>(METHODS[name].args)
  ) {
    if (type !== "bit") {
      bit = 8;
      args[key] = decodeArgument(fields, type);
      continue;
    }
    if (bit === 8) [octet, bit] = [fields.u8(), 0];
    args[key] = (octet & (1 << bit++)) !== 0;
  }
  return args as Args<N>;
}

/**
 * Decodes a method.
 *
 * @throws {FrameError} there is no method with those numbers.
 * @throws {RangeError} the method ends before its arguments do.
 */
export function decodeMethod(fields: FieldReader): Method {
  const name = knownName(fields.u32());
  return { name, args: decodeArgs(fields, name) } as Method;
}

/**
 * Returns the name of the method with that class number and method number.
 *
 * @throws {FrameError} there is none.
 */
export function knownName(id: number): MethodName {
  const name = methodName(id);
  if (name) return name;
  throw new FrameError(`there is no method ${id >>> 16}.${id & 0xffff}`);
}

function decodeArgument(fields: FieldReader, type: ArgumentType): unknown {
  switch (type) {
    case "octet":
      return fields.u8();
    case "short":
      return fields.u16();
    case "long":
      return fields.u32();
    case "longlong":
      return fields.u64();
    case "shortstr":
      return fields.name();
    case "longstr":
      return fields.long();
    default:
      return fields.table();
  }
}

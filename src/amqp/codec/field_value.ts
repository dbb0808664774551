/** Values of field tables. @module */

/** Types of table values that JavaScript's own values do not select. */
export type FieldType =
  | "int8"
  | "uint8"
  | "int16"
  | "uint16"
  | "int32"
  | "uint32"
  | "int64"
  | "float"
  | "double"
  | "timestamp"
  | "decimal";

/**
 * Table value with an explicit type, e.g. `new FieldValue("timestamp", seconds)`. Without one, an integer becomes an
 * `int32` or an `int64`, and any other number a `double`.
 * @category AMQP
 */
export class FieldValue {
  /** Type. */
  readonly type: FieldType;
  /** The number; of a `decimal`, the number without its decimal point. */
  readonly value: number;
  /** Number of digits after the decimal point of a `decimal`. */
  readonly places: number;

  /** Creates a value; `places` is used for the type `decimal` alone. */
  constructor(type: FieldType, value: number, places = 0) {
    this.type = type;
    this.value = value;
    this.places = places;
  }
}

/**
 * Field table: names with strings, numbers, booleans, bytes, `null`, arrays, tables, dates or {@linkcode FieldValue}s.
 * @category AMQP
 */
export type Table = Readonly<Record<string, unknown>>;

/**
 * Checks that a number is an integer between the lowest and the highest that its type holds.
 *
 * @throws {TypeError} it is not; `what` names it.
 */
export function checkInteger(
  value: number,
  [min, max]: readonly [min: number, max: number],
  what: string,
): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new TypeError(
    `the ${what} is ${value}, not an integer from ${min} to ${max}`,
  );
}

/** Lowest and highest value of each type of integer. The highest `int64` is the highest that a number has. */
const RANGES: Readonly<Partial<Record<FieldType, readonly [number, number]>>> =
  {
    int8: [-128, 127],
    uint8: [0, 255],
    int16: [-32_768, 32_767],
    uint16: [0, 65_535],
    int32: [-(2 ** 31), 2 ** 31 - 1],
    uint32: [0, 2 ** 32 - 1],
    int64: [-(2 ** 63), 2 ** 63 - 1_024],
    timestamp: [0, Number.MAX_SAFE_INTEGER],
    decimal: [0, 2 ** 32 - 1],
  };

/**
 * Checks that a type holds a number. No type holds one that is not finite: RabbitMQ closes the connection for it, because
 * Erlang has none.
 *
 * @throws {TypeError} it does not.
 */
export function checkNumber(type: FieldType, value: number): void {
  const range = RANGES[type];
  if (range) return checkInteger(value, range, `field of the type ${type}`);
  if (Number.isFinite(type === "float" ? Math.fround(value) : value)) return;
  throw new TypeError(`a field of the type ${type} is ${value}`);
}

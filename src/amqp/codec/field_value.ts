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

/** One way of saying a message in JSON. @module */
import type {
  Fields,
  Notification,
  Reply,
  ReplyForm,
  Request,
} from "./envelope.ts";

/** What a dialect says in a body of its own (controls travel in headers alone). */
export type Spoken = Request | Reply | Notification;

/** Words to JSON text and back; pure, and knows nothing of queues. */
export interface Dialect {
  /** Name, as in the `dialect` option. */
  readonly name: string;
  /** True if each call has a reply queue of its own (Folsom); false if one queue serves all. */
  readonly replyPerCall: boolean;
  /** True if a body is in this dialect. */
  recognises(body: Fields): boolean;
  /** The body for a message, as JSON text. A reply takes the form that its request asked for. */
  encode(message: Spoken, form?: ReplyForm): string;
  /** The raw neutral form of a body, still to be checked by its schema; undefined if it is none of the three. */
  decode(body: Fields): { readonly kind: Spoken["kind"] } & Fields | undefined;
}

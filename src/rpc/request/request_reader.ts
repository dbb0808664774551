/** Reads the request of a delivery. @module */
import type { Delivery } from "../../transport/transport.ts";
import { decode, type DecodeError, type Limits } from "../../wire/mod.ts";
import { misdirectionReason } from "./addressee.ts";
import { IncomingRequest } from "./incoming_request.ts";
import type { ServedQueue } from "./served_queue.ts";

/** Reason why a message cannot be served, with the known facts about its sender. */
export type UnreadableMessage =
  & Pick<DecodeError, "reason">
  & Partial<Omit<DecodeError, "reason">>;

/** Decodes a delivery of one consumer. A message is unreadable if it is no request, or a request for another address. */
export function readRequest(
  delivery: Delivery,
  { addressee }: ServedQueue,
  limits: Limits,
): IncomingRequest | UnreadableMessage {
  const { message } = delivery;
  const decoded = decode(message.body, message.headers, limits, message);
  if ("error" in decoded) return decoded.error;
  const { message: request, dialect } = decoded;
  if (request.kind !== "request") {
    return { reason: `a ${request.kind} where requests are served` };
  }
  const { to, reply, warren } = request;
  const reason = misdirectionReason(addressee, to);
  if (reason !== undefined) return { reason, dialect, reply, warren };
  return new IncomingRequest(delivery, request, dialect, addressee.topic);
}

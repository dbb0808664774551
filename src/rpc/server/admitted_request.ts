/** A request that a server has taken. @module */
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ServedQueue } from "../request/served_queue.ts";

/** Request that is being served. */
export class AdmittedRequest {
  readonly incoming: IncomingRequest;
  readonly served: ServedQueue;
  readonly done: Promise<void>;

  constructor(
    incoming: IncomingRequest,
    served: ServedQueue,
    done: Promise<void>,
  ) {
    this.incoming = incoming;
    this.served = served;
    this.done = done;
  }
}

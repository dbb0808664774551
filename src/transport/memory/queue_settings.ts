/** Settings of a queue inside the process. @module */
import { TopologyError } from "../../errors.ts";

/** Properties of a queue that a declaration must repeat. */
export interface QueueForm {
  readonly type?: "classic" | "quorum";
  readonly durable?: boolean;
  readonly autoDelete?: boolean;
}

/** Settings of a queue. */
export interface QueueSettings {
  /** Properties that a later declaration must repeat; default: none. */
  readonly form?: QueueForm;
  /** Milliseconds after which a message expires; default: never. */
  readonly ttl?: number;
  /** Name of the queue that expired messages move to; default: they are dropped. */
  readonly deadLetterTo?: string;
  /** True if the oldest consumer gets all messages; default false. */
  readonly singleActive?: boolean;
  /** Maximum number of ready messages, above which the oldest is dropped; default: no limit. */
  readonly maxLength?: number;
  /** True if the queue is removed with its last consumer; default false. */
  readonly transient?: boolean;
  /** True if the queue is removed with the session that created it; default false. */
  readonly owned?: boolean;
}

/**
 * Refuses a queue that exists in another form, as RabbitMQ does.
 *
 * @throws {TopologyError} `data.reason` is `inequivalent`.
 */
export function checkForm(
  name: string,
  form: QueueForm = {},
  wanted: QueueForm = {},
): void {
  for (const argument of Object.keys(wanted) as (keyof QueueForm)[]) {
    if (form[argument] === wanted[argument]) continue;
    const [entity, existing] = [`queue ${name}`, `${form[argument]}`];
    throw new TopologyError(
      `Cannot declare ${entity}: its ${argument} is ${existing}, not ${
        wanted[argument]
      }`,
      {
        data: {
          ...{ entity, reason: "inequivalent", argument, existing },
          wanted: `${wanted[argument]}`,
        },
      },
    );
  }
}

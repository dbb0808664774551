/** What the broker refuses to declare, as errors. @module */
import { TopologyError } from "../../../errors.ts";

/** Answers of the broker that no repetition changes: access refused, exists in another form, not allowed, cannot. */
const FATAL = new Set([403, 405, 406, 530, 540, 541]);

/** True if a declaration was refused for good. */
export function isFatal(code: number | undefined): boolean {
  return code !== undefined && FATAL.has(code);
}

/** What RabbitMQ says where something exists in another form. */
const INEQUIVALENT =
  /inequivalent arg '([^']*)' for (\w+) '([^']*)' in vhost '[^']*': received (.*) but current is (.*?)"?$/;

/** What differs, where the broker says it: of what, the argument, the value that was wanted, the one that exists. */
function difference(reason: string): Record<string, string> {
  const parts = INEQUIVALENT.exec(reason);
  if (!parts) return {};
  const [, argument = "", kind, name, wanted = "", existing = ""] = parts;
  const value = (said: string) =>
    /^(?:the value )?'([^']*)'/.exec(said)?.[1] ?? said;
  return {
    entity: `${kind} ${name}`,
    argument,
    wanted: value(wanted),
    existing: value(existing),
  };
}

/** Reason of a refusal, in words that hold for any broker. */
function reasonOf(code: number | undefined, text: string): string {
  if (code === 405 || /in exclusive use/.test(text)) return "inUse";
  if (code === 403) return "forbidden";
  return code === 406 ? "inequivalent" : "unsupported";
}

function adviceFor(code: number | undefined, reason: string): string {
  if (/transient_nonexcl_queues/.test(reason)) {
    return "; the broker refuses queues that are neither durable nor exclusive: permit the deprecated feature transient_nonexcl_queues, or give the profile `durable: true` and `transientQuorum: true`, here and at the peers";
  }
  if (code === 406) {
    return "; it exists with other settings: declare it as it is, delete it, use another name, or another virtual host";
  }
  return code === 403 ? "; the user lacks the permission" : "";
}

/** The broker's answer to a declaration that it refuses, as an error that names the entity and what differs. */
export function refused(
  what: string,
  reason: string,
  code?: number,
): TopologyError {
  const differs = difference(reason);
  const { entity = what, argument, wanted, existing } = differs;
  const why = argument === undefined
    ? reason
    : `its ${argument} is ${existing}, not ${wanted}`;
  return new TopologyError(
    `Cannot declare ${entity}: ${why}${adviceFor(code, reason)}`,
    {
      data: {
        entity,
        reason: reasonOf(code, reason),
        replyCode: code ?? 0,
        ...differs,
      },
    },
  );
}

/** The error for a queue that the broker does not let be consumed; undefined if that may heal. */
export function notConsumed(
  queue: string,
  error: unknown,
): TopologyError | undefined {
  const { code, message } = error as Error & { code?: number };
  if (!isFatal(code)) return undefined;
  return new TopologyError(`Cannot consume ${queue}: ${message}`, {
    data: {
      entity: `queue ${queue}`,
      reason: reasonOf(code, message),
      replyCode: code,
    },
  });
}

/** True if an error is the broker's refusal with that reply code. */
export function isRefusedWith(error: unknown, code: number): boolean {
  return error instanceof TopologyError && error.data.replyCode === code;
}

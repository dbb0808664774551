/** Stands in for `src/rpc/telemetry/handled_message.ts` and records nothing. @module */
export class HandledMessage {
  run<T>(work: () => T): T {
    return work();
  }

  event(): void {}

  defer(): void {}

  fail(): void {}

  end(): void {}
}

export function recordCompletion(): void {}

/** Stands in for `src/rpc/telemetry/sent_message.ts` and records nothing. @module */
type Headers = Readonly<Record<string, string>>;

export class SentMessage {
  inject(headers: Headers | undefined): Headers | undefined {
    return headers;
  }

  run<T>(work: () => T): T {
    return work();
  }

  complete<T>(work: () => Promise<T>): Promise<T> {
    return work();
  }

  fail(): void {}

  end(): void {}
}

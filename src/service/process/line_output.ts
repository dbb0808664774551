/** Forwards the output of workers line by line, so that lines of several workers never mix. @module */
import { stripVTControlCharacters } from "node:util";

/** Maximum length of a line. Longer lines are forwarded in chunks, so that no worker fills the memory of the launcher. */
const MAX_LINE_CHARS = 65_536;

/** Destination of bytes, such as `Deno.stdout`. */
export interface Sink {
  /** Writes some of the bytes, and returns their number. */
  write(bytes: Uint8Array): Promise<number>;
}

/** Writes texts of several workers one after the other, without mixing them. */
export class LineWriter {
  readonly #sink: Sink;
  #last: Promise<void> = Promise.resolve();

  /** Creates a writer for a destination. `Deno.stdout` is not locked, so that the program can write to it as well. */
  constructor(sink: Sink) {
    this.#sink = sink;
  }

  /**
   * Writes a text; resolves when it has been written, so that the workers are slowed down to the speed of the reader.
   * Never rejects.
   */
  print(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    return this.#last = this.#last.then(() => this.#write(bytes));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    try {
      while (bytes.length > 0) {
        bytes = bytes.subarray(await this.#sink.write(bytes));
      }
    } catch {
      // The reader of the launcher's output is gone. The workers continue without it.
    }
  }
}

/** Splits text into lines without their line ends. A last line without a line end counts as a line. */
export function toLines(
  onLines: (lines: readonly string[]) => void | Promise<void>,
): WritableStream<string> {
  let rest = "";
  const flush = () => rest === "" ? undefined : onLines([rest]);
  return new WritableStream({
    write(chunk) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > MAX_LINE_CHARS) {
        lines.push(rest);
        rest = "";
      }
      return onLines(lines);
    },
    close: flush,
    abort: flush,
  });
}

/** Finds the error that ended a program in the lines of its stderr. */
export class LastError {
  #uncaught: string | undefined;
  #other: string | undefined;

  /** Reads one line. */
  note(line: string): void {
    const text = stripVTControlCharacters(line).trimEnd();
    // Deno indents the source line and the stack of an error, so these are not the last error.
    if (text.startsWith("error: ")) this.#uncaught = text.slice(7);
    else if (/^\S/.test(text)) this.#other = text;
  }

  /** Text of the last uncaught error that Deno printed, else the last line that is not indented. */
  get text(): string | undefined {
    return this.#uncaught ?? this.#other;
  }
}

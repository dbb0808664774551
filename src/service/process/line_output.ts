/** What workers print: passed on line by line, so that lines of several workers never mix. @module */
import { stripVTControlCharacters } from "node:util";

/** Characters of a line at most; what is longer goes on in parts, so that no worker fills the launcher's memory. */
const MAX_LINE_CHARS = 65_536;

/** Where bytes go, e.g. `Deno.stdout`. */
export interface Sink {
  /** Takes some of them, and says how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** Takes texts of several workers, each whole, one after the other. */
export class LineWriter {
  readonly #sink: Sink;
  #last: Promise<void> = Promise.resolve();

  /** Over what no one else needs to lock. */
  constructor(sink: Sink) {
    this.#sink = sink;
  }

  /** Resolves when the text is out, so that a worker prints no faster than somebody reads. Never rejects. */
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
      // Nobody reads the launcher's output any more. The workers go on all the same.
    }
  }
}

/** Text to whole lines, without their ends; a last line without an end counts. */
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

/** The reason of a program's end, as far as its lines on stderr tell it. */
export class LastError {
  #uncaught: string | undefined;
  #other: string | undefined;

  /** Takes a line. */
  note(line: string): void {
    const text = stripVTControlCharacters(line).trimEnd();
    // Source and stack of an error are indented.
    if (text.startsWith("error: ")) this.#uncaught = text.slice(7);
    else if (/^\S/.test(text)) this.#other = text;
  }

  /** The text of Deno's last uncaught error, else the last line that is not indented. */
  get text(): string | undefined {
    return this.#uncaught ?? this.#other;
  }
}

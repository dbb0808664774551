/** What workers print, line by line. */
import assert from "node:assert/strict";
import {
  LastError,
  LineWriter,
  toLines,
} from "../../../src/service/process/line_output.ts";

async function split(...chunks: string[]): Promise<string[][]> {
  const taken: string[][] = [];
  const take = (lines: readonly string[]) => void taken.push([...lines]);
  await ReadableStream.from(chunks).pipeTo(toLines(take));
  return taken;
}

Deno.test("toLines gives whole lines, and the last one without its end", async () => {
  const taken = await split("a\nb", "c\n\nd", "", "e");
  assert.deepEqual(taken.flat(), ["a", "bc", "", "de"]);
  assert.deepEqual((await split("a\n")).flat(), ["a"]);
  assert.deepEqual((await split()).flat(), []);
});

Deno.test("toLines passes a line on in parts before it fills the memory", async () => {
  const part = "x".repeat(50_000);
  const taken = await split(part, part, part, "\n");
  assert.deepEqual(taken.flat().map(({ length }) => length), [100_000, 50_000]);
});

Deno.test("toLines gives what came when it is aborted", async () => {
  const taken: string[] = [];
  const writer = toLines((lines) => void taken.push(...lines))
    .getWriter();
  await writer.write("half");
  await writer.abort();
  assert.deepEqual(taken, ["half"]);
});

Deno.test("Output writes each text whole, in turn, to a sink that takes little", async () => {
  let written = "";
  const output = new LineWriter({
    async write(bytes) {
      await Promise.resolve();
      const some = bytes.subarray(0, 3);
      written += new TextDecoder().decode(some);
      return some.length;
    },
  });
  await Promise.all([output.print("first line\n"), output.print("second\n")]);
  assert.equal(written, "first line\nsecond\n");
});

Deno.test("Output goes on when nobody reads", async () => {
  let tries = 0;
  const output = new LineWriter({
    write() {
      tries++;
      return Promise.reject(new Deno.errors.BrokenPipe("expected"));
    },
  });
  await output.print("one");
  await output.print("two");
  assert.equal(tries, 2);
});

/** The last error of a process that has printed this. */
function lastError(printed: string): string | undefined {
  const last = new LastError();
  for (const line of printed.split("\n")) last.note(line);
  return last.text;
}

Deno.test("the last error is Deno's own line, else the last one that is not indented", () => {
  const uncaught = "error: Uncaught (in promise) AddrInUse: Address in use";
  const rest = "\nDeno.serve(() => {});\n     ^\n    at serve (main.ts:1:6)";
  const expected = "Uncaught (in promise) AddrInUse: Address in use";
  assert.equal(lastError(uncaught + rest), expected);
  assert.equal(lastError(`error: one${rest}\n${uncaught}${rest}`), expected);
  const colored = uncaught.replace("error", "\u001b[31merror\u001b[0m");
  assert.equal(lastError(`${colored}${rest}`), expected);
  assert.equal(
    lastError("TypeError: bad\n    at f (a.ts)\n"),
    "TypeError: bad",
  );
  assert.equal(lastError("\n"), undefined);
});

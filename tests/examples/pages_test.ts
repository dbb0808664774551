/** The pages for readers: links lead somewhere, and the front page stays short. */
import assert from "node:assert/strict";
import { walk } from "../setup/pages.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const pages = walk(ROOT);

/** Code blocks hold no links. */
const proseOf = (text: string) => text.replace(/^```.*?^```$/gms, "");

/** Names of the headings of a page, as GitHub makes anchors of them. */
function anchorsOf(text: string): Set<string> {
  const headings = proseOf(text).matchAll(/^#+ (.*)$/gm);
  return new Set(
    Array.from(
      headings,
      ([, heading = ""]) =>
        heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "")
          .replaceAll(" ", "-"),
    ),
  );
}

Deno.test("every link of every page leads to a file, and to a heading where it names one", () => {
  const broken: string[] = [];
  for (const [path, text] of pages) {
    for (const [, target = ""] of proseOf(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = "", anchor] = target.split("#");
      const to = file === ""
        ? path
        : new URL(file, `file:///${path}`).pathname.slice(1);
      const found = pages.get(to);
      const lost = found === undefined ? !exists(to) : anchor !== undefined &&
        !anchorsOf(found).has(anchor);
      if (lost) broken.push(`${path}: ${target}`);
    }
  }
  assert.deepEqual(broken, []);
});

function exists(path: string): boolean {
  try {
    Deno.statSync(ROOT + path);
    return true;
  } catch {
    return false;
  }
}

Deno.test("the front page has at most 250 lines, and every other page begins with its contents", () => {
  const front = pages.get("README.md") ?? "";
  assert.ok(front.split("\n").length <= 250);
  for (const [path, text] of pages) {
    if (!path.endsWith("/README.md")) continue;
    assert.match(text, /^Contents: \[/m, path);
  }
});

Deno.test("every line of the log in the table of error codes is one that Warren writes", () => {
  const page = pages.get("examples/README.md") ?? "";
  const rows = page.match(/^\| `[A-Z_]+` .*$/gm) ?? [];
  assert.ok(rows.length > 10);
  const sources = [...sourcesBelow("src")].join("\n");
  const unknown: string[] = [];
  for (const row of rows) {
    const column = row.split("|").at(-2) ?? "";
    for (const [, line = ""] of column.matchAll(/`([^`]+ [^`]+)`/g)) {
      const parts = line.split("…").map((part) => part.trim()).filter(Boolean);
      const found = parts.every((part) => sources.includes(part));
      if (!found) unknown.push(line);
    }
  }
  assert.deepEqual(unknown, []);
});

function* sourcesBelow(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(ROOT + folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* sourcesBelow(path);
    else if (name.endsWith(".ts")) yield Deno.readTextFileSync(ROOT + path);
  }
}

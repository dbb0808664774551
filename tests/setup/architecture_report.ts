/**
 * `deno run -A tests/setup/architecture_report.ts`: figures of the sources that no rule refuses, for a
 * reader who looks for what to improve next.
 */
import { readSources } from "./architecture_sources.ts";
import {
  exportedNames,
  fieldsOf,
  functions,
  type Source,
} from "./architecture_tree.ts";

/** A class with more fields, a file with fewer lines and a folder with fewer files than these are named. */
const MANY_FIELDS = 10;
const FEW_LINES = 30;
const FEW_FILES = 3;

/** The report, line by line. */
export function report(sources: readonly Source[]): string[] {
  const files = sources.map(({ path, text }) => ({
    name: path,
    size: text.trimEnd().split("\n").length,
  }));
  const folders = sizes(
    sources.filter(({ path }) => path !== "mod.ts")
      .map(({ path }) => path.slice(0, path.lastIndexOf("/"))),
  );
  const long = sources.flatMap(functions);
  const classes = sizes(
    fieldsOf(sources).map(({ className, node }) =>
      `${node.getSourceFile().fileName} ${className}`
    ),
  );
  return [
    spread("files of a folder", folders.map(({ size }) => size)),
    spread("lines of a file", files.map(({ size }) => size)),
    spread("lines of a function", long.map(({ lines }) => lines)),
    spread("fields of a class", classes.map(({ size }) => size)),
    ...section(
      `Classes with more than ${MANY_FIELDS} fields`,
      classes.filter(({ size }) => size > MANY_FIELDS),
    ),
    ...section(
      `Files with fewer than ${FEW_LINES} lines`,
      files.filter(({ size }) => size < FEW_LINES),
    ),
    ...section(
      `Folders with fewer than ${FEW_FILES} files`,
      folders.filter(({ size }) => size < FEW_FILES),
    ),
    ...section(
      "Exported names that more than one file declares",
      repeatedNames(sources),
    ),
  ];
}

interface Size {
  readonly name: string;
  readonly size: number;
}

/** Count of each name. */
function sizes(names: readonly string[]): Size[] {
  return [...Map.groupBy(names, (name) => name)]
    .map(([name, all]) => ({ name, size: all.length }));
}

/** Exported names with the number of files that declare them, and these files. */
function repeatedNames(sources: readonly Source[]): Size[] {
  const all = sources.flatMap((source) =>
    exportedNames(source).map(({ name }) => ({ name, path: source.path }))
  );
  return [...Map.groupBy(all, ({ name }) => name)].map(([name, declared]) => {
    const paths = new Set(declared.map(({ path }) => path));
    return { name: `${name}: ${[...paths].join(", ")}`, size: paths.size };
  }).filter(({ size }) => size > 1);
}

/** Median, ninth decile and maximum. */
function spread(what: string, values: readonly number[]): string {
  const [median, ninth, most] = [0.5, 0.9, 1].map((share) =>
    quantile(values, share)
  );
  return `${what}: median ${median}, ninth decile ${ninth}, maximum ${most}`;
}

/** The smallest value that `share` of all values do not exceed; 0 of none. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

/** A title and the entries, the largest first; a title alone says that there are none. */
function section(title: string, entries: readonly Size[]): string[] {
  return [
    "",
    `${title}: ${entries.length}`,
    ...entries.toSorted((a, b) => b.size - a.size)
      .map(({ name, size }) => `  ${size}  ${name}`),
  ];
}

if (import.meta.main) console.log(report(await readSources()).join("\n"));

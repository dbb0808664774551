/**
 * The rules of the house as pure functions: who may import whom, and how big things may be. Each
 * takes what was read of the sources and returns sentences, one for each breach.
 */
import ts from "npm:typescript@^5.9.0";

/** One source file: its path in the repository, its text, and what it imports. */
export interface Source {
  readonly path: string;
  readonly text: string;
  /** As written, in the order of the file; type-only ones too. */
  readonly imports: readonly Import[];
}

/** One import: as written, and the file of the repository that it leads to, if any. */
export interface Import {
  readonly specifier: string;
  readonly path?: string | undefined;
}

/** Files of a folder, and lines of a file, at most. */
const FILES = 12;
const LINES = 380;

/** Folders, from the ground up: each may import the ground, and what is named here of those before it. */
const FLOORS: Readonly<Record<string, string>> = {
  "src": "",
  "src/async": "",
  "src/contract": "",
  "src/wire": "",
  "src/transport": "async",
  "src/transport/memory": "async transport",
  "src/transport/rabbitmq/amqplib": "async transport",
  "src/transport/rabbitmq/connection": "async transport …/amqplib",
  "src/transport/rabbitmq/publishing": "async transport …/amqplib …/connection",
  "src/transport/rabbitmq/consuming": "async transport …/amqplib …/connection",
  "src/transport/rabbitmq":
    "async transport …/amqplib …/connection …/publishing …/consuming",
  "src/ledger": "async contract transport",
  "src/rpc": "async contract transport wire",
  "src/rpc/dispatch": "async contract wire rpc",
  "src/rpc/streams": "async contract transport wire rpc rpc/dispatch",
  "src/rpc/client": "async contract transport wire rpc rpc/streams",
  "src/rpc/request":
    "async contract ledger transport wire rpc rpc/dispatch rpc/streams",
  "src/rpc/discovery": "async contract transport wire rpc rpc/client",
  "src/rpc/replies":
    "async contract transport wire rpc rpc/dispatch rpc/streams rpc/request",
  "src/rpc/retries":
    "async contract transport wire rpc rpc/client rpc/discovery rpc/dispatch rpc/request rpc/replies",
  "src/rpc/notifications":
    "async contract transport wire rpc rpc/client rpc/request rpc/retries",
  "src/rpc/server":
    "async contract ledger transport wire rpc rpc/client rpc/dispatch rpc/notifications rpc/request rpc/replies rpc/retries",
  "src/connection":
    "async contract ledger transport wire rpc rpc/client rpc/discovery rpc/dispatch rpc/notifications rpc/server",
  "src/config": "connection ledger transport wire",
  "src/service/periodic": "async rpc/discovery",
  "src/service/registry":
    "async contract config connection rpc/discovery rpc/dispatch service/periodic",
  "src/service/health": "async config connection transport rpc rpc/discovery",
  "src/service":
    "async contract config connection ledger transport rpc rpc/discovery rpc/dispatch service/health service/periodic service/registry",
  "src/service/process": "async config service service/health",
};

/** Folders whose files other folders import through `mod.ts` only. */
const FACES: ReadonlySet<string> = new Set(["src/wire"]);

/** The parts that know one kind of broker, or are one. */
const isConcrete = (path: string) =>
  /^src\/transport\/(memory|rabbitmq)\//.test(path);

const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/"));
const within = (...prefixes: string[]) => (path: string) =>
  prefixes.some((prefix) => path.startsWith(prefix));

/** True if a file may import another by the table of floors. */
function sees(from: string, to: string): boolean {
  const [here, there] = [folderOf(from), folderOf(to)];
  // Folders with a face are entered through it, and through it alone.
  if (here !== there && FACES.has(there) && !to.endsWith("/mod.ts")) {
    return false;
  }
  if (from === "mod.ts") return to.startsWith("src/") && !isConcrete(to);
  if (from === "src/connection/connect.ts" && isConcrete(to)) return true;
  if (here === there) return true;
  if (here === "src/wire") return to === "src/errors.ts";
  const allowed = (FLOORS[here] ?? "").split(" ").map((name) =>
    `src/${name.replace("…", "transport/rabbitmq")}`
  );
  return here !== "src" && (there === "src" || allowed.includes(there));
}

/** Every import leads to the same floor or to one below that its floor may see. */
export function floors(sources: readonly Source[]): string[] {
  return sources.flatMap(({ path, imports }) => {
    if (path !== "mod.ts" && FLOORS[folderOf(path)] === undefined) {
      return [`${path}: stands on no floor`];
    }
    return imports.flatMap(({ path: to }) =>
      to === undefined || sees(path, to)
        ? []
        : [`${path}: may not import ${to}`]
    );
  });
}

/** No folder has more than 12 files, those of its own folders not counted. */
export function folderSizes(sources: readonly Source[]): string[] {
  const folders = Map.groupBy(sources, ({ path }) => folderOf(path));
  return [...folders].filter(([, files]) => files.length > FILES)
    .map(([folder, files]) =>
      `${folder}: ${files.length} files, over ${FILES}`
    );
}

/** No file imports itself by way of others, type imports included. */
export function circles(sources: readonly Source[]): string[] {
  const edges = new Map(
    sources.map(({ path, imports }) => [path, imports.map((to) => to.path)]),
  );
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]) => {
    const at = trail.indexOf(path);
    if (at >= 0) {
      found.push(`${path}: circle ${[...trail.slice(at), path].join(" -> ")}`);
    }
    if (at >= 0 || done.has(path)) return;
    for (const to of edges.get(path) ?? []) if (to) visit(to, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) visit(path, []);
  return found;
}

/** An import leads to a file, to Node's own modules, or to npm with a version: no map is needed. */
export function specifiers(sources: readonly Source[]): string[] {
  const good = /^(\.{1,2}\/|node:|npm:(@[^/@]+\/)?[^/@]+@[^/]+)/;
  return sources.flatMap(({ path, imports }) =>
    imports.filter(({ specifier }) => !good.test(specifier)).map((
      { specifier },
    ) =>
      `${path}: "${specifier}" is neither a path, node: nor npm: with a version`
    )
  );
}

/** `Deno` is used only where the process and the network are touched. */
export function runtime(sources: readonly Source[]): string[] {
  const free = within(
    "src/service/",
    "src/config/",
    "src/connection/bus_profile.ts",
    "src/transport/rabbitmq/",
  );
  return sources.filter(({ path }) => !free(path)).flatMap((source) =>
    nodes(source, (node) => ts.isIdentifier(node) && node.text === "Deno")
      .map((line) => `${source.path}:${line}: uses Deno`)
  );
}

/** No type is `any`. */
export function anyTypes(sources: readonly Source[]): string[] {
  return sources.flatMap((source) =>
    nodes(source, (node) => node.kind === ts.SyntaxKind.AnyKeyword)
      .map((line) => `${source.path}:${line}: has the type any`)
  );
}

/** Folders whose comments are finished: the rule for doc comments holds for their files. */
const FINISHED_FOLDERS: ReadonlySet<string> = new Set([
  "src",
  "src/async",
  "src/wire",
  "src/contract",
  "src/ledger",
]);

/** Words with which no doc comment begins: after them, the sentence has no subject. */
const COMMENT_STARTS = /^(what|who|whose|whom|where|how|whether|when|until)\b/i;

/** A doc comment begins with a noun phrase or a verb, in the folders that are finished. */
export function commentStarts(sources: readonly Source[]): string[] {
  return sources.filter(({ path }) => FINISHED_FOLDERS.has(folderOf(path)))
    .flatMap((source) =>
      docComments(source).filter(({ text }) => COMMENT_STARTS.test(text))
        .map(({ line, text }) =>
          `${source.path}:${line}: the comment begins with "${
            text.split(/\W/, 1)[0]
          }"`
        )
    );
}

/** The doc comments of a file: the text without stars, and the line where it begins. */
function docComments(source: Source): { line: number; text: string }[] {
  const tree = parse(source);
  const starts = new Set<number>();
  for (const node of walk(tree)) {
    const at = node.getFullStart();
    for (const range of ts.getLeadingCommentRanges(source.text, at) ?? []) {
      if (source.text.startsWith("/**", range.pos)) starts.add(range.pos);
    }
  }
  return [...starts].sort((a, b) => a - b).map((start) => ({
    line: tree.getLineAndCharacterOfPosition(start).line + 1,
    text: source.text.slice(start + 3).replace(/^[\s*]+/, ""),
  }));
}

/** No file has more lines than the limit. */
export function fileSizes(sources: readonly Source[]): string[] {
  return sources.map(({ path, text }) => ({
    path,
    lines: text.trimEnd().split("\n").length,
  })).filter(({ lines }) => lines > LINES)
    .map(({ path, lines }) => `${path}: ${lines} lines, over ${LINES}`);
}

/** No named function over 60 lines; nine of ten have at most 30, half of them at most 9. */
export function functionSizes(sources: readonly Source[]): string[] {
  const all = sources.flatMap(functions);
  const found = all.filter(({ lines }) => lines > 70)
    .map(({ path, line, name, lines }) =>
      `${path}:${line}: ${name} has ${lines} lines, over 70`
    );
  for (const [share, most] of [[0.9, 30], [0.5, 9]] as const) {
    const size = quantile(all.map(({ lines }) => lines), share);
    if (size > most) {
      found.push(
        `all functions: quantile ${share} has ${size} lines, over ${most}`,
      );
    }
  }
  return found;
}

/** A function that has a name, and its length from its first word to its last brace. */
export interface Named {
  readonly path: string;
  readonly name: string;
  readonly line: number;
  readonly lines: number;
}

/** Named functions, methods, accessors and constructors, and functions bound to a name. */
export function functions(source: Source): Named[] {
  const tree = parse(source);
  const at = (position: number) =>
    tree.getLineAndCharacterOfPosition(position).line + 1;
  return [...walk(tree)].flatMap((node) => {
    const name = nameOf(node);
    if (name === undefined) return [];
    const line = at(node.getStart(tree));
    return [{
      path: source.path,
      name,
      line,
      lines: at(node.getEnd()) - line + 1,
    }];
  });
}

function nameOf(node: ts.Node): string | undefined {
  if (ts.isConstructorDeclaration(node)) return node.body && "constructor";
  if (
    ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node) ||
    ts.isAccessor(node)
  ) {
    return node.body && node.name?.getText();
  }
  if (!ts.isArrowFunction(node) && !ts.isFunctionExpression(node)) {
    return undefined;
  }
  const bound = node.parent;
  return ts.isVariableDeclaration(bound) || ts.isPropertyDeclaration(bound) ||
      ts.isPropertyAssignment(bound)
    ? bound.name.getText()
    : undefined;
}

/** The lines of the nodes that match. Comments and strings are no nodes of code. */
function nodes(source: Source, matches: (node: ts.Node) => boolean): number[] {
  const tree = parse(source);
  return [...walk(tree)].filter(matches)
    .map((node) =>
      tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1
    );
}

function parse({ path, text }: Source): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
}

function* walk(node: ts.Node): Generator<ts.Node> {
  yield node;
  const children: ts.Node[] = [];
  ts.forEachChild(node, (child) => void children.push(child));
  for (const child of children) yield* walk(child);
}

/** The smallest value that `share` of all values do not exceed; 0 of none. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

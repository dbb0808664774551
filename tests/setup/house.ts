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

type Sees = (from: string, to: string) => boolean;

const ground = (path: string) => /^src\/[^/]+$/.test(path);
const within = (...prefixes: string[]) => (path: string) =>
  prefixes.some((prefix) => path.startsWith(prefix));
const oneOf = (...paths: string[]) => (path: string) => paths.includes(path);

const neutralBus = oneOf("src/bus/transport.ts", "src/bus/routes.ts");
const neutralWire = oneOf(
  "src/wire/envelope.ts",
  "src/wire/dialect.ts",
  "src/wire/codec.ts",
  "src/wire/failure.ts",
);
/** The parts that know one kind of broker, or are one. */
const concreteBus = within("src/bus/rabbitmq/", "src/bus/memory/");

/** Who sees whom, from the ground up. The first row that knows a file decides for it. */
const FLOORS: readonly [owner: (path: string) => boolean, sees: Sees][] = [
  [ground, (_, to) => ground(to)],
  [
    within("src/wire/"),
    (_, to) => to.startsWith("src/wire/") || to === "src/errors.ts",
  ],
  [within("src/bus/"), (_, to) => to.startsWith("src/bus/") || ground(to)],
  [
    within("src/rpc/"),
    (_, to) =>
      to.startsWith("src/rpc/") || neutralBus(to) || neutralWire(to) ||
      ground(to),
  ],
  [
    within("src/service/"),
    (from, to) =>
      concreteBus(to)
        ? from === "src/service/connect.ts"
        : within("src/service/", "src/rpc/", "src/bus/", "src/wire/")(to) ||
          ground(to),
  ],
  [oneOf("mod.ts"), (_, to) => !concreteBus(to) && !to.startsWith("src/cli/")],
  [within("src/cli/"), (_, to) => to.startsWith("src/cli/") || to === "mod.ts"],
];

/** Every import leads to the same floor or to one below that its floor may see. */
export function floors(sources: readonly Source[]): string[] {
  return sources.flatMap(({ path, imports }) => {
    const [, sees] = FLOORS.find(([owner]) => owner(path)) ?? [];
    if (!sees) return [`${path}: stands on no floor`];
    return imports.flatMap(({ path: to }) =>
      to === undefined || sees(path, to)
        ? []
        : [`${path}: may not import ${to}`]
    );
  });
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
  const free = within("src/service/", "src/cli/", "src/bus/rabbitmq/");
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

/** No file over 300 lines; half of them have at most 110. */
export function fileSizes(sources: readonly Source[]): string[] {
  const sizes = sources.map(({ path, text }) => ({
    path,
    lines: text.trimEnd().split("\n").length,
  }));
  const found = sizes.filter(({ lines }) => lines > 300)
    .map(({ path, lines }) => `${path}: ${lines} lines, over 300`);
  const median = quantile(sizes.map(({ lines }) => lines), 0.5);
  return median > 110
    ? [...found, `all files: the median has ${median} lines, over 110`]
    : found;
}

/** No named function over 60 lines; nine of ten have at most 30, half of them at most 9. */
export function functionSizes(sources: readonly Source[]): string[] {
  const all = sources.flatMap(functions);
  const found = all.filter(({ lines }) => lines > 60)
    .map(({ path, line, name, lines }) =>
      `${path}:${line}: ${name} has ${lines} lines, over 60`
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

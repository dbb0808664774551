/**
 * The rules of the house as pure functions: who may import whom, and how big things may be. Each
 * takes what was read of the sources and returns sentences, one for each breach.
 */
import ts from "npm:typescript@^5.9.0";
import {
  functions,
  lineOf,
  parse,
  type Source,
  walk,
} from "./architecture_tree.ts";

/** Files of a folder, lines of a file and lines of a function, at most. */
const FILES = 12;
const FILE_LINES = 300;
const FUNCTION_LINES = 40;

/**
 * Folders, from the ground up: each may import the ground, and what is named here of those before it.
 * A new folder adds a row; operations, documents, cli and dashboard are planned.
 */
const FLOORS: Readonly<Record<string, string>> = {
  "src": "",
  "src/amqp/codec": "",
  "src/amqp/socket": "amqp/codec",
  "src/amqp/channel": "amqp/codec amqp/socket",
  "src/amqp": "amqp/codec amqp/socket amqp/channel",
  "src/async": "",
  "src/telemetry": "",
  "src/contract": "",
  "src/wire": "",
  "src/transport": "async",
  "src/transport/memory": "async transport",
  "src/transport/rabbitmq/routes": "transport",
  "src/transport/rabbitmq/connection": "amqp async transport …/routes",
  "src/transport/rabbitmq/publishing":
    "amqp async transport …/routes …/connection",
  "src/transport/rabbitmq/consuming":
    "amqp async transport …/routes …/connection",
  "src/transport/rabbitmq/liveness":
    "amqp async transport …/connection …/publishing",
  "src/transport/rabbitmq":
    "telemetry amqp async transport …/routes …/connection …/publishing …/consuming …/liveness",
  "src/ledger": "async contract transport",
  "src/rpc": "async contract transport wire",
  "src/rpc/telemetry": "telemetry transport wire rpc",
  "src/rpc/dispatch": "rpc/telemetry async contract wire rpc",
  "src/rpc/streams": "async contract transport wire rpc rpc/dispatch",
  "src/rpc/client":
    "telemetry rpc/telemetry async contract transport wire rpc rpc/streams",
  "src/rpc/cache": "transport",
  "src/rpc/letters": "transport wire",
  "src/rpc/request":
    "rpc/telemetry async contract ledger transport wire rpc rpc/cache rpc/dispatch rpc/streams",
  "src/rpc/discovery": "async contract transport wire rpc rpc/client",
  "src/rpc/replies":
    "async contract transport wire rpc rpc/dispatch rpc/streams rpc/request",
  "src/rpc/retries":
    "telemetry async contract transport wire rpc rpc/client rpc/discovery rpc/dispatch rpc/letters rpc/request rpc/replies",
  "src/rpc/notifications":
    "rpc/telemetry async contract transport wire rpc rpc/client rpc/letters rpc/request rpc/retries",
  "src/rpc/steering":
    "async contract transport wire rpc rpc/discovery rpc/dispatch rpc/letters rpc/request rpc/replies rpc/retries",
  "src/rpc/server":
    "rpc/steering telemetry rpc/telemetry async contract ledger transport wire rpc rpc/cache rpc/client rpc/dispatch rpc/letters rpc/notifications rpc/request rpc/replies rpc/retries",
  "src/connection":
    "async contract ledger transport wire rpc rpc/client rpc/discovery rpc/dispatch rpc/letters rpc/notifications rpc/server",
  "src/operations/letters":
    "async contract transport wire rpc rpc/cache rpc/letters rpc/notifications",
  "src/operations/queues":
    "async connection contract rpc/notifications rpc/retries transport wire",
  "src/operations/diagnosis":
    "rpc/steering connection contract transport rpc/client rpc/discovery operations/queues",
  "src/operations/steering":
    "async connection contract telemetry transport wire rpc rpc/client rpc/discovery rpc/steering",
  "src/operations":
    "connection rpc/client operations/letters operations/queues operations/diagnosis operations/steering",
  "src/cells":
    "async connection contract transport rpc/client rpc/discovery rpc/notifications",
  "src/config": "connection ledger transport wire",
  "src/service/periodic": "telemetry async rpc/discovery",
  "src/service/control":
    "async connection contract config rpc/discovery rpc/server rpc/steering service/periodic transport",
  "src/service/registry":
    "async contract config connection rpc/discovery rpc/dispatch service/periodic",
  "src/service/health":
    "telemetry async config connection transport rpc rpc/discovery",
  "src/service":
    "async cells contract config connection ledger transport rpc rpc/discovery rpc/dispatch service/control service/health service/periodic service/registry",
  "src/service/process": "telemetry async config service service/health",
};

/** Folders whose files other folders import through `mod.ts` only. */
const FACES: ReadonlySet<string> = new Set(["src/wire", "src/amqp"]);

/** The parts that know one kind of broker, or are one. */
const isConcrete = (path: string) => /^src\/transport\/[^/]+\//.test(path);

const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/"));
const within = (...prefixes: string[]) => (path: string) =>
  prefixes.some((prefix) => path.startsWith(prefix));

const isOfAmqp = (folder: string) => /^src\/amqp(\/|$)/.test(folder);

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
  if (here === "src/wire") return /^src\/(operator_)?errors\.ts$/.test(to);
  // The AMQP client knows nothing of Warren.
  if (isOfAmqp(here) && !isOfAmqp(there)) return false;
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

/** Schemas of Zod are built only where data from outside is read. */
export function schemas(sources: readonly Source[]): string[] {
  const free = within(
    "src/wire/",
    "src/config/",
    "src/rpc/discovery/",
    "src/service/openstack_api.ts",
  );
  return sources.filter(({ path }) => !free(path)).flatMap((
    { path, imports },
  ) =>
    imports.filter(({ specifier }) => /^npm:zod\b/.test(specifier))
      .map(({ specifier }) => `${path}: may not import ${specifier}`)
  );
}

/** `Deno` is used only where the process and the network are touched. */
export function runtime(sources: readonly Source[]): string[] {
  const free = within(
    "src/service/",
    "src/config/",
    "src/connection/bus_profile.ts",
    "src/transport/rabbitmq/",
    "src/amqp/socket/",
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

/** No file has more lines than the limit. */
export function fileSizes(sources: readonly Source[]): string[] {
  return sources.map(({ path, text }) => ({
    path,
    lines: text.trimEnd().split("\n").length,
  })).filter(({ lines }) => lines > FILE_LINES)
    .map(({ path, lines }) => `${path}: ${lines} lines, over ${FILE_LINES}`);
}

/** No named function has more lines than the limit. */
export function functionSizes(sources: readonly Source[]): string[] {
  return sources.flatMap(functions)
    .filter(({ lines }) => lines > FUNCTION_LINES)
    .map(({ path, line, name, lines }) =>
      `${path}:${line}: ${name} has ${lines} lines, over ${FUNCTION_LINES}`
    );
}

/** The lines of the nodes that match. Comments and strings are no nodes of code. */
function nodes(source: Source, matches: (node: ts.Node) => boolean): number[] {
  return [...walk(parse(source))].filter(matches).map(lineOf);
}

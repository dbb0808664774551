/** Rules for the names of files, exports and constants, for the first words of comments, and for words of one folder alone. */
import ts from "npm:typescript@^5.9.0";
import {
  exportedNames,
  nodesOf,
  parse,
  placeOf,
  type Source,
  walk,
} from "./architecture_tree.ts";

/** Endings that say nothing of what a thing is. */
const EMPTY_ENDING = /(?:^|_)(parts|hooks|impl|base|utils|helpers)$/;

/** True of `MessageParts` and `message_parts`, and not of `Database`. */
const hasEmptyEnding = (name: string) => EMPTY_ENDING.test(snake(name));

/** Words that readers from elsewhere do not know in the sense that they once had here. */
const OLD_WORDS: ReadonlySet<string> = new Set(
  `again apart arrivals asked beat beats begun beside burial burials carriable
  coming denier desired fate given given_back hasty heard hold hopeless inquiry
  job kept lane late meant noun outcomes patience proof proven question refusal
  refusals rival said seldom side sightings somebody spare spoken statement
  strays stranger suspect travels unsendable vitals waiting whoever whose
  yielded`.split(/\s+/),
);

/** Words that are no names of constants: they do not say what is limited, and in which unit. */
const EMPTY_CONSTANT =
  /^(MOST|LONGEST|PATIENCE|GOODBYE|LOOK|RETRY|APART|SHORT|BEYOND)$/;

/** `IncomingRequest` → `incoming_request`. */
function snake(name: string): string {
  return name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toLowerCase();
}

/** File names without their endings, and exported names, with their places. */
function namesOf(source: Source): { name: string; place: string }[] {
  const stem = source.path.slice(source.path.lastIndexOf("/") + 1)
    .replace(/\.ts$/, "");
  return [
    { name: stem, place: source.path },
    ...exportedNames(source).map(({ name, node }) => ({
      name,
      place: placeOf(node),
    })),
  ];
}

/** No file and no export has a name that ends in Parts, Hooks, Impl, Base, Utils or Helpers. */
export function emptyEndings(sources: readonly Source[]): string[] {
  return sources.flatMap(namesOf).filter(({ name }) => hasEmptyEnding(name))
    .map(({ name, place }) => `${place}: the ending of ${name} says nothing`);
}

/** No file and no export has one of the words as its name that readers do not know in this sense. */
export function oldWords(sources: readonly Source[]): string[] {
  return sources.flatMap(namesOf)
    .filter(({ name }) => OLD_WORDS.has(snake(name)))
    .map(({ name, place }) => `${place}: ${name} is no term of the glossary`);
}

/** Names of constants say what they limit; those of milliseconds end in _MS, those of bytes in _BYTES. */
export function constantNames(sources: readonly Source[]): string[] {
  return sources.flatMap((source) => {
    const times = timesOf(source);
    return nodesOf([source], isConstant).flatMap((node) => {
      const name = node.name.getText();
      if (EMPTY_CONSTANT.test(name)) {
        return [`${placeOf(node)}: ${name} does not say what it limits`];
      }
      const unit = unitOf(node) ?? (times.has(name) ? "_MS" : "");
      return name.endsWith(unit) || name.includes("_PER_")
        ? []
        : [`${placeOf(node)}: ${name} does not end in ${unit}`];
    });
  });
}

type Constant = ts.VariableDeclaration | ts.PropertyDeclaration;

const isConstant = (node: ts.Node): node is Constant =>
  (ts.isVariableDeclaration(node) || ts.isPropertyDeclaration(node)) &&
  /^#?[A-Z][A-Z0-9_]*$/.test(node.name.getText());

/** The ending that the comment of a constant asks for. A comment of several constants tells of none. */
function unitOf(node: Constant): "_MS" | "_BYTES" | undefined {
  const list = node.parent;
  if (ts.isVariableDeclarationList(list) && list.declarations.length > 1) {
    return undefined;
  }
  const holder = ts.isVariableDeclaration(node) ? node.parent.parent : node;
  const text = node.getSourceFile().text;
  const range = ts.getLeadingCommentRanges(text, holder.getFullStart())?.at(-1);
  const comment = range ? text.slice(range.pos, range.end) : "";
  const unit = /^\/\*\*[\s*]*(Milliseconds|Bytes)\b(?! per)/.exec(comment)?.[1];
  if (unit === "Bytes") return "_BYTES";
  return unit ? "_MS" : undefined;
}

/** Names that a file gives to a timer, or adds to the time of a clock. */
function timesOf(source: Source): ReadonlySet<string> {
  const calls = nodesOf([source], ts.isCallExpression).map((node) =>
    /^setTimeout$|^setInterval$/.test(node.expression.getText())
      ? node.arguments[1]
      : node.expression.getText() === "AbortSignal.timeout"
      ? node.arguments[0]
      : undefined
  );
  const sums = nodesOf([source], ts.isBinaryExpression).map((node) =>
    /^(performance|Date)\.now\(\)$/.test(node.left.getText())
      ? node.right
      : undefined
  );
  return new Set([...calls, ...sums].map((node) => node?.getText() ?? ""));
}

/** Files that know AMQP: its client, the driver of RabbitMQ, and the options in which users name arguments of its queues. */
const knowsAmqp = (path: string) =>
  /^src\/(transport\/rabbitmq\/|amqp\/|connection\/bus_profile\.ts)/.test(path);

/** Arguments of queues (`x-…`) and reply codes are known to these files alone. */
export function brokerWords(sources: readonly Source[]): string[] {
  const others = sources.filter(({ path }) => !knowsAmqp(path));
  return nodesOf(
    others,
    (node): node is ts.StringLiteralLike | ts.Identifier =>
      ts.isStringLiteralLike(node) && /^x-[a-z]/.test(node.text) ||
      ts.isIdentifier(node) && node.text === "replyCode",
  ).map((node) => `${placeOf(node)}: ${node.text} is a word of RabbitMQ`);
}

/** Words with which no doc comment begins: after them, the sentence has no subject. */
const COMMENT_STARTS = /^(what|who|whose|whom|where|how|whether|when|until)\b/i;

/** A doc comment begins with a noun phrase or a verb. */
export function commentStarts(sources: readonly Source[]): string[] {
  return sources.flatMap((source) =>
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

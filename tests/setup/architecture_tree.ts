/** Source files and their syntax trees, for the rules of the architecture. */
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

const trees = new WeakMap<Source, ts.SourceFile>();

/** Syntax tree of a file, parsed once for all rules. */
export function parse(source: Source): ts.SourceFile {
  let tree = trees.get(source);
  if (!tree) {
    const { path, text } = source;
    tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    trees.set(source, tree);
  }
  return tree;
}

/** The node and all nodes below it, parents first. */
export function* walk(node: ts.Node): Generator<ts.Node> {
  yield node;
  const children: ts.Node[] = [];
  ts.forEachChild(node, (child) => void children.push(child));
  for (const child of children) yield* walk(child);
}

/** Line of a node without its comment, counted from 1. */
export function lineOf(node: ts.Node): number {
  const tree = node.getSourceFile();
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
}

/** `path:line` of a node. */
export function placeOf(node: ts.Node): string {
  return `${node.getSourceFile().fileName}:${lineOf(node)}`;
}

/** The nodes of all files that a test of their kind finds. Comments and strings are no nodes of code. */
export function nodesOf<T extends ts.Node>(
  sources: readonly Source[],
  matches: (node: ts.Node) => node is T,
): T[] {
  return sources.flatMap((source) => [...walk(parse(source))].filter(matches));
}

/** True if a declaration has one of the modifiers. */
export function hasModifier(node: ts.Node, ...kinds: ts.SyntaxKind[]): boolean {
  return ts.canHaveModifiers(node) &&
    (ts.getModifiers(node) ?? []).some(({ kind }) => kinds.includes(kind));
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
  return [...walk(tree)].flatMap((node) => {
    const name = nameOf(node);
    if (name === undefined) return [];
    const line = lineOf(node);
    const end = tree.getLineAndCharacterOfPosition(node.getEnd()).line + 1;
    return [{ path: source.path, name, line, lines: end - line + 1 }];
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

/** An exported declaration at the top of a file. */
export interface Exported {
  readonly name: string;
  readonly node: ts.Node;
}

/** Names that a file declares and exports; names that it exports for another file are not its own. */
export function exportedNames(source: Source): Exported[] {
  return parse(source).statements.flatMap((statement): Exported[] => {
    if (!hasModifier(statement, ts.SyntaxKind.ExportKeyword)) return [];
    if (ts.isVariableStatement(statement)) {
      return statement.declarationList.declarations.map((node) => ({
        name: node.name.getText(),
        node,
      }));
    }
    const { name } = statement as ts.DeclarationStatement;
    // Overloads of one function are one name.
    const isOverload = ts.isFunctionDeclaration(statement) && !statement.body;
    return name && !isOverload ? [{ name: name.text, node: statement }] : [];
  });
}

/** A field of a class. */
export interface Field {
  readonly className: string;
  readonly name: string;
  readonly node: ts.PropertyDeclaration;
  /** True if other files can name the class. */
  readonly isExported: boolean;
}

/** Fields of the classes of all files, private ones too, static ones not. */
export function fieldsOf(sources: readonly Source[]): Field[] {
  return nodesOf(sources, ts.isClassLike).flatMap((node) =>
    node.members.filter(ts.isPropertyDeclaration)
      .filter((field) => !hasModifier(field, ts.SyntaxKind.StaticKeyword))
      .map((field) => ({
        className: node.name?.text ?? "a class",
        name: field.name.getText(),
        node: field,
        isExported: hasModifier(node, ts.SyntaxKind.ExportKeyword),
      }))
  );
}

/** Rules for classes, for what their constructors take, and for functions. */
import ts from "npm:typescript@^5.9.0";
import {
  fieldsOf,
  hasModifier,
  nodesOf,
  placeOf,
  type Source,
} from "./architecture_tree.ts";

/** Parameters of a function, and members of a record of dependencies, at most. */
const PARAMETERS = 4;
const RECORD_MEMBERS = 8;

/**
 * No function, method or function type takes more parameters than the limit; `dispatch` of dispatchers, which users write as
 * well, has those of Nova's.
 */
export function parameterCounts(sources: readonly Source[]): string[] {
  return nodesOf(sources, ts.isFunctionLike).flatMap((node) => {
    const count = node.parameters.filter(({ name }) =>
      name.getText() !== "this"
    ).length;
    return count > PARAMETERS && !isDispatch(node)
      ? [`${placeOf(node)}: ${count} parameters, over ${PARAMETERS}`]
      : [];
  });
}

const isDispatch = ({ name, parent }: ts.SignatureDeclaration) =>
  (name ?? (ts.isPropertyAssignment(parent) ? parent.name : undefined))
    ?.getText() === "dispatch";

/**
 * No constructor takes a record of dependencies of more members than the limit. Such a record is a
 * type of this repository that has properties alone, one of which is a collaborator at least: a
 * function, or an object that has methods. Options that users write, which `mod.ts` exports, are exempt.
 */
export function dependencyRecords(sources: readonly Source[]): string[] {
  const types = new Types(sources);
  return nodesOf(sources, ts.isConstructorDeclaration).flatMap((node) =>
    node.parameters.flatMap(({ type }) => {
      const members = (type && types.members(type)) ?? [];
      return members.length > RECORD_MEMBERS && types.collaborate(members)
        ? [
          `${placeOf(node)}: ${
            type && ts.isTypeReferenceNode(type)
              ? type.getText()
              : "a parameter"
          } has ${members.length} members, over ${RECORD_MEMBERS}`,
        ]
        : [];
    })
  );
}

type Written = ts.TypeNode | ts.ExpressionWithTypeArguments;
type Declared =
  | ts.InterfaceDeclaration
  | ts.TypeAliasDeclaration
  | ts.ClassDeclaration;

/** Types of the repository by name. A name that is declared twice is told of neither. */
class Types {
  readonly #declared: ReadonlyMap<string, Declared[]>;
  /** Names that `mod.ts` exports. */
  readonly #public: ReadonlySet<string>;

  constructor(sources: readonly Source[]) {
    const all = nodesOf(
      sources,
      (node): node is Declared =>
        ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) ||
        ts.isClassDeclaration(node),
    );
    this.#declared = Map.groupBy(all, ({ name }) => name?.text ?? "");
    const face = sources.filter(({ path }) => path === "mod.ts");
    this.#public = new Set(
      nodesOf(face, ts.isExportSpecifier).map(({ name }) => name.text),
    );
  }

  /** Properties of a record, inherited ones too, without those of public types; undefined of what is no record. */
  members(type: Written): ts.PropertySignature[] | undefined {
    if (ts.isIntersectionTypeNode(type)) return this.#merged(type.types);
    if (ts.isTypeLiteralNode(type)) return properties(type.members);
    if (this.#public.has(nameOf(type))) return [];
    const declared = this.#declaration(type);
    if (!declared || ts.isClassDeclaration(declared)) return undefined;
    if (ts.isTypeAliasDeclaration(declared)) return this.members(declared.type);
    const own = properties(declared.members);
    const bases = declared.heritageClauses?.flatMap(({ types }) => [...types]);
    const inherited = this.#merged(bases ?? []);
    return own && inherited && [...own, ...inherited];
  }

  /** True if one of the properties is a function or an object that has methods. */
  collaborate(members: readonly ts.PropertySignature[]): boolean {
    return members.some(({ type }) => {
      if (type && ts.isFunctionTypeNode(type)) return true;
      const declared = type && this.#declaration(type);
      return declared !== undefined && "members" in declared &&
        [...declared.members].some((member) =>
          ts.isMethodSignature(member) || ts.isMethodDeclaration(member)
        );
    });
  }

  #merged(types: readonly Written[]): ts.PropertySignature[] | undefined {
    const all = types.map((type) => this.members(type));
    return all.includes(undefined) ? undefined : all.flatMap((of) => of ?? []);
  }

  #declaration(type: Written): Declared | undefined {
    const found = this.#declared.get(nameOf(type)) ?? [];
    return found.length === 1 ? found[0] : undefined;
  }
}

function nameOf(type: Written): string {
  if (ts.isTypeReferenceNode(type)) return type.typeName.getText();
  return ts.isExpressionWithTypeArguments(type)
    ? type.expression.getText()
    : "";
}

function properties(
  members: readonly ts.TypeElement[],
): ts.PropertySignature[] | undefined {
  return members.every(ts.isPropertySignature) ? [...members] : undefined;
}

/** True if code outside of a class may write its field. */
const isOpen = (node: ts.PropertyDeclaration | ts.PropertySignature) =>
  !ts.isPrivateIdentifier(node.name) && !hasModifier(
    node,
    ts.SyntaxKind.ReadonlyKeyword,
    ts.SyntaxKind.PrivateKeyword,
    ts.SyntaxKind.ProtectedKeyword,
  );

/** No field of an exported class may be written by others: it is private, or it is read-only. */
export function writableFields(sources: readonly Source[]): string[] {
  return fieldsOf(sources)
    .filter(({ node, isExported }) => isExported && isOpen(node))
    .map(({ className, name, node }) =>
      `${placeOf(node)}: ${className}.${name} is public and writable`
    );
}

/**
 * No property of function type can be assigned after construction: who is called could be told at run
 * time alone. Properties of classes and interfaces that hold functions are private or read-only.
 */
export function assignableFunctions(sources: readonly Source[]): string[] {
  const aliases = new Set(
    nodesOf(sources, ts.isTypeAliasDeclaration)
      .filter(({ type }) => ts.isFunctionTypeNode(type))
      .map(({ name }) => name.text),
  );
  const isFunction = (type: ts.TypeNode | undefined): boolean =>
    type !== undefined && (ts.isFunctionTypeNode(type) ||
      ts.isParenthesizedTypeNode(type) && isFunction(type.type) ||
      ts.isUnionTypeNode(type) && type.types.some(isFunction) ||
      ts.isTypeReferenceNode(type) && aliases.has(type.typeName.getText()));
  return nodesOf(
    sources,
    (node): node is ts.PropertyDeclaration | ts.PropertySignature =>
      ts.isPropertyDeclaration(node) || ts.isPropertySignature(node),
  ).filter((node) => isOpen(node) && isFunction(node.type)).map((node) =>
    `${placeOf(node)}: others may assign the function ${node.name.getText()}`
  );
}

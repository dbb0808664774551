/** Reads the sources of the repository and the graph of their imports (`deno info`). */
import type { Import, Source } from "./architecture_tree.ts";

const ROOT = new URL("../../", import.meta.url);

interface Edge {
  specifier: string;
  code?: { specifier?: string };
  type?: { specifier?: string };
}

interface Graph {
  modules: { specifier: string; dependencies?: Edge[] }[];
}

/** The face and everything under src, also what the face does not reach. */
export async function readSources(): Promise<Source[]> {
  const read = new Map<string, Source>();
  for (const root of ["mod.ts", ...await paths("src/")]) {
    if (read.has(root)) continue;
    for (
      const { specifier, dependencies = [] } of (await graph(root)).modules
    ) {
      const path = local(specifier);
      if (path === undefined || read.has(path)) continue;
      const text = await Deno.readTextFile(new URL(path, ROOT));
      read.set(path, { path, text, imports: dependencies.flatMap(imports) });
    }
  }
  return [...read.values()];
}

async function paths(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (
    const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))
  ) {
    if (isDirectory) found.push(...await paths(`${folder}${name}/`));
    else if (name.endsWith(".ts")) found.push(folder + name);
  }
  return found.sort();
}

async function graph(path: string): Promise<Graph> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", path],
    cwd: ROOT,
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

function imports({ specifier, code, type }: Edge): Import[] {
  const targets = new Set(
    [code?.specifier, type?.specifier].filter((to) => to !== undefined),
  );
  return targets.size
    ? [...targets].map((to) => ({ specifier, path: local(to) }))
    : [{ specifier }];
}

function local(specifier: string): string | undefined {
  return specifier.startsWith(ROOT.href)
    ? specifier.slice(ROOT.href.length)
    : undefined;
}

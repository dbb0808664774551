/** The Markdown pages of the repository. @module */

const ROOTS = ["src", "examples", "tests"];

/** Pages by their path in the repository, with their text. */
export function walk(root: string): Map<string, string> {
  const pages = new Map<string, string>();
  const read = (path: string) =>
    void pages.set(path, Deno.readTextFileSync(root + path));
  const visit = (folder: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(root + folder)) {
      const path = `${folder}/${name}`;
      if (name === "node_modules") continue; // the packages of the benchmark's peers have pages of their own
      if (isDirectory) visit(path);
      else if (name.endsWith(".md")) read(path);
    }
  };
  for (const { name } of Deno.readDirSync(root)) {
    if (name.endsWith(".md")) read(name);
  }
  for (const folder of ROOTS) visit(folder);
  return pages;
}

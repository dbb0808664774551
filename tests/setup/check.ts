/** `deno task check`: what must hold before a test is worth running. One line for each, output only on failure. */

/** Markdown files of a folder and its subfolders. `deno check --doc` reads them only by name. */
function markdownFiles(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return markdownFiles(path);
    return name.endsWith(".md") ? [path] : [];
  });
}

const markdown = ["README.md", ...["src", "examples"].flatMap(markdownFiles)];

/** Entry points of the package. */
const PUBLIC = ["mod.ts", "src/amqp/mod.ts"];

const CHECKS: Record<string, string[]> = {
  "format": ["fmt", "--check"],
  "lint": ["lint"],
  "types": ["check", "--doc", ".", ...markdown],
  "types, by a user's options": [
    "check",
    "--no-config",
    "--no-lock",
    ...PUBLIC,
  ],
  "documentation": ["doc", "--lint", ...PUBLIC],
  "architecture": ["test", "-A", "tests/architecture_test.ts"],
  "publish (dry run)": ["publish", "--dry-run", "--allow-dirty"],
};

let failed = 0;
for (const [name, args] of Object.entries(CHECKS)) {
  const started = performance.now();
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    stdin: "null",
  }).output();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${success ? "ok    " : "FAILED"} ${name} (${seconds} s)`);
  if (success) continue;
  failed++;
  await Deno.stderr.write(stdout);
  await Deno.stderr.write(stderr);
}
Deno.exit(failed ? 1 : 0);

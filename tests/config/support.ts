/** Variables and files that a test of the configuration has for itself. */
/** Variables. */
export type Environment = Readonly<Record<string, string>>;

/** Runs with these variables and no other of Warren's; the old ones are back at the end. */
export function within<T>(environment: Environment, work: () => T): T {
  const before = Deno.env.toObject();
  const ours = (name: string) =>
    name === "AMQP_URL" || name.startsWith("WARREN_");
  for (const name of Object.keys(before).filter(ours)) Deno.env.delete(name);
  for (const [name, value] of Object.entries(environment)) {
    Deno.env.set(name, value);
  }
  try {
    return work();
  } finally {
    for (const name of Object.keys(environment)) Deno.env.delete(name);
    for (const [name, value] of Object.entries(before)) {
      if (ours(name)) Deno.env.set(name, value);
    }
  }
}

/** A file that is gone at the end. */
export function temporary(content: unknown): { path: string } & Disposable {
  const path = Deno.makeTempFileSync({ prefix: "warren-", suffix: ".json" });
  const file = {
    path,
    [Symbol.dispose]: () => Deno.removeSync(path),
  };
  write(path, content);
  return file;
}

/** Writes JSON, or a text as it is. */
export function write(path: string, content: unknown): void {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  Deno.writeTextFileSync(path, text);
}

/**
 * Long-lived programs for tests. Each runs under a small shell that is its parent, which reaps it at
 * once, and ends it and removes its folder if the test process dies. Deno holds no child process,
 * so a node started in one test may be killed in another without the sanitizers calling it a leak.
 * Ctrl-C reaches the whole group, so the guard is deaf to it and acts when its owner is gone. The program may have ended of
 * it before, so the guard stays for as long as there is the folder.
 */
import process from "node:process";

const GUARD = `
owner=$1 folder=$2 log=$3; shift 3
trap '' HUP INT TERM
(
  "$@" </dev/null >>"$log" 2>&1 &
  child=$!
  echo $child
  exec </dev/null >/dev/null 2>&1
  runs=yes
  while [ $runs = yes ] || [ -d "$folder" ]; do
    kill -0 $child || runs=no
    if ! kill -0 $owner; then
      [ $runs = no ] || kill -9 $child
      sleep 0.3; rm -rf "$folder"; exit
    fi
    sleep 0.3
  done
) &
`;

/** What {@linkcode spawnGuarded} needs to know. */
export interface Guarded {
  /** Removed when the test process dies. */
  folder: string;
  /** The file that gets stdout and stderr. */
  log: string;
  /** The program's whole environment. */
  env: Record<string, string>;
  /** The program and its arguments. It must stay in the foreground. */
  command: string[];
}

/** Starts a program under a guard and returns its pid. */
export async function spawnGuarded(program: Guarded): Promise<number> {
  const { stdout } = await new Deno.Command("sh", {
    args: [
      "-c",
      GUARD,
      "guard",
      `${Deno.pid}`,
      program.folder,
      program.log,
      ...program.command,
    ],
    cwd: program.folder,
    clearEnv: true,
    env: program.env,
    stdin: "null",
    stderr: "null",
  }).output();
  return Number(new TextDecoder().decode(stdout));
}

/** Whether a process of this id exists. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Sends a signal to a process that may have ended meanwhile. */
export function signal(pid: number, name: Deno.Signal): void {
  if (isAlive(pid)) Deno.kill(pid, name);
}

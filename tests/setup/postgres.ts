/**
 * A real PostgreSQL for tests: found, or installed from Debian's or Ubuntu's own packages. A private
 * server listens on loopback alone, trusts whoever asks, and is gone with its folder after disposal.
 */
import { isAlive, signal, spawnGuarded } from "./guard.ts";
import { aptInstall } from "./install.ts";
import { freePort, until } from "./probe.ts";

/** PostgreSQL refuses to run as root, so there it runs as the user that its package makes. */
const ACCOUNT = "postgres";

/** The folder of the newest installed server's programs, or undefined. */
export function findPostgres(): string | undefined {
  const packaged = [
    "/usr/lib/postgresql",
    "/opt/homebrew/opt",
    "/usr/local/opt",
  ]
    .flatMap((lib) =>
      names(lib).filter((name) => /^(postgresql@?)?\d*$/.test(name))
        .sort((a, b) => b.localeCompare(a, "en", { numeric: true }))
        .map((name) => `${lib}/${name}/bin`)
    );
  return [...packaged, "/opt/homebrew/bin", "/usr/local/bin", "/usr/bin"]
    .find((folder) => names(folder).includes("postgres"));
}

/** Where PostgreSQL is installed, or undefined: for tests that need a server of their own. */
export const postgresServer: string | undefined = findPostgres();

/** Installs it as root by apt-get, or fails with one sentence that says what to do. */
export async function installPostgres(): Promise<void> {
  await aptInstall(
    ["postgresql", "procps"],
    "No PostgreSQL server found and none can be installed from here: run " +
      (Deno.build.os === "darwin"
        ? "`brew install postgresql`."
        : "`sudo apt-get install postgresql`."),
  );
}

function names(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch {
    return [];
  }
}

/** Starts a PostgreSQL server of its own; resolves when it takes queries. */
export async function privatePostgres(): Promise<PrivatePostgres> {
  const bin = findPostgres();
  if (!bin) {
    throw new Error("Cannot start a private PostgreSQL: none is installed");
  }
  const folder = await Deno.makeTempDir({ prefix: "warren-postgres-" });
  const server = new PrivatePostgres(bin, folder);
  try {
    await server.create();
    await server.start();
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

/** A PostgreSQL server that belongs to one test. Made by {@linkcode privatePostgres}. */
export class PrivatePostgres implements AsyncDisposable {
  /** The server's port on loopback. */
  readonly port: number = freePort();
  /** The server as its superuser, who needs no password. */
  readonly url: string = `postgres://warren@127.0.0.1:${this.port}/postgres`;
  /** Where data and log are. */
  readonly folder: string;
  readonly #bin: string;
  #server = 0;

  /** @private Use {@linkcode privatePostgres}. */
  constructor(bin: string, folder: string) {
    this.#bin = bin;
    this.folder = folder;
  }

  /** The process id of the server, which is the parent of all its others. */
  get pid(): number {
    if (!this.#server) throw new Error("PostgreSQL is down");
    return this.#server;
  }

  /** @private Makes the empty database cluster. */
  async create(): Promise<void> {
    if (Deno.uid() === 0) await run(["chown", `${ACCOUNT}:`, this.folder]);
    await run(
      unprivileged(
        `${this.#bin}/initdb`,
        `--pgdata=${this.folder}/data`,
        "--username=warren",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
      ),
      this.folder,
    );
  }

  /** Starts the server, again with the same port and data; resolves when it takes queries. */
  async start(): Promise<void> {
    if (this.#server) return;
    this.#server = await spawnGuarded({
      folder: this.folder,
      log: this.#log,
      env: environment(this.folder),
      command: unprivileged(
        `${this.#bin}/postgres`,
        "-D",
        `${this.folder}/data`,
        ...settings(this.port).flatMap((setting) => ["-c", setting]),
      ),
    });
    await until(
      `PostgreSQL in ${this.folder} answers`,
      () => {
        if (isAlive(this.#server)) return this.#answers();
        const log = Deno.readTextFileSync(this.#log).slice(-2_000);
        throw new Error(`PostgreSQL ended at its start:\n${log}`);
      },
      60_000,
      50,
    );
  }

  /** Stops the server cleanly, whoever is connected; resolves when its processes are gone. */
  async stop(): Promise<void> {
    await this.#end("SIGINT");
  }

  /** Kills all the server's processes with SIGKILL; resolves when they are gone. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Ends the server at once and removes the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    // Not SIGKILL, after which its segment of shared memory would stay in the system.
    await this.#end("SIGQUIT");
    await Deno.remove(this.folder, { recursive: true }).catch(unlessMissing);
  }

  get #log(): string {
    return `${this.folder}/out.log`;
  }

  async #end(name: Deno.Signal): Promise<void> {
    const pid = this.#server;
    if (!pid) return;
    // Its children hold the data for a moment longer, and the next server would refuse to start.
    const family = new Set([pid, ...await running((_, of) => of === pid)]);
    signal(pid, name);
    if (name === "SIGKILL") { for (const child of family) signal(child, name); }
    const gone = async () =>
      (await running((member) => family.has(member))).length === 0;
    await until("PostgreSQL is gone", gone, 60_000);
    this.#server = 0;
  }

  async #answers(): Promise<boolean> {
    const { success } = await new Deno.Command(`${this.#bin}/pg_isready`, {
      args: ["-q", "-h", "127.0.0.1", "-p", `${this.port}`, "-d", "postgres"],
    }).output();
    return success;
  }
}

/** What the server is told. Its data must outlive its processes, not the machine: it never syncs. */
function settings(port: number): string[] {
  return [
    "listen_addresses=127.0.0.1",
    `port=${port}`,
    "unix_socket_directories=",
    "fsync=off",
    "shared_buffers=16MB",
    "dynamic_shared_memory_type=mmap", // in the folder, so that it goes with it
  ];
}

/** Nothing is inherited but the path. */
function environment(folder: string): Record<string, string> {
  return {
    PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin",
    HOME: folder,
    LANG: "C.UTF-8",
    TZ: "UTC",
  };
}

function unprivileged(...command: string[]): string[] {
  if (Deno.uid() !== 0) return command;
  const options = ["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups"];
  return ["setpriv", ...options, "--", ...command];
}

async function run([program = "", ...args]: string[], folder = "/") {
  const { success, stderr } = await new Deno.Command(program, {
    args,
    cwd: folder,
    clearEnv: true,
    env: environment(folder),
    stdin: "null",
  }).output();
  if (success) return;
  throw new Error(`${program} failed: ${new TextDecoder().decode(stderr)}`);
}

/** The processes that `wanted` picks by their id and their parent's. One that nobody has reaped yet runs no more. */
async function running(
  wanted: (pid: number, parent: number) => boolean,
): Promise<number[]> {
  const args = ["-A", "-o", "pid=,ppid=,stat="];
  const { stdout } = await new Deno.Command("ps", { args }).output();
  return new TextDecoder().decode(stdout).trim().split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([pid, parent, state]) =>
      !state?.startsWith("Z") && wanted(Number(pid), Number(parent))
    )
    .map(([pid]) => Number(pid));
}

function unlessMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

/** The versions of RabbitMQ that tests run on: which there are, where each is found, and how it is brought. */
import { installRabbitmq } from "../install.ts";
import { findUnpacked, unpack } from "./debian.ts";

/** The versions that the tests are run on. All tests run on the first by default, and a part of them on each other one. */
export const VERSIONS = ["4.3", "3.10", "4.0"] as const;

/** The Debian suites whose packages are unpacked; 3.10 is the package of Debian 12, which is installed. */
const SUITES: Readonly<Record<string, string>> = {
  "4.3": "forky",
  "4.0": "trixie",
};
const INSTALLED = "3.10";

/** Variable of the environment that tells test processes which RabbitMQ their private nodes run: the folder of its scripts. */
export const RABBITMQ_VARIABLE = "TEST_RABBITMQ";

function names(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch {
    return [];
  }
}

const hasServer = (folder: string) => names(folder).includes("rabbitmq-server");

/** The folder of the scripts of the newest installed RabbitMQ, or undefined. Those of a package need no particular user there. */
export function findInstalled(): string | undefined {
  const lib = "/usr/lib/rabbitmq/lib";
  const packaged = names(lib).sort((a, b) =>
    b.localeCompare(a, "en", { numeric: true })
  ).map((name) => `${lib}/${name}/sbin`);
  const others = [
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/sbin",
    "/usr/local/sbin",
  ];
  return [...packaged, ...others].find(hasServer);
}

/**
 * The folder of the scripts of the RabbitMQ that the environment names, else of the one that is installed, else of one that
 * was unpacked; undefined if there is none.
 *
 * @throws {Error} If the environment names a folder without RabbitMQ.
 */
export function findRabbitmq(): string | undefined {
  const named = Deno.env.get(RABBITMQ_VARIABLE);
  if (named) return sbinOf(named, RABBITMQ_VARIABLE);
  const unpacked = VERSIONS.map(findUnpacked).find((sbin) => sbin);
  return findInstalled() ?? unpacked;
}

/** The folder of the scripts of one of {@linkcode VERSIONS}, if it is here. */
export function findVersion(name: string): string | undefined {
  const found = name === INSTALLED ? findInstalled() : findUnpacked(name);
  return found && versionOf(found).startsWith(`${name}.`) ? found : undefined;
}

/** The folder of the scripts in `path`, which is that folder or the one above it. */
function sbinOf(path: string, source: string): string {
  const found = [path, `${path}/sbin`].find(hasServer);
  if (found) return Deno.realPathSync(found);
  throw new Error(
    `${source} is "${path}": give ${VERSIONS.join(", ")}, ` +
      "or a folder with sbin/rabbitmq-server in it.",
  );
}

/** The version that the path of a RabbitMQ tells. */
export function versionOf(sbin: string): string {
  const server = Deno.realPathSync(`${sbin}/rabbitmq-server`);
  const pattern = /rabbitmq(?:_server-|\/)(\d+(?:\.\d+)+)/;
  return pattern.exec(server)?.[1] ?? `in ${sbin}`;
}

/**
 * Brings a RabbitMQ: one of {@linkcode VERSIONS}, or the one in a folder. Resolves to the folder of its scripts.
 *
 * @throws {Error} One sentence, if it cannot be had.
 */
export async function provideRabbitmq(name: string): Promise<string> {
  const suite = SUITES[name];
  if (suite) return await unpack(name, suite);
  if (name !== INSTALLED) return sbinOf(name, "--rabbitmq");
  if (!findInstalled()) await installRabbitmq();
  const sbin = findInstalled();
  if (sbin && versionOf(sbin).startsWith(`${INSTALLED}.`)) return sbin;
  throw new Error(
    `RabbitMQ ${INSTALLED} is the package of Debian 12, and the one that is ` +
      `installed here is RabbitMQ ${sbin && versionOf(sbin)}.`,
  );
}

/**
 * Brings the versions that can be had, in their order, each when the one before was taken; says in one sentence why another
 * one cannot. Without any of them it takes the one that is installed.
 */
export async function* availableRabbitmqs(): AsyncGenerator<string> {
  let count = 0;
  for (const name of VERSIONS) {
    try {
      yield await provideRabbitmq(name);
      count++;
    } catch (error) {
      console.log(`Without RabbitMQ ${name}: ${messageOf(error)}`);
    }
  }
  const installed = findInstalled();
  if (count === 0 && installed) yield installed;
}

/**
 * Brings the RabbitMQ of a `--rabbitmq`, else the first of the versions that can be had, and names it in the environment for all private
 * nodes; resolves to the folder of its scripts.
 *
 * @throws {Error} One sentence, if it cannot be had.
 */
export async function useRabbitmq(name?: string): Promise<string> {
  const sbin = name !== undefined
    ? await provideRabbitmq(name)
    : (await availableRabbitmqs().next()).value;
  if (!sbin) throw new Error("Give the folder of a RabbitMQ with --rabbitmq.");
  Deno.env.set(RABBITMQ_VARIABLE, sbin);
  return sbin;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : `${error}`;
}

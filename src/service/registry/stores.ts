/** Stores of service records: in an SQLite file for the processes of one machine, and in memory. @module */
import { recordIn, serviceKey } from "../../rpc/discovery/service_contract.ts";
import type {
  ServiceRecord,
  ServiceStore,
} from "../../rpc/discovery/service_report.ts";
import { DatabaseSync } from "node:sqlite";

/** Milliseconds to wait while another process has locked the file. The event loop is blocked meanwhile. */
const BUSY_TIMEOUT_MS = 100;

const SCHEMA = `
  PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS};
  PRAGMA journal_mode = WAL;
  CREATE TABLE IF NOT EXISTS warren_services (
    key TEXT PRIMARY KEY,
    record TEXT NOT NULL
  ) STRICT`;

/** Parses a row; undefined if it is missing or malformed. */
function parseRow(row: Record<string, unknown> | undefined) {
  try {
    return row && recordIn(JSON.parse(String(row.record)));
  } catch {
    return undefined;
  }
}

/** Returns the inode of a file, which changes when the file is replaced; undefined if there is no file or no inode. */
function inodeOf(path: string): number | undefined {
  try {
    return Deno.statSync(path).ino ?? undefined;
  } catch {
    return undefined;
  }
}

/** SQLite file that is opened with the first use, and again after an error or after the file was replaced. */
class DatabaseFile {
  readonly #path: string;
  #database: DatabaseSync | undefined;
  /** Inode of the file that is open. */
  #inode: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Runs `work` on the open database. An error closes the file and rejects. */
  use<T>(work: (database: DatabaseSync) => T): Promise<T> {
    return Promise.try(() => {
      try {
        return work(this.#open());
      } catch (error) {
        this.close();
        throw error;
      }
    });
  }

  close(): void {
    this.#database?.close();
    this.#database = undefined;
  }

  #open(): DatabaseSync {
    if (this.#inode !== inodeOf(this.#path)) this.close();
    if (this.#database) return this.#database;
    this.#database = new DatabaseSync(this.#path);
    this.#database.exec(SCHEMA);
    this.#inode = inodeOf(this.#path);
    return this.#database;
  }
}

/**
 * Creates a store of service records in an SQLite file. The file is created if it does not exist. It is opened with the
 * first use, and opened again after an error. Needs `--allow-read` and `--allow-write` for the file.
 *
 * @example
 * ```ts ignore
 * const store = sqliteServiceStore("/var/lib/compute/services.db");
 * await using service = await Service.start({ url, manager, store });
 * ```
 * @category Fleet
 */
export function sqliteServiceStore(path: string): ServiceStore & Disposable {
  const file = new DatabaseFile(path);
  return {
    get: (key) =>
      file.use((database) => {
        const text = "SELECT record FROM warren_services WHERE key = ?";
        return parseRow(database.prepare(text).get(serviceKey(key)));
      }),
    put: (record) =>
      file.use((database) => {
        const text = "INSERT OR REPLACE INTO warren_services VALUES (?, ?)";
        database.prepare(text).run(serviceKey(record), JSON.stringify(record));
      }),
    remove: (key) =>
      file.use((database) => {
        const text = "DELETE FROM warren_services WHERE key = ?";
        return database.prepare(text).run(serviceKey(key)).changes > 0;
      }),
    list: () =>
      file.use((database) =>
        database.prepare("SELECT record FROM warren_services").all().map(
          parseRow,
        )
          .filter((record) => record !== undefined)
      ),
    [Symbol.dispose]: () => file.close(),
  };
}

/**
 * Creates a store of service records in memory, for tests and for the services of one process.
 * @category Fleet
 */
export function memoryServiceStore(): ServiceStore {
  const records = new Map<string, ServiceRecord>();
  return {
    get: (key) => Promise.resolve(records.get(serviceKey(key))),
    put: (record) => {
      records.set(serviceKey(record), record);
      return Promise.resolve();
    },
    remove: (key) => Promise.resolve(records.delete(serviceKey(key))),
    list: () => Promise.resolve([...records.values()]),
  };
}

/** A store of services in an SQLite file, for the processes of one machine. @module */
import { recordIn, serviceKey } from "../../rpc/discovery/service_contract.ts";
import type {
  ServiceRecord,
  ServiceStore,
} from "../../rpc/discovery/service_report.ts";
import { DatabaseSync } from "node:sqlite";

/** Milliseconds that another process may hold the file; nothing else runs here meanwhile. */
const BUSY_TIMEOUT_MS = 100;

const SCHEMA = `
  PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS};
  PRAGMA journal_mode = WAL;
  CREATE TABLE IF NOT EXISTS warren_services (
    key TEXT PRIMARY KEY,
    record TEXT NOT NULL
  ) STRICT`;

/** A row that cannot be read is none. */
function parseRow(row: Record<string, unknown> | undefined) {
  try {
    return row && recordIn(JSON.parse(String(row.record)));
  } catch {
    return undefined;
  }
}

/** What tells one file from another of the same name; undefined if there is none, or the system does not say. */
function inodeOf(path: string): number | undefined {
  try {
    return Deno.statSync(path).ino ?? undefined;
  } catch {
    return undefined;
  }
}

/**
 * Keeps the records of services in an SQLite file, which is made if there is none. The file is opened when it is first
 * needed, and opened again after an error. Needs `--allow-read` and `--allow-write` for it.
 *
 * @example
 * ```ts ignore
 * const store = sqliteServiceStore("/var/lib/compute/services.db");
 * await using service = await Service.start({ url, manager, store });
 * ```
 */
export function sqliteServiceStore(path: string): ServiceStore & Disposable {
  let database: DatabaseSync | undefined;
  let inode: number | undefined;
  const close = () => {
    database?.close();
    database = undefined;
  };
  const use = <T>(work: (database: DatabaseSync) => T): Promise<T> =>
    Promise.try(() => {
      try {
        if (inode !== inodeOf(path)) close(); // it was removed, or replaced
        if (!database) {
          database = new DatabaseSync(path);
          database.exec(SCHEMA);
          inode = inodeOf(path);
        }
        return work(database);
      } catch (error) {
        close();
        throw error;
      }
    });
  return {
    get: (key) =>
      use((database) => {
        const text = "SELECT record FROM warren_services WHERE key = ?";
        return parseRow(database.prepare(text).get(serviceKey(key)));
      }),
    put: (record) =>
      use((database) => {
        const text = "INSERT OR REPLACE INTO warren_services VALUES (?, ?)";
        database.prepare(text).run(serviceKey(record), JSON.stringify(record));
      }),
    remove: (key) =>
      use((database) => {
        const text = "DELETE FROM warren_services WHERE key = ?";
        return database.prepare(text).run(serviceKey(key)).changes > 0;
      }),
    list: () =>
      use((database) =>
        database.prepare("SELECT record FROM warren_services").all().map(
          parseRow,
        )
          .filter((record) => record !== undefined)
      ),
    [Symbol.dispose]: close,
  };
}

/** Keeps the records of services in memory: for tests, and for the services of one process. */
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

/** A store of services inside the process. @module */
import { keyText } from "../../rpc/discovery/service_contract.ts";
import type {
  ServiceRecord,
  ServiceStore,
} from "../../rpc/discovery/service_report.ts";

/** Keeps the records of services in memory: for tests, and for the services of one process. */
export function memoryServiceStore(): ServiceStore {
  const records = new Map<string, ServiceRecord>();
  return {
    get: (key) => Promise.resolve(records.get(keyText(key))),
    put: (record) => {
      records.set(keyText(record), record);
      return Promise.resolve();
    },
    remove: (key) => Promise.resolve(records.delete(keyText(key))),
    list: () => Promise.resolve([...records.values()]),
  };
}

/** A contract and its workers in cells, for the tests of cells. */
import { z } from "npm:zod@^4.6.7";
import {
  type Cells,
  contract,
  implement,
  memoryServiceStore,
  Service,
  type ServiceStore,
} from "../../mod.ts";

/** What the workers of all cells serve. */
export const compute = contract({
  topic: "compute",
  version: "1.0",
  procedures: {
    where: { result: z.string() },
    count: { args: z.object({ to: z.number() }), yields: z.number() },
    note: { args: z.object({ text: z.string() }) },
  },
});

/** A manager without procedures that anyone calls. */
export const echo = implement(
  contract({ topic: "echo", version: "1.0", procedures: {} }),
  {},
);

/** Route by host: a host is named after its cell, as in `a-1`. */
export const byHost = ({ host }: { readonly host?: string | undefined }) =>
  host?.split("-")[0];

/** A worker that notes what it got. */
export interface Worker extends AsyncDisposable {
  /** Texts of `note`, in order. */
  readonly notes: string[];
  /** Resolves when the next note has come. */
  noted(): Promise<string>;
  /** The service. */
  readonly service: Service;
}

/** Starts the worker of a host in a cell. */
export async function work(
  cells: Cells,
  cell: string,
  host: string,
  store: ServiceStore = memoryServiceStore(),
): Promise<Worker> {
  const notes: string[] = [];
  let next = Promise.withResolvers<string>();
  const manager = implement(compute, {
    where: () => host,
    async *count({ to }) {
      for (let n = 1; n <= to; n++) yield n;
    },
    note: ({ text }) => {
      notes.push(text);
      next.resolve(text);
      next = Promise.withResolvers();
    },
  });
  const service = await Service.start({
    ...{ cells, cell, host, manager, store },
    reportInterval: 500,
    signals: false,
  });
  return {
    notes,
    service,
    noted: () => next.promise,
    [Symbol.asyncDispose]: () => service.stop(),
  };
}

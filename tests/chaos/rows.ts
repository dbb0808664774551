/** The fault matrix of single brokers: all its rows, in order. */
import type { Row } from "./row.ts";
import { brokerRows } from "./rows_broker.ts";
import { networkRows } from "./rows_network.ts";
import { workerRows } from "./rows_worker.ts";

const number = ({ id }: Row) => Number(id.slice(1));

/** All rows. */
export const rows: readonly Row[] = [
  ...brokerRows,
  ...networkRows,
  ...workerRows,
].sort((a, b) => number(a) - number(b));

/** The rows of these names, in their order; all without names. */
export function rowsOf(ids: readonly string[]): readonly Row[] {
  if (ids.length === 0) return rows;
  return ids.map((id) => {
    const row = rows.find((each) => each.id === id);
    if (row) return row;
    throw new Error(
      `No row ${id}: there are ${rows.map((each) => each.id).join(", ")}`,
    );
  });
}

/** The fault matrix: all rows of single brokers and of clusters, in order. */
import type { Row } from "./row.ts";
import { brokerRows } from "./rows_broker.ts";
import { clusterRows } from "./rows_cluster.ts";
import { networkRows } from "./rows_network.ts";
import { workerRows } from "./rows_worker.ts";

const number = ({ id }: Row) => Number(id.slice(1));

/** All rows of single brokers. */
export const singleRows: readonly Row[] = [
  ...brokerRows,
  ...networkRows,
  ...workerRows,
].sort((a, b) => number(a) - number(b));

/** The rows of these names, in their order; without names all of single brokers, or of clusters. */
export function rowsOf(
  ids: readonly string[],
  cluster = false,
): readonly Row[] {
  const rows = cluster ? clusterRows : singleRows;
  if (ids.length === 0) return rows;
  return ids.map((id) => {
    const row = rows.find((each) => each.id === id);
    if (row) return row;
    throw new Error(
      `No row ${id}: there are ${rows.map((each) => each.id).join(", ")}`,
    );
  });
}

/**
 * Network partitions between the nodes of a cluster, by rules of iptables for the connections between nodes alone: clients
 * and rabbitmqctl reach every node as before. The rules name addresses and ports of one cluster, and are removed at the end.
 */

/** How the other nodes of a cluster see a node. */
export interface NodeAddress {
  /** Address from which the node connects to the others. */
  readonly source: string;
  /** Port on 127.0.0.1 at which the others connect to the node. */
  readonly port: number;
}

async function iptables(...args: string[]): Promise<string | undefined> {
  try {
    const { success, stderr } = await new Deno.Command("iptables", {
      args: ["-w", ...args],
      stdin: "null",
      stdout: "null",
    }).output();
    return success ? undefined : new TextDecoder().decode(stderr).trim();
  } catch (error) {
    return (error as Error).message;
  }
}

/** Returns why partitions cannot be made on this machine; undefined if they can. */
export async function partitionsMissing(): Promise<string | undefined> {
  const failure = await iptables("-S", "INPUT");
  return failure && `iptables needs to be installed, and root: ${failure}`;
}

/** Returns the rules that drop what `from` sends to `to` on connections that either of them has opened. */
function rulesOf(from: NodeAddress, to: NodeAddress): string[][] {
  const tcp = ["-i", "lo", "-p", "tcp"];
  const drop = ["-j", "DROP"];
  return [
    [...tcp, "-s", from.source, "--dport", `${to.port}`, ...drop],
    [...tcp, "-d", to.source, "--sport", `${from.port}`, ...drop],
  ];
}

/** Separates some nodes from others until disposed. */
export async function partition(
  nodes: readonly NodeAddress[],
  others: readonly NodeAddress[],
): Promise<AsyncDisposable> {
  const rules = nodes.flatMap((node) =>
    others.flatMap((
      other,
    ) => [...rulesOf(node, other), ...rulesOf(other, node)])
  );
  const removal = {
    async [Symbol.asyncDispose]() {
      for (const rule of rules) await iptables("-D", "INPUT", ...rule);
    },
  };
  for (const rule of rules) {
    const failure = await iptables("-I", "INPUT", ...rule);
    if (failure === undefined) continue;
    await removal[Symbol.asyncDispose]();
    throw new Error(`Cannot partition the cluster: ${failure}`);
  }
  return removal;
}

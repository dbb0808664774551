/** The environment of a private RabbitMQ node. */
import { freePort } from "../probe.ts";

/** Place of a private node in a cluster. */
export interface ClusterPlace {
  /** Name of the node, without its host. */
  readonly node: string;
  /** Names of all nodes of the cluster. The first one starts the port mapper, which ends with it. */
  readonly nodes: readonly string[];
  /** Port of the port mapper of the cluster. */
  readonly mapperPort: number;
  /** Secret that the nodes share. */
  readonly cookie: string;
  /** Loopback address from which the node connects to the others, so that the network between them can be broken. */
  readonly source: string;
  /** Seconds after which a node that does not answer counts as down; default: 60, of Erlang. */
  readonly tickTime?: number | undefined;
}

/** Everything that RabbitMQ and Erlang are told; nothing is inherited but the path, where RabbitMQ's own Erlang comes first. */
export function environment(
  folder: string,
  port: number,
  sbin: string,
  place: ClusterPlace | undefined,
): Record<string, string> {
  const loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
  const source = place
    ? ` -kernel inet_dist_connect_options [{ip,{${
      place.source.replaceAll(".", ",")
    }}}]`
    : "";
  const tick = place?.tickTime ? ` -kernel net_ticktime ${place.tickTime}` : "";
  return {
    PATH: `${sbin}:${Deno.env.get("PATH") ?? "/usr/bin:/bin"}`,
    HOME: folder,
    LANG: "C.UTF-8",
    TMPDIR: folder,
    ERL_CRASH_DUMP_SECONDS: "0",
    ERL_EPMD_ADDRESS: "127.0.0.1",
    ERL_EPMD_PORT: `${place?.mapperPort ?? freePort()}`,
    RABBITMQ_NODENAME: `${place?.node ?? "warren"}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: `${port}`,
    RABBITMQ_DIST_PORT: `${freePort()}`,
    RABBITMQ_MNESIA_BASE: `${folder}/data`,
    RABBITMQ_LOG_BASE: `${folder}/log`,
    RABBITMQ_PID_FILE: `${folder}/pid`,
    RABBITMQ_ENABLED_PLUGINS_FILE: `${folder}/enabled_plugins`,
    RABBITMQ_CONFIG_FILE: `${folder}/rabbitmq.conf`,
    RABBITMQ_CONFIG_FILES: `${folder}/conf.d`,
    RABBITMQ_ADVANCED_CONFIG_FILE: `${folder}/advanced.config`,
    RABBITMQ_CONF_ENV_FILE: `${folder}/rabbitmq-env.conf`,
    // Few schedulers that sleep when idle: several nodes share a small machine.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
      `+B i +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none ${loopback}${source}${tick}`,
    RABBITMQ_CTL_ERL_ARGS: loopback,
    // The start script then becomes the Erlang machine instead of waiting for it, so its pid is the machine's.
    RUNNING_UNDER_SYSTEMD: "true",
  };
}

/**
 * Brokers for tests: the one that `deno task test` names in `AMQP_URL`, and private RabbitMQ nodes
 * that a test may kill and start again. A private node listens on loopback alone, has its own
 * ports, port mapper, cookie and data, and is gone with its folder after disposal.
 */
import { makeCertificates } from "./certificates.ts";
import { isAlive, signal, spawnGuarded } from "./guard.ts";
import type { NodeAddress } from "./partition.ts";
import { answersAmqp, freePort, isOpen, until } from "./probe.ts";
import { type ClusterPlace, environment } from "./rabbitmq/environment.ts";
import { findRabbitmq } from "./rabbitmq/versions.ts";

const GUEST = "guest:guest@127.0.0.1";
const NO_BROKER =
  "No AMQP broker found: run `deno task test`, which sets one up, " +
  "or start rabbitmq-server, or set AMQP_URL.";

/** `AMQP_URL`, else a broker that answers on 127.0.0.1:5672, else undefined. */
export async function findBroker(): Promise<string | undefined> {
  const named = Deno.env.get("AMQP_URL");
  if (named) return named;
  return await answersAmqp("127.0.0.1", 5672)
    ? `amqp://${GUEST}:5672`
    : undefined;
}

/**
 * The URL of the broker to test against. Without one it says so once and ends the whole run: an
 * error thrown here would be printed again by every file that asks.
 */
export async function brokerUrl(): Promise<string> {
  const url = await findBroker();
  if (url) return url;
  console.error(NO_BROKER);
  Deno.kill(Deno.pid, "SIGINT");
  return await new Promise<never>(() => {});
}

/** The folder of the scripts of the RabbitMQ that private nodes run, or undefined: for tests that need a node of their own. */
export const rabbitmqServer: string | undefined = findRabbitmq();

/** How a private node is made. */
export interface PrivateBrokerOptions {
  /** Lines for rabbitmq.conf; they override the defaults. */
  config?: string | undefined;
  /** Names of plugins that are enabled; default: none. */
  plugins?: readonly string[] | undefined;
  /** Also listen with TLS, under a certificate authority of the node's own. */
  tls?: boolean | undefined;
  /** Makes the node a member of a cluster. */
  place?: ClusterPlace | undefined;
  /** The folder of the scripts of another RabbitMQ than that of all private nodes. */
  rabbitmq?: string | undefined;
}

/** A part of a node with queues, exchanges and rights of its own. */
export interface VirtualHost {
  readonly name: string;
  /** It as user guest. */
  readonly url: string;
}

/** Starts a RabbitMQ node of its own; resolves when it answers AMQP. */
export async function privateBroker(
  options: PrivateBrokerOptions = {},
): Promise<PrivateBroker> {
  const sbin = options.rabbitmq ?? findRabbitmq();
  if (!sbin) {
    throw new Error(
      "Cannot start a private broker: there is no RabbitMQ on this machine",
    );
  }
  const folder = await Deno.makeTempDir({ prefix: "warren-broker-" });
  const { tls = false, place, config = "", plugins } = options;
  const broker = new PrivateBroker(sbin, folder, tls, place);
  try {
    await broker.configure(config, plugins);
    await broker.start();
    return broker;
  } catch (error) {
    await broker[Symbol.asyncDispose]();
    throw error;
  }
}

/** A RabbitMQ node that belongs to one test. Made by {@linkcode privateBroker}. */
export class PrivateBroker implements AsyncDisposable {
  /** The node's AMQP port. */
  readonly port: number = freePort();
  /** The node as user guest. */
  readonly url: string = `amqp://${GUEST}:${this.port}`;
  /** The same with TLS, if that was asked for. */
  readonly tlsUrl: string | undefined;
  /** The authority's certificate (PEM) that a client of `tlsUrl` trusts. */
  ca: string | undefined;
  /** Where configuration, data and log are. */
  readonly folder: string;
  readonly #sbin: string;
  readonly #env: Record<string, string>;
  readonly #tlsPort: number | undefined;
  readonly #place: ClusterPlace | undefined;
  #node = 0;
  #frozen = false;
  #mapper = 0;

  /** @private Use {@linkcode privateBroker}. */
  constructor(
    sbin: string,
    folder: string,
    tls: boolean,
    place: ClusterPlace | undefined,
  ) {
    this.folder = folder;
    this.#sbin = sbin;
    this.#place = place;
    this.#env = environment(folder, this.port, sbin, place);
    this.#tlsPort = tls ? freePort() : undefined;
    this.tlsUrl = tls ? `amqps://${GUEST}:${this.#tlsPort}` : undefined;
  }

  /** Name of the node with its host, as rabbitmqctl prints it. */
  get name(): string {
    return `${this.#place?.node ?? "warren"}@localhost`;
  }

  /** How the other nodes of its cluster see the node. */
  get address(): NodeAddress {
    const port = Number(this.#env.RABBITMQ_DIST_PORT);
    return { source: this.#place?.source ?? "127.0.0.1", port };
  }

  /** True while the node was started, and neither ended nor frozen. */
  get isUp(): boolean {
    return this.#node !== 0 && !this.#frozen;
  }

  /** Freezes the node with SIGSTOP: its sockets stay open, and nothing answers. */
  freeze(): void {
    signal(this.pid, "SIGSTOP");
    this.#frozen = true;
  }

  /** Lets a frozen node go on. */
  thaw(): void {
    if (this.#frozen) signal(this.pid, "SIGCONT");
    this.#frozen = false;
  }

  /** The Erlang machine's process id: what `kill` kills. */
  get pid(): number {
    if (!this.#node) throw new Error("The broker is down");
    return this.#node;
  }

  /** @private Writes the files that the node reads. */
  async configure(
    config: string,
    plugins: readonly string[] = [],
  ): Promise<void> {
    await Deno.mkdir(`${this.folder}/conf.d`);
    if (this.#place) await this.#join(this.#place);
    await Deno.writeTextFile(
      `${this.folder}/enabled_plugins`,
      `[${plugins.join(",")}].\n`,
    );
    let text =
      "vm_memory_high_watermark.absolute = 800MB\ndisk_free_limit.absolute = 50MB\n";
    if (this.#tlsPort) {
      const { ca, cert, key } = await makeCertificates(this.folder);
      this.ca = await Deno.readTextFile(ca);
      text +=
        `listeners.ssl.1 = 127.0.0.1:${this.#tlsPort}\nssl_options.cacertfile = ${ca}\n` +
        `ssl_options.certfile = ${cert}\nssl_options.keyfile = ${key}\n` +
        "ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n";
    }
    await Deno.writeTextFile(
      `${this.folder}/rabbitmq.conf`,
      `${text}${config}\n`,
    );
  }

  /** Starts the node, again with the same ports and data; resolves when it answers AMQP. */
  async start(): Promise<void> {
    if (this.#node) return;
    const startsMapper = !this.#place ||
      this.#place.nodes[0] === this.#place.node;
    if (!this.#mapper && startsMapper) {
      this.#mapper = await this.#spawn("epmd", "-address", "127.0.0.1");
    }
    this.#node = await this.#spawn(`${this.#sbin}/rabbitmq-server`);
    const answers = () => {
      if (!isAlive(this.#node)) {
        throw new Error(`The broker ended at its start:\n${this.#log()}`);
      }
      return answersAmqp("127.0.0.1", this.port);
    };
    await until(`the broker in ${this.folder} answers`, answers, 120_000, 50);
    const port = this.#tlsPort;
    if (port) {
      await until("it listens for TLS, a moment later", () => isOpen(port));
    }
  }

  /** Runs rabbitmqctl on the node and returns what it prints. */
  async ctl(...args: string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command(
      `${this.#sbin}/rabbitmqctl`,
      {
        args,
        cwd: this.folder,
        clearEnv: true,
        env: this.#env,
        stdin: "null",
      },
    ).output();
    if (success) return new TextDecoder().decode(stdout);
    throw new Error(
      `rabbitmqctl ${args[0]} failed: ${new TextDecoder().decode(stderr)}`,
    );
  }

  /** Adds an empty virtual host, in which guest may do everything: it is sooner there than another node. */
  async addVirtualHost(): Promise<VirtualHost> {
    const name = `test-${crypto.randomUUID().slice(0, 8)}`;
    const all = '<<".*">>';
    await this.ctl(
      "eval",
      `ok = rabbit_vhost:add(<<"${name}">>, <<"guest">>), ` +
        "ok = rabbit_auth_backend_internal:set_permissions(" +
        `<<"guest">>, <<"${name}">>, ${all}, ${all}, ${all}, <<"guest">>).`,
    );
    return { name, url: `${this.url}/${name}` };
  }

  /** What the node has logged. */
  log(): Promise<string> {
    return Deno.readTextFile(`${this.folder}/log/${this.name}.log`);
  }

  /** Stops the node cleanly; resolves when its process is gone. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Kills the node with SIGKILL; resolves when its process is gone. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Ends the node and its port mapper and removes the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    if (this.#mapper) signal(this.#mapper, "SIGKILL");
    await until(
      "the port mapper is gone",
      () => !this.#mapper || !isAlive(this.#mapper),
    );
    this.#mapper = 0;
    await Deno.remove(this.folder, { recursive: true }).catch(unlessMissing);
  }

  async #end(name: Deno.Signal): Promise<void> {
    const pid = this.#node;
    if (!pid) return;
    signal(pid, name);
    if (name === "SIGKILL") signal(pid, "SIGCONT"); // a stopped process dies too, but says so late
    await until("the broker is gone", () => !isAlive(pid), 60_000);
    this.#node = 0;
    this.#frozen = false;
  }

  /** Writes the files with which nodes find each other when they start. */
  async #join({ nodes, cookie }: ClusterPlace): Promise<void> {
    const path = `${this.folder}/.erlang.cookie`;
    await Deno.writeTextFile(path, cookie, { mode: 0o400 });
    const listed = nodes.map((node, n) =>
      `cluster_formation.classic_config.nodes.${n + 1} = ${node}@localhost\n`
    );
    await Deno.writeTextFile(
      `${this.folder}/conf.d/cluster.conf`,
      "cluster_partition_handling = pause_minority\n" +
        "cluster_formation.peer_discovery_backend = classic_config\n" +
        listed.join(""),
    );
  }

  #spawn(...command: string[]): Promise<number> {
    return spawnGuarded({
      folder: this.folder,
      log: `${this.folder}/out.log`,
      env: this.#env,
      command,
    });
  }

  #log(): string {
    return Deno.readTextFileSync(`${this.folder}/out.log`).slice(-2_000);
  }
}

function unlessMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

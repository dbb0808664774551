/** Findings from facts; each function looks for one reason why calls fail or wait. @module */
import { isCompatible, parseVersion } from "../../contract/version.ts";
import type { ContractInfo } from "../../rpc/discovery/service_report.ts";
import type { Finding, FindingCode } from "./diagnosis.ts";
import type { Facts } from "./facts.ts";

type Data = Readonly<Record<string, unknown>>;
type Examine = (facts: Facts) => Finding | undefined;

const finding =
  (weight: Finding["weight"]) =>
  (code: FindingCode, text: string, data: Data = {}): Finding => ({
    ...{ code, weight, text, data },
  });
const reason = finding("reason");
const hint = finding("hint");

const targetOf = ({ target: { topic, host } }: Facts) =>
  host === undefined ? `topic ${topic}` : `topic ${topic} on host ${host}`;

const isUp = (state: string) => state === "up" || state === "blocked";

const disconnected: Examine = ({ health: { publishing, consuming } }) => {
  if (isUp(publishing.state) && isUp(consuming.state)) return undefined;
  return reason(
    "DISCONNECTED",
    `This process is not connected to the broker: the publishing connection is ${publishing.state}, the consuming one is ${consuming.state}. See its log for the reason.`,
    { publishing: publishing.state, consuming: consuming.state },
  );
};

const blocked: Examine = ({ health: { publishing } }) =>
  publishing.state === "blocked"
    ? reason(
      "BLOCKED",
      "The broker accepts no messages because of an alarm of its memory or its disk: requests wait until the alarm is over.",
      { since: publishing.since },
    )
    : undefined;

const queueUnavailable: Examine = ({ state, queue }) =>
  state?.unavailable === undefined ? undefined : reason(
    "QUEUE_UNAVAILABLE",
    `The broker does not tell the state of the queue ${queue}: ${state.unavailable}. If its node is down, requests wait until the node is back, or until another replica leads.`,
    { error: state.unavailable },
  );

const noQueue: Examine = (facts) =>
  facts.state || disconnected(facts) ? undefined : reason(
    "NO_QUEUE",
    `There is no queue ${facts.queue}: no worker has served ${
      targetOf(facts)
    } on this virtual host. Start a worker, or check the name and the virtual host.`,
  );

const noWorker: Examine = (facts) => {
  const { queue, state, services, oldest } = facts;
  if (state?.consumers !== 0) return undefined;
  const running = services.length > 0
    ? ` ${services.length} services of it answer, but do not consume: see their logs.`
    : "";
  const age = oldest === undefined
    ? ""
    : `, the first one for ${Math.round(oldest / 1_000)} s`;
  return reason(
    "NO_WORKER",
    `Nobody consumes the queue ${queue}: no worker of ${
      targetOf(facts)
    } runs.${running} ${state.messages} messages wait${age}.`,
    { waiting: state.messages, oldest, services: services.length },
  );
};

const paused: Examine = ({ pause, queue }) => {
  if (!pause) return undefined;
  const { reason: why = "no reason is recorded", by, since } = pause;
  const when = since === undefined
    ? ""
    : ` since ${new Date(since).toISOString()}`;
  const who = by === undefined
    ? ""
    : ` by ${by.user ?? "an unknown user"} on ${by.host}`;
  return reason(
    "PAUSED",
    `The queue ${queue} is paused${when}${who}: ${why}. Calls fail with PAUSED, and casts wait until it is resumed.`,
    { pause },
  );
};

const noAnswer: Examine = ({ queue, state, services, asked }) => {
  const silent = (state?.consumers ?? 0) - services.length;
  if (silent <= 0 || !asked) return undefined;
  return (services.length === 0 ? reason : hint)(
    "NO_ANSWER",
    `The queue ${queue} has ${state?.consumers} consumers, and ${services.length} services answer: the others have a blocked event loop, are stopped processes or other programs, or lost their connection a moment ago.`,
    { consumers: state?.consumers, answered: services.length },
  );
};

/** Returns the contracts of the target's topic and namespace that its services serve. */
const contractsOf = ({ target: { topic, namespace }, services }: Facts) =>
  services.flatMap(({ info }) => info?.contracts ?? []).filter((contract) =>
    contract.topic === topic && contract.namespace === namespace
  );

function isServed({ version }: ContractInfo, wanted = "1.0"): boolean {
  const [served, requested] = [parseVersion(version), parseVersion(wanted)];
  return served !== undefined && requested !== undefined &&
    isCompatible(served, requested);
}

const unsupportedVersion: Examine = (facts) => {
  const { target: { version, namespace } } = facts;
  if (version === undefined) return undefined;
  const contracts = contractsOf(facts);
  const known = facts.services.some(({ info }) => info !== undefined);
  if (!known || contracts.some((each) => isServed(each, version))) {
    return undefined;
  }
  const served = [...new Set(contracts.map(({ version }) => version))];
  const where = namespace === undefined ? "" : ` in namespace ${namespace}`;
  return reason(
    "UNSUPPORTED_VERSION",
    `No worker of ${
      targetOf(facts)
    } serves version ${version}${where}; served: ${
      served.join(", ") || "none"
    }. Deploy workers of this version first, or call a version that they serve.`,
    { version, served },
  );
};

const noSuchProcedure: Examine = (facts) => {
  const { procedure, target: { version } } = facts;
  const contracts = contractsOf(facts).filter((each) =>
    version === undefined || isServed(each, version)
  );
  if (procedure === undefined || contracts.length === 0) return undefined;
  if (
    contracts.some(({ procedures }) => Object.hasOwn(procedures, procedure))
  ) {
    return undefined;
  }
  const known = Object.keys(contracts[0]?.procedures ?? {});
  return reason(
    "NO_SUCH_PROCEDURE",
    `No worker of ${targetOf(facts)} has the procedure ${procedure}; it has: ${
      known.join(", ")
    }.`,
    { procedure, procedures: known },
  );
};

const full: Examine = (facts) => {
  const measured = facts.services.filter(({ info, stats }) => info && stats);
  const free = measured.filter(({ info, stats }) =>
    (stats?.active ?? 0) < (info?.concurrency ?? 0)
  );
  if (measured.length === 0 || free.length > 0) return undefined;
  const sum = (of: (each: typeof measured[number]) => number | undefined) =>
    measured.reduce((total, each) => total + (of(each) ?? 0), 0);
  const active = sum(({ stats }) => stats?.active);
  const concurrency = sum(({ info }) => info?.concurrency);
  return reason(
    "FULL",
    `All ${measured.length} workers of ${
      targetOf(facts)
    } are full: ${active} requests for ${concurrency} places. Further requests wait. Start more workers, raise concurrency, or look for what takes long.`,
    { active, concurrency, workers: measured.length },
  );
};

const longRunning: Examine = ({ services }) => {
  const handlers = services.flatMap(({ host, stats }) =>
    (stats?.longRunning.handlers ?? []).map((each) => ({ ...each, host }))
  );
  const [first] = handlers;
  return first && hint(
    "LONG_RUNNING",
    `${handlers.length} handlers run for longer than longRunning, the first one ${first.procedure} on ${first.host} for ${
      Math.round(first.ms / 1_000)
    } s.`,
    { handlers: handlers.slice(0, 10) },
  );
};

const eventLoopBlocked: Examine = ({ services }) => {
  const hosts = services.filter(({ stats }) => (stats?.blocked ?? 0) > 0)
    .map(({ host, stats }) => ({ host, times: stats?.blocked }));
  return hosts.length === 0 ? undefined : hint(
    "EVENT_LOOP_BLOCKED",
    `The event loops of ${hosts.length} workers have stood still for a second or longer since their start: ${
      hosts.slice(0, 5).map(({ host, times }) => `${host} (${times})`)
        .join(", ")
    }. A worker replies to nothing meanwhile; its log names the procedure.`,
    { hosts },
  );
};

const backlog: Examine = ({ queue, state }) =>
  state?.messages === undefined || state.messages === 0 ? undefined : hint(
    "BACKLOG",
    `${state.messages} messages wait in the queue ${queue}: a new request waits behind them.`,
    { waiting: state.messages },
  );

const beside = (
  kind: keyof Facts["beside"],
  code: FindingCode,
  tell: (messages: number, queue: string) => string,
): Examine =>
({ beside, queue }) => {
  const messages = beside[kind];
  return messages === 0
    ? undefined
    : hint(code, tell(messages, queue), { messages });
};

const quarantined = beside(
  "quarantine",
  "QUARANTINED",
  (messages, queue) =>
    `${messages} requests wait in ${queue}.quarantine, because workers did not finish them; workers run them one at a time.`,
);
const retrying = beside(
  "delay",
  "RETRYING",
  (messages) =>
    `${messages} casts have failed and wait for their next attempt.`,
);
const deadLetters = beside(
  "dead",
  "DEAD_LETTERS",
  (messages, queue) =>
    `${messages} messages in ${queue}.dead are not tried again; list them with deadLetters().`,
);

/** All examinations, in the order in which their findings matter. */
const EXAMINATIONS: readonly Examine[] = [
  ...[disconnected, blocked, queueUnavailable, noQueue, noWorker, paused],
  ...[noAnswer, unsupportedVersion, noSuchProcedure, full, longRunning],
  ...[eventLoopBlocked, quarantined, backlog, retrying, deadLetters],
];

/** Returns the findings of all examinations, the reasons first. */
export function findingsFrom(facts: Facts): Finding[] {
  const found = EXAMINATIONS.flatMap((examine) => examine(facts) ?? []);
  return [
    ...found.filter(({ weight }) => weight === "reason"),
    ...found.filter(({ weight }) => weight === "hint"),
  ];
}

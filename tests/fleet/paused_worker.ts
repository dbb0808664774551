/**
 * A worker process that an operator can pause: `paused_worker.ts <url> <host> <queue type>`. Prints `ready`, and `done <id>`. With
 * `--resume` it is the operator who resumes the queue, and prints `resumed`.
 */
import { createConnection, implement, operations, Service } from "../../mod.ts";
import { poisonable } from "./poison.ts";

const [url = "", host = "", type, flag] = Deno.args;
const queueType = type === "quorum" ? "quorum" : "classic";

if (flag === "--resume") {
  await using connection = await createConnection(url, { queueType });
  console.log("ready");
  await operations(connection).resume({ topic: poisonable.topic });
  console.log("resumed");
} else {
  const work = ({ id }: { id: number }) => console.log(`done ${id}`);
  await using service = await Service.start({
    ...{ url, host, queueType, remoteControl: true, reportInterval: 0 },
    consumerTimeout: 3_600_000, // no ledger is needed
    manager: implement(poisonable, { work, long: work }),
  });
  console.log("ready");
  await service.stopped;
}

/** A process that replays the dead letters of a topic, until it is killed: `replayer.ts <url> <topic>`. */
import { createConnection, operations } from "../../mod.ts";

const [url = "", topic = ""] = Deno.args;
await using connection = await createConnection(url);
const { replayed } = await operations(connection).replay(
  { topic },
  { perSecond: 80 },
);
console.log(replayed);

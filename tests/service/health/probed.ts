/**
 * A program that answers for health, and prints where. A line on its stdin makes it open files until the system refuses;
 * then it prints `full`. The next line makes it close them and print `free`.
 */
import { TextLineStream } from "../../fleet/lines.ts";
import { implement, Service } from "../../../mod.ts";
import { sumHandlers, sums } from "../../rpc/support.ts";

await using service = await Service.start({
  url: "memory:probed",
  host: "one",
  manager: implement(sums("probed"), sumHandlers()),
  healthPort: 0,
});
console.log(service.healthUrl);

function fill(files: Deno.FsFile[]): void {
  try {
    for (;;) files.push(Deno.openSync("/dev/null"));
  } catch {
    console.log("full");
  }
}

const files: Deno.FsFile[] = [];
const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
  .pipeThrough(new TextLineStream());
for await (const _ of lines) {
  if (files.length === 0) {
    fill(files);
    continue;
  }
  for (const file of files.splice(0)) file.close();
  console.log("free");
}

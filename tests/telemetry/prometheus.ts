/** Metrics as the parser of Prometheus's own Python client reads them. */
import assert from "node:assert/strict";
import { osloPython } from "../openstack/oslo.ts";

/** A sample that was read. */
export interface Sample {
  /** Name of the metric. */
  readonly family: string;
  /** Kind of the metric. */
  readonly type: string;
  /** Name of the value, e.g. with `_count`. */
  readonly name: string;
  /** Labels. */
  readonly labels: Readonly<Record<string, string>>;
  /** Value. */
  readonly value: number;
}

/** True where the parser can be had: it comes with oslo.messaging. */
export const hasParser: boolean = osloPython !== undefined;

const PROGRAM = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
print(json.dumps([
    {"family": family.name, "type": family.type, "name": sample.name,
     "labels": sample.labels, "value": sample.value}
    for family in text_string_to_metric_families(sys.stdin.read())
    for sample in family.samples]))
`;

/** Fetches metrics and parses them. */
export async function scrape(url: string): Promise<Sample[]> {
  const response = await fetch(`${url}/metrics`);
  assert.equal(response.status, 200);
  const type = response.headers.get("content-type");
  assert.equal(type, "text/plain; version=0.0.4; charset=utf-8");
  return await parse(await response.text());
}

/** Parses metrics. */
export async function parse(text: string): Promise<Sample[]> {
  const child = new Deno.Command(String(osloPython), {
    args: ["-c", PROGRAM],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Sum of the samples of a name whose labels have these values. */
export function total(
  samples: readonly Sample[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  return samples.filter((sample) =>
    sample.name === name &&
    Object.entries(labels).every(([label, value]) =>
      sample.labels[label] === value
    )
  ).reduce((sum, { value }) => sum + value, 0);
}

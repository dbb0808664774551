/** The chart of tests/README.md: bars for each peer, a group for each workload, as parts of the group's longest. */
import { rates } from "./goals.ts";
import type { PeerPlan } from "./peers.ts";
import type { Measured } from "./rounds.ts";
import { median } from "./statistics.ts";

const WIDTH = 760;
const LEFT = 170;
const RIGHT = 90;
const BAR = 14;
const GAP = 4;
const HEAD = 30;

const escape = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function colour({ name, kind }: PeerPlan): string {
  if (kind === "Warren") return name === "Warren" ? "#2f6f4f" : "#6fa886";
  return kind === "framework" ? "#c08a3e" : "#8a94a6";
}

/** An SVG of the rates of some workloads. */
export function chart(
  { results }: Measured,
  peers: readonly PeerPlan[],
  workloads: readonly string[],
  caption: string,
): string {
  const parts: string[] = [];
  let y = 44;
  for (const workload of workloads) {
    const bars = peers.flatMap((peer) => {
      const rate = median(rates(results.get(peer.name)?.get(workload) ?? []));
      return Number.isNaN(rate) ? [] : [{ peer, rate }];
    }).sort((a, b) => b.rate - a.rate);
    const most = bars[0]?.rate ?? 1;
    parts.push(
      `<text x="${LEFT}" y="${y}" class="h">${
        escape(workload)
      }, a second</text>`,
    );
    y += 8;
    for (const { peer, rate } of bars) {
      const long = (WIDTH - LEFT - RIGHT) * rate / most;
      const [name, number] = [
        escape(peer.name),
        Math.round(rate).toLocaleString("en"),
      ];
      parts.push(
        `<text x="${LEFT - 8}" y="${y + 11}" class="n">${name}</text>`,
        `<rect x="${LEFT}" y="${y}" width="${
          long.toFixed(1)
        }" height="${BAR}" fill="${colour(peer)}"/>`,
        `<text x="${(LEFT + long + 6).toFixed(1)}" y="${
          y + 11
        }">${number}</text>`,
      );
      y += BAR + GAP;
    }
    y += HEAD;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}">
<style>text{font:12px system-ui,sans-serif;fill:#333}.h{font-weight:600}.n{text-anchor:end}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="12" y="20">${escape(caption)}</text>
${parts.join("\n")}
</svg>
`;
}

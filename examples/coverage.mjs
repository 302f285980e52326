/**
 * Which distances between tokens E²-LLM shows in training: the table and the figure of docs/e2llm.md.
 *
 *     npm run build && node examples/coverage.mjs docs/figures/coverage.svg
 *
 * A row for each scale g′ of reading. From left to right the distances k/g′ between two tokens past the sinks, 0 to L; the darker, the more of
 * the distances around there occur exactly in training.
 */
import { writeFile } from "node:fs/promises";
import { bodyDistanceCoverage, coveredBodyDistances } from "dawngrad";

const [window, gMax] = [64, 8];
const scales = [1, 2, 3, 4, 6, 8, 12, 16];
const percent = (share) => `${(100 * share).toFixed(1)} %`;

console.log(`L = R = ${window}, G = ${gMax}, four sinks`);
console.log("scale g′   of the distances   of the pairs");
for (const scale of scales) {
  const { distinct, pairs } = bodyDistanceCoverage({ window, gMax, scale });
  console.log(`${String(scale).padStart(8)}   ${percent(distinct).padStart(16)}   ${percent(pairs).padStart(12)}`);
}

const bins = 64;
const [left, top, width, row] = [70, 34, 560, 22];
const shade = (share) => (share === 0 ? "none" : `rgba(31, 119, 180, ${(0.08 + 0.92 * share).toFixed(2)})`);

/** The share of the distances in each bin that are covered. */
function shares(scale) {
  const covered = coveredBodyDistances({ window, gMax, scale });
  const [found, all] = [new Float64Array(bins), new Float64Array(bins)];
  for (let k = 1; k < covered.length; k++) {
    const bin = Math.floor((k * bins) / covered.length);
    found[bin] += covered[k];
    all[bin]++;
  }
  return Array.from(found, (count, bin) => (all[bin] === 0 ? 0 : count / all[bin]));
}

const rows = scales.map((scale, i) => {
  const y = top + i * row;
  const cells = shares(scale).map((share, bin) => {
    const x = left + (bin * width) / bins;
    return `<rect x="${x.toFixed(2)}" y="${y}" width="${(width / bins).toFixed(2)}" height="${row - 4}" fill="${shade(share)}"/>`;
  });
  const label = `<text x="${left - 8}" y="${y + row - 9}" text-anchor="end">g′ = ${scale}</text>`;
  const total = percent(bodyDistanceCoverage({ window, gMax, scale }).distinct);
  return `${label}${cells.join("")}<text x="${left + width + 8}" y="${y + row - 9}">${total}</text>`;
});
const bottom = top + scales.length * row;
const ticks = [0, 16, 32, 48, 64].map(
  (distance) => `<text x="${left + (distance / window) * width}" y="${bottom + 14}" text-anchor="middle">${distance}</text>`,
);
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="700" height="${bottom + 40}" font-family="sans-serif" font-size="12">
<title>Distances between tokens that E²-LLM shows in training</title>
<rect width="100%" height="100%" fill="white"/>
<text x="${left}" y="18" font-weight="bold">Distances that occur exactly in training (L = R = ${window}, G = ${gMax})</text>
${rows.join("\n")}
${ticks.join("")}
<text x="${left + width / 2}" y="${bottom + 32}" text-anchor="middle">distance between two tokens past the sinks, at scale g′</text>
</svg>
`;
const file = process.argv[2];
if (file !== undefined) await writeFile(file, svg);

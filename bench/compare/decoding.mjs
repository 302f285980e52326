// Reading prompts and decoding beside llama.cpp, by models of the shape of SmolLM2-135M with random weights that are made on the spot.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { median } from "../shared/case.mjs";
import { fillings } from "../shared/decoding.mjs";
import { summary } from "./rounds.mjs";
import { runScript } from "./run-script.mjs";
import { digits, spread, table } from "./table.mjs";

const dtypes = { webgpu: ["f32"], others: ["f32", "bf16"] };
const modelScript = fileURLToPath(new URL("../dawngrad/decoding-models.mjs", import.meta.url));

/** A size for each dtype of the weights, whose models lie in `folder`. */
export function decodingSizes({ weights, backend, fillings: lengths = fillings.join() }, folder) {
  const all = weights?.split(",") ?? dtypes[backend] ?? dtypes.others;
  for (const dtype of all) if (!["f32", "f16", "bf16"].includes(dtype)) throw new Error(`--weights ${dtype}: there are f32, f16, bf16`);
  return all.map((dtype) => ({
    label: `${dtype} weights`,
    dtype,
    argumentsFor: () => ["--model", join(folder, `${dtype}.gguf`), "--fillings", lengths],
    apart: () => true,
  }));
}

/** A folder for models, what makes those that are not there, and what removes it afterwards, unless the user named it. */
export function modelFolder({ models }) {
  const folder = models ?? mkdtempSync(join(tmpdir(), "dawngrad-models-"));
  return {
    folder,
    async make(sizes) {
      const missing = sizes.map(({ dtype }) => dtype).filter((dtype) => !existsSync(join(folder, `${dtype}.gguf`)));
      if (missing.length > 0) await runScript([process.execPath, modelScript, folder, missing.join()]);
    },
    remove: () => models === undefined && rmSync(folder, { recursive: true, force: true }),
  };
}

/** Tokens that two texts have in common at their beginnings. */
function sameTokens(one, other) {
  const place = one.findIndex((token, i) => token !== other[i]);
  return place < 0 ? one.length : place;
}

/** Per dtype of the weights: tokens per second of prompts and of decoding, and bytes of weights per second beside those of a memcpy. */
export function decodingReport(measured) {
  const parts = measured.map(({ size, outcomes }) => partOf(size, outcomes));
  return { results: { rows: parts.map(({ result }) => result), agree: parts.every(({ result }) => result.agree) }, text: text(parts) };
}

const text = (parts) => parts.map(({ lines }) => lines.join("\n")).join("\n\n");

function partOf({ dtype, label }, outcomes) {
  const ran = outcomes.filter(({ failure }) => !failure);
  const base = ran.find(({ name }) => name.startsWith("dawngrad"))?.results;
  const libraries = ran.map(({ name, results: rounds }) => {
    const cases = Object.keys(rounds[0].cases).map((kind) => {
      const milliseconds = summary(rounds.map((round) => round.cases[kind]));
      /** Rounds are side by side: how often dawngrad's time. */
      const ratios = base?.flatMap((own, i) => (rounds[i] ? [median(rounds[i].cases[kind]) / median(own.cases[kind])] : []));
      return { kind, length: Number(kind.split(" ")[1]), milliseconds, timeOfDawngrad: ratios?.length ? median(ratios) : undefined };
    });
    const first = base?.[0].texts ?? {};
    const equal = Object.entries(first).map(([length, tokens]) => sameTokens(tokens, rounds[0].texts[length]));
    return { name, cases, equal, peakBytes: median(rounds.map(({ peakBytes }) => peakBytes)) };
  });
  const weightBytes = base?.[0].weightBytes;
  const rows = libraries.flatMap(({ name, cases, peakBytes }) =>
    cases.map(({ kind, length, milliseconds, timeOfDawngrad }) => {
      const tokens = kind.startsWith("prefill") ? length : 1;
      return [
        `${kind}, ${name}`,
        spread(milliseconds),
        digits(milliseconds.best),
        digits((tokens / milliseconds.median) * 1e3),
        timeOfDawngrad === undefined ? "" : digits(timeOfDawngrad),
        tokens > 1 || weightBytes === undefined ? "" : digits(weightBytes / milliseconds.median / 1e6),
        (peakBytes / 2 ** 20).toFixed(0),
      ];
    }),
  );
  const order = (kind) => Object.keys(base?.[0].cases ?? {}).indexOf(kind);
  rows.sort(([a], [b]) => order(a.split(",")[0]) - order(b.split(",")[0]));
  const head = [label, "ms", "best, ms", "tokens/s", "time/dawngrad", "weights, GB/s", "peak MiB"];
  const lines = [table(head, rows)];
  const copy = base?.map(({ copies, copiedBytes }) => copiedBytes / median(copies) / 1e6);
  if (copy) lines.push(`memcpy on as many threads: ${digits(median(copy))} GB/s, read and written`);
  const others = libraries.filter(({ name }) => !name.startsWith("dawngrad"));
  for (const { name, equal } of others)
    lines.push(`greedy tokens that are dawngrad's before the first other one, ${name}: ${equal.join(", ")}`);
  for (const { name, failure } of outcomes) if (failure) lines.push(`– ${name}: ${failure}`);
  const agree = others.every(({ equal }) => equal.every((count) => count > 0));
  return { result: { dtype, weightBytes, memcpy: copy && median(copy), libraries, agree }, lines };
}

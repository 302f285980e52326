// A step of LoRA beside PyTorch with PEFT: time, time of all processors together, memory, and whether the losses are the same.
import { median } from "../shared/case.mjs";
import { summary } from "./rounds.mjs";
import { agreement, differenceOfLosses } from "./side-by-side.mjs";
import { digits, spread, table } from "./table.mjs";

export function loraReport([{ outcomes }]) {
  const libraries = outcomes
    .filter(({ failure }) => !failure)
    .map(({ name, results: rounds }) => ({
      name,
      milliseconds: summary(rounds.map(({ cases }) => cases.step)),
      processor: summary(rounds.map(({ cases }) => cases.processor)),
      peakBytes: median(rounds.map(({ peakBytes }) => peakBytes)),
      losses: rounds[0].losses,
    }));
  const base = libraries.find(({ name }) => name.startsWith("dawngrad"));
  const against = (value, of) => (of ? digits(value.median / of.median) : "");
  const rows = libraries.map(({ name, milliseconds, processor, peakBytes }) => [
    name,
    spread(milliseconds),
    against(milliseconds, base?.milliseconds),
    digits(processor.median),
    against(processor, base?.processor),
    (peakBytes / 2 ** 20).toFixed(0),
  ]);
  const lossDifference = differenceOfLosses(libraries);
  const { agree, line } = agreement(lossDifference);
  const failures = outcomes.filter(({ failure }) => failure).map(({ name, failure }) => `– ${name}: ${failure}`);
  const head = ["LoRA step", "ms", "time/dawngrad", "processor, ms", "processor/dawngrad", "peak MiB"];
  return { results: { libraries, lossDifference, agree }, text: [table([...head], rows), line, ...failures].join("\n") };
}

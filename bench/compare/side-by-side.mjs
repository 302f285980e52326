// The two workloads that every library is measured on.
import { comparedSteps, stepTokens } from "../shared/llama.mjs";
import { summary } from "./rounds.mjs";
import { digits, spread, table } from "./table.mjs";

/** Losses of the first steps may differ by so much between libraries. */
export const lossTolerance = 1e-4;

/** The largest difference between libraries of any loss that all of them have. */
export function differenceOfLosses(libraries) {
  const common = Math.min(...libraries.map(({ losses }) => losses.length));
  const columns = Array.from({ length: libraries.length === 0 ? 0 : common }, (_, i) => libraries.map(({ losses }) => losses[i]));
  return Math.max(0, ...columns.map((column) => Math.max(...column) - Math.min(...column)));
}

/** That difference as a line of text, and whether it is small enough. */
export function agreement(lossDifference) {
  const agree = lossDifference <= lossTolerance;
  const verdict = `${agree ? "" : "MORE THAN "}${lossTolerance} is allowed`;
  return { agree, line: `largest difference of losses: ${lossDifference.toExponential(1)} (${verdict})` };
}

const against = (value, base) => (base ? digits(value.median / base.median) : "");

/** Per matrix size and library: milliseconds, GFLOP/s and time relative to dawngrad's. */
export function matmulReport([{ outcomes }]) {
  const names = new Set(outcomes.flatMap(({ results }) => results.flatMap(({ cases }) => Object.keys(cases))));
  const results = [...names].map((name) => {
    const side = Number.parseInt(name.slice("matmul ".length), 10);
    const libraries = outcomes
      .filter(({ failure }) => !failure)
      .map((outcome) => ({ name: outcome.name, milliseconds: summary(outcome.results.map(({ cases }) => cases[name])) }));
    return { name, floatingPointOperations: 2 * side ** 3, libraries };
  });
  const text = results.map(({ name, floatingPointOperations, libraries }) => {
    const base = libraries.find((library) => library.name === "dawngrad")?.milliseconds;
    const rows = libraries.map((library) => [
      library.name,
      spread(library.milliseconds),
      digits(library.milliseconds.best),
      digits(floatingPointOperations / library.milliseconds.median / 1e6),
      against(library.milliseconds, base),
    ]);
    return table([name, "ms", "best, ms", "GFLOP/s", "time/dawngrad"], rows);
  });
  return { results, text: text.join("\n\n") };
}

/** Per library: milliseconds of a step and of the first one, tokens per second, and whether the losses are the same. */
export function stepReport([{ outcomes }]) {
  const libraries = outcomes
    .filter(({ failure }) => !failure)
    .map(({ name, results }) => ({
      name,
      milliseconds: summary(results.map(({ cases }) => cases.step)),
      first: summary(results.map(({ first }) => [first])),
      losses: results[0].losses,
    }));
  const base = libraries.find((library) => library.name === "dawngrad")?.milliseconds;
  const rows = libraries.map(({ name, milliseconds, first }) => [
    name,
    spread(milliseconds),
    digits(milliseconds.best),
    digits(stepTokens / milliseconds.median),
    against(milliseconds, base),
    digits(first.median),
  ]);
  const steps = Array.from({ length: comparedSteps }, (_, i) => i);
  const lossRows = libraries.map(({ name, losses }) => [name, ...steps.map((i) => losses[i]?.toFixed(6) ?? "")]);
  const lossDifference = differenceOfLosses(libraries);
  const { agree, line } = agreement(lossDifference);
  const text = [
    table(["training step", "ms", "best, ms", "ktokens/s", "time/dawngrad", "first step, ms"], rows),
    table(["loss of step", ...steps.map((i) => String(i + 1))], lossRows),
    line,
  ];
  return { results: { libraries, lossDifference, agree }, text: text.join("\n\n") };
}

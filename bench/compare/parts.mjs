// Attention and the language model's head by themselves, beside the rate of the product 1024³ in the same process.
import { median } from "../shared/case.mjs";
import { attentionShape, causalPairs, headShape } from "../shared/llama.mjs";
import { summary } from "./rounds.mjs";
import { digits, spread, table } from "./table.mjs";

/** Floating-point operations that causal attention needs: two products forward, five backward, over pairs that are seen. */
export function attentionOperations({ heads, length, headDim }) {
  const product = 2 * headDim * causalPairs(length) * heads;
  return { forward: 2 * product, backward: 5 * product };
}

/** What could not run, a line for each. */
const failures = (outcomes) => outcomes.filter(({ failure }) => failure).map(({ name, failure }) => `– ${name}: ${failure}`);
const mebibytes = (bytes) => (bytes / 2 ** 20).toFixed(0);
const peak = (rounds) => median(rounds.map(({ peakBytes }) => peakBytes));
/** GFLOP/s of the product 1024³ in a round. */
const squareRate = ({ cases, squareOperations }) => squareOperations / median(cases.square) / 1e6;

/**
 * Milliseconds of attention forward and backward, rates that count needed operations alone, and for dawngrad those rates as fractions of
 * that of 1024³. The backward pass is what forward and gradients together take more than forward alone.
 */
export function attentionReport([{ outcomes }]) {
  const operations = attentionOperations(attentionShape);
  const results = outcomes
    .filter(({ failure }) => !failure)
    .map(({ name, results: rounds }) => {
      const backward = ({ cases }) => median(cases.both) - median(cases.forward);
      const passes = {
        forward: rounds.map(({ cases }) => median(cases.forward)),
        backward: rounds.map(backward),
      };
      const found = { name, peakBytes: peak(rounds) };
      for (const [pass, milliseconds] of Object.entries(passes)) {
        found[pass] = { milliseconds: median(milliseconds), gigaflops: operations[pass] / median(milliseconds) / 1e6 };
        if (!rounds[0].cases.square) continue;
        found[pass].fraction = median(rounds.map((round, i) => operations[pass] / milliseconds[i] / 1e6 / squareRate(round)));
      }
      return found;
    });
  const rows = results.map(({ name, forward, backward, peakBytes }) => [
    name,
    ...[forward, backward].flatMap(({ milliseconds, gigaflops, fraction }) => [
      digits(milliseconds),
      digits(gigaflops),
      fraction === undefined ? "" : fraction.toFixed(2),
    ]),
    mebibytes(peakBytes),
  ]);
  const { heads, length, headDim } = attentionShape;
  const head = ["forward, ms", "GFLOP/s", "rate/1024³", "backward, ms", "GFLOP/s", "rate/1024³", "peak MiB"];
  const title = `causal attention, B·H = ${heads}, T = ${length}, D = ${headDim}`;
  return { results: { operations, libraries: results }, text: [table([title, ...head], rows), ...failures(outcomes)].join("\n") };
}

/** For each T how often the time of the kernels attention takes when it is written out. */
export function definitionReport([{ outcomes }]) {
  const [{ name, results: rounds, failure }] = outcomes;
  if (failure) return { results: [], text: failures(outcomes).join("\n") };
  const results = rounds[0].lengths.map(({ length }, i) => {
    const of = (kind) => rounds.map((round) => median(round.lengths[i].milliseconds[kind]));
    const ratio = (pass) => {
      const [kernels, written] = [of(`call ${pass}`), of(`written ${pass}`)];
      return {
        milliseconds: median(kernels),
        written: median(written),
        ratio: median(kernels.map((time, round) => written[round] / time)),
      };
    };
    return { length, forward: ratio("forward"), both: ratio("both") };
  });
  const rows = results.map(({ length, forward, both }) => [
    `T = ${length}`,
    ...[forward, both].flatMap(({ milliseconds, written, ratio }) => [digits(milliseconds), digits(written), digits(ratio)]),
  ]);
  const head = ["forward, ms", "written out", "ratio", "with gradients, ms", "written out", "ratio"];
  return { results, text: table([`attention of ${name}`, ...head], rows) };
}

/** The loss of a linear head with both gradients: beside three products at the rate of 1024³, and its memory. */
export function headReport([{ outcomes }]) {
  const { tokens: N, width: C, vocabulary: V } = headShape;
  const products = 3 * 2 * N * C * V;
  const results = outcomes
    .filter(({ failure }) => !failure)
    .map(({ name, results: rounds }) => {
      const found = {
        name,
        milliseconds: summary(rounds.map(({ cases }) => cases.head)),
        peakBytes: peak(rounds),
        loss: rounds[0].losses[0],
      };
      if (rounds[0].cases.square) {
        const ratio = (round) => median(round.cases.head) / (products / squareRate(round) / 1e6);
        Object.assign(found, { timeOfProducts: median(rounds.map(ratio)), extraBytes: median(rounds.map(({ extraBytes }) => extraBytes)) });
      }
      return found;
    });
  const rows = results.map(({ name, milliseconds, peakBytes, timeOfProducts, extraBytes, loss }) => [
    name,
    spread(milliseconds),
    timeOfProducts === undefined ? "" : digits(timeOfProducts),
    extraBytes === undefined ? "" : mebibytes(extraBytes),
    mebibytes(peakBytes),
    loss.toFixed(4),
  ]);
  const head = ["ms", "time/3 products", "extra MiB", "peak MiB", "loss"];
  const title = `head and loss, N = ${N}, C = ${C}, V = ${V}`;
  return { results: { products, libraries: results }, text: [table([title, ...head], rows), ...failures(outcomes)].join("\n") };
}

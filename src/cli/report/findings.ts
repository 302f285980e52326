import { scheduleLabel, variantLabel } from "../labels.js";
import { ledgerContexts, ledgerSeries } from "../ledger-table.js";
import type { DemoResults, Variant } from "../results.js";
import { contextsOf, type Series, seriesOf } from "../table.js";

/** Nats by which a loss may rise from L to g·L and still be called flat. */
export const flatTolerance = 0.25;
/** Nats of rise from which a loss is said to blow up. */
export const blowUp = 0.5;
/** Differences below this many nats are called a tie: comparisons are paired, but one seed and some thousand bytes prove no more. */
export const tie = 0.01;

/** What one paragraph of the report says. */
export interface Finding {
  readonly topic: "base" | "flat" | "reach" | "truncation" | "alternatives" | "bound" | "price" | "ledger" | "limits";
  /** Whether the numbers speak for E²-LLM, against it, or neither. */
  readonly verdict: "for" | "against" | "neutral";
  readonly text: string;
}

/** Reads the table and says, one sentence or two each, what it shows and what it does not. Every number in the text is from `results`. */
export function findings(results: DemoResults): Finding[] {
  const found = [
    baseWithoutScaling(results),
    flatness(results),
    reachBeyondBase(results),
    truncation(results),
    alternatives(results),
    upperBound(results),
    price(results),
    ledger(results),
    limits(results),
  ];
  return found.filter((finding) => finding !== undefined);
}

/** E² at the scale that a user gets by default for a context: g = max(1, ceil(context / L)); else the smallest measured one that covers it. */
export function e2Covering(results: DemoResults, context: number): { readonly scale: number; readonly nats: number } | undefined {
  const needed = Math.max(1, Math.ceil(context / results.window));
  return results.rows
    .filter((row) => row.variant === "e2" && row.context === context && row.scale >= needed)
    .sort((a, b) => a.scale - b.scale)[0];
}

function natsOf(results: DemoResults, variant: Variant, schedule: string, context: number): number | undefined {
  return results.rows.find((row) => row.variant === variant && row.schedule === schedule && row.context === context)?.nats;
}

function baseWithoutScaling(results: DemoResults): Finding | undefined {
  const atL = natsOf(results, "base", "none", results.window);
  const longer = contextsOf(results).filter((context) => context > results.window);
  const points = longer.flatMap((context) => {
    const nats = natsOf(results, "base", "none", context);
    return nats === undefined ? [] : [{ context, nats }];
  });
  const last = points.at(-1);
  if (atL === undefined || last === undefined) return undefined;
  const first = points.find(({ nats }) => nats - atL >= blowUp);
  if (first === undefined) {
    const worst = Math.max(...points.map(({ nats }) => nats - atL));
    return {
      topic: "base",
      verdict: "neutral",
      text:
        `Without scaling the base model does not break down here: from ${results.window} to ${last.context} bytes its loss changes by at most ` +
        `${signed(worst)} nats per byte. That leaves a length extension little to repair.`,
    };
  }
  return {
    topic: "base",
    verdict: "neutral",
    text:
      `Without scaling the base model breaks down past its window of ${results.window} bytes: ${fixed(atL)} nats per byte at ${results.window}, ` +
      `${fixed(first.nats)} at ${first.context}${last.context === first.context ? "" : `, ${fixed(last.nats)} at ${last.context}`}.`,
  };
}

/** The E² series with its rise inside and past g·L, both relative to its own loss at L. */
export function e2Flatness(results: DemoResults): { scale: number; inside: number | undefined; past: number | undefined }[] {
  return seriesOf(results)
    .filter((series) => series.variant === "e2")
    .flatMap((series) => {
      const { scale, nats } = series;
      const atL = nats.get(results.window);
      if (scale === undefined || atL === undefined) return [];
      const rise = (keep: (context: number) => boolean): number | undefined => {
        const rises = [...nats].filter(([context]) => context > results.window && keep(context)).map(([, loss]) => loss - atL);
        return rises.length === 0 ? undefined : Math.max(...rises);
      };
      const reach = scale * results.window;
      return { scale, inside: rise((context) => context <= reach), past: rise((context) => context > reach) };
    });
}

function flatness(results: DemoResults): Finding | undefined {
  const inside = e2Flatness(results).flatMap(({ scale, inside: rise }) => (rise === undefined ? [] : [{ scale, rise }]));
  if (inside.length === 0) return undefined;
  const broken = inside.filter(({ rise }) => rise > flatTolerance);
  const worst = Math.max(...inside.map(({ rise }) => rise));
  const past = e2Flatness(results).flatMap(({ scale, past: rise }) => (rise === undefined ? [] : [{ scale, rise }]));
  const cliffs = past.filter(({ rise }) => rise >= blowUp);
  const cliff =
    cliffs.length === 0
      ? ""
      : cliffs.length === past.length
        ? ` Past g·L it breaks down (${list(cliffs.map(({ scale, rise }) => `${signed(rise)} at g = ${scale}`))}): the scale sets how far the model can read.`
        : ` Past g·L it breaks down at g = ${list(cliffs.map(({ scale }) => String(scale)))} only.`;
  if (broken.length === 0) {
    return {
      topic: "flat",
      verdict: "for",
      text: `E² holds up to g·L: at every scale above 1 its loss rises by at most ${signed(worst)} nats per byte from L to g·L (limit ${flatTolerance}).${cliff}`,
    };
  }
  const held = inside.filter(({ rise }) => rise <= flatTolerance);
  const also = held.length === 0 ? "No scale holds." : `It holds at g = ${list(held.map(({ scale }) => String(scale)))}.`;
  return {
    topic: "flat",
    verdict: "against",
    text:
      `E² does not stay flat up to g·L: ${list(broken.map(({ scale, rise }) => `at g = ${scale} its loss rises by ${fixed(rise)}`))} nats per byte ` +
      `(limit ${flatTolerance}). ${also}${cliff}`,
  };
}

function reachBeyondBase(results: DemoResults): Finding | undefined {
  const compared = contextsOf(results)
    .filter((context) => context > results.window)
    .flatMap((context) => {
      const base = natsOf(results, "base", "none", context);
      const e2 = e2Covering(results, context);
      return base === undefined || e2 === undefined ? [] : [{ context, gain: base - e2.nats }];
    });
  if (compared.length === 0) return undefined;
  const worse = compared.filter(({ gain }) => gain <= tie);
  const show = (items: typeof compared): string => list(items.map(({ context, gain }) => `${fixed(gain)} at ${context} bytes`));
  if (worse.length === 0) {
    return {
      topic: "reach",
      verdict: "for",
      text: `E², at the scale that covers the context, is better than the unscaled base model by ${show(compared)} (nats per byte).`,
    };
  }
  const contexts = list(worse.map(({ context }) => String(context)));
  const better = compared.filter(({ gain }) => gain > tie);
  return {
    topic: "reach",
    verdict: "against",
    text:
      `E² does not beat the unscaled base model at ${contexts} bytes` +
      `${better.length === 0 ? "." : `; it is better by ${show(better)} (nats per byte).`}`,
  };
}

/** Series that, at some context past L, are below the truncation baseline of their own variant; the largest gain of each. */
export function truncationWinners(results: DemoResults): { series: Series; context: number; gain: number }[] {
  return seriesOf(results)
    .filter(({ variant }) => variant !== "full")
    .flatMap((series) => {
      const gains = [...series.nats]
        .filter(([context]) => context > results.window)
        .map(([context, nats]) => ({ series, context, gain: (results.truncation[series.variant] ?? nats) - nats }))
        .sort((a, b) => b.gain - a.gain);
      const best = gains[0];
      return best !== undefined && best.gain > tie ? [best] : [];
    })
    .sort((a, b) => b.gain - a.gain);
}

function truncation(results: DemoResults): Finding | undefined {
  const longer = contextsOf(results).filter((context) => context > results.window);
  if (longer.length === 0) return undefined;
  const winners = truncationWinners(results);
  const best = (["base", "plain", "e2"] as const)
    .map((variant) => ({ variant, nats: results.truncation[variant] }))
    .sort((a, b) => a.nats - b.nats)[0];
  const lowest = results.rows.filter((row) => row.context > results.window && row.variant !== "full").sort((a, b) => a.nats - b.nats)[0];
  if (best === undefined || lowest === undefined) return undefined;
  if (winners.length === 0) {
    return {
      topic: "truncation",
      verdict: "against",
      text:
        `No variant beats its own truncation baseline: reading more than the last ${results.window} bytes never helps by more than ${tie} nats. ` +
        `So nothing here shows that long context is used, only how much harm it does. The simplest policy, to read the last ` +
        `${results.window} bytes with the ${variantLabel(best.variant)} model, gives ${fixed(best.nats)}; the best loss with a longer context is ` +
        `${fixed(lowest.nats)}.`,
    };
  }
  const shown = winners.slice(0, 4).map(({ series, context, gain }) => `${series.label} by ${fixed(gain)} at ${context} bytes`);
  const e2Wins = winners.some(({ series }) => series.variant === "e2");
  const overall =
    lowest.nats < best.nats - tie
      ? `The best loss with a longer context, ${fixed(lowest.nats)}, is also below the best truncation baseline, ${fixed(best.nats)} (${variantLabel(best.variant)}).`
      : `Yet none is better than to read the last ${results.window} bytes with the ${variantLabel(best.variant)} model (${fixed(best.nats)}; best loss with a longer context: ${fixed(lowest.nats)}).`;
  return {
    topic: "truncation",
    verdict: e2Wins ? "for" : "against",
    text:
      `Below their own truncation baseline, so reading more than ${results.window} bytes helps them: ${list(shown)}. ` +
      `${e2Wins ? "" : "E² is not among them: it gains nothing from the longer context. "}${overall}`,
  };
}

/** E² at the covering scale against the best other way to read each longer context. */
export function againstAlternatives(
  results: DemoResults,
): { context: number; e2: number; other: { variant: Variant; schedule: string; nats: number } }[] {
  return contextsOf(results)
    .filter((context) => context > results.window)
    .flatMap((context) => {
      const e2 = e2Covering(results, context);
      const other = results.rows
        .filter((row) => row.context === context && (row.variant === "base" || row.variant === "plain"))
        .sort((a, b) => a.nats - b.nats)[0];
      return e2 === undefined || other === undefined ? [] : [{ context, e2: e2.nats, other }];
    });
}

function alternatives(results: DemoResults): Finding | undefined {
  const compared = againstAlternatives(results);
  if (compared.length === 0) return undefined;
  const show = ({ context, e2, other }: (typeof compared)[number]): string =>
    `${context} bytes (${fixed(e2)} against ${fixed(other.nats)}, ${variantLabel(other.variant)} with ${scheduleLabel(other.schedule)})`;
  const wins = compared.filter(({ e2, other }) => e2 < other.nats - tie);
  const losses = compared.filter(({ e2, other }) => e2 > other.nats + tie);
  const ties = compared.filter(({ e2, other }) => Math.abs(e2 - other.nats) <= tie);
  const parts = [
    losses.length === 0 ? "" : `E² is worse than the best other method at ${list(losses.map(show))}.`,
    wins.length === 0 ? "" : `E² is better than every other method at ${list(wins.map(show))}.`,
    ties.length === 0 ? "" : `They tie at ${list(ties.map(show))}.`,
  ].filter((part) => part !== "");
  const plainYarn = compared.filter(({ context, e2 }) => {
    const yarn = natsOf(results, "plain", "yarn", context);
    return yarn !== undefined && yarn < e2 - tie;
  });
  if (plainYarn.length > 0) {
    const contexts = list(plainYarn.map(({ context }) => String(context)));
    parts.push(`The same number of plain steps and YaRN when reading, which trains nothing about length, beats E² at ${contexts} bytes.`);
  }
  const verdict = losses.length > 0 ? "against" : wins.length > 0 ? "for" : "neutral";
  return { topic: "alternatives", verdict, text: parts.join(" ") };
}

/** What the same steps on long sequences give: the line that no training on short ones is expected to pass. */
function upperBound(results: DemoResults): Finding | undefined {
  const context = Math.max(...results.rows.filter(({ variant }) => variant === "full").map((row) => row.context));
  const full = natsOf(results, "full", "none", context);
  const e2 = e2Covering(results, context);
  if (full === undefined || e2 === undefined) return undefined;
  const { base, plain, e2: extended } = results.truncation;
  const best = Math.min(base, plain, extended);
  const worth =
    full < best - tie
      ? `Context beyond ${results.window} bytes is worth something here: `
      : `Context beyond ${results.window} bytes is worth nothing here to a model of this size, so that no method could show a use of it: `;
  return {
    topic: "bound",
    verdict: "neutral",
    text:
      `${worth}as many steps on sequences of ${context} bytes give ${fixed(full)} nats per byte at ${context}, the best truncation baseline is ${fixed(best)}, and E² is at ` +
      `${fixed(e2.nats)}.`,
  };
}

/** The setting in which long context is worth something: recall at the longest context. */
function ledger({ ledger: found }: DemoResults): Finding | undefined {
  if (found === undefined) return undefined;
  const context = ledgerContexts(found).at(-1) ?? found.window;
  const series = ledgerSeries(found);
  const at = (variant: Variant, length: number, schedule?: string): number | undefined =>
    series.find((one) => one.variant === variant && (schedule === undefined || one.schedule === schedule))?.questions.get(length);
  const [truncated, e2, yarn, full] = [
    at("base", found.window),
    at("e2", context),
    Math.max(at("base", context, "yarn-turns") ?? 0, at("plain", context, "yarn-turns") ?? 0),
    at("full", context),
  ];
  if (truncated === undefined || e2 === undefined || full === undefined) return undefined;
  const share = (x: number): string => x.toFixed(2);
  if (full <= truncated + 0.05) {
    return {
      topic: "ledger",
      verdict: "neutral",
      text:
        `In the ledger nothing was learned that long context could serve: training at full length answers ${share(full)} of the questions at ${context} tokens, ` +
        `and the base with the last ${found.window} alone ${share(truncated)}. More steps are needed before methods can be compared.`,
    };
  }
  const verdict = e2 > Math.max(truncated, yarn) ? "for" : e2 < yarn || e2 < truncated ? "against" : "neutral";
  return {
    topic: "ledger",
    verdict,
    text:
      `In the ledger, where an answer may stand anywhere before, E² answers ${share(e2)} of the questions at ${context} tokens. The base answers ${share(truncated)} ` +
      `with the last ${found.window} alone, YaRN without training about length ${share(yarn)}, and training at full length ${share(full)}.`,
  };
}

function price(results: DemoResults): Finding | undefined {
  const control = natsOf(results, "plain", "none", results.window);
  const scales = results.rows.filter((row) => row.variant === "e2" && row.context === results.window);
  const own = scales.find((row) => row.scale === 1);
  if (control === undefined || own === undefined) return undefined;
  const cost = own.nats - control;
  const others = scales.filter((row) => row.scale !== 1).map((row) => `${signed(row.nats - control)} at g = ${row.scale}`);
  const more = others.length === 0 ? "" : `; read with larger scales, ${list(others)}`;
  const text =
    cost > tie
      ? `The price inside the window: at ${results.window} bytes E² with g = 1 is ${fixed(cost)} nats per byte worse than as many plain steps${more}.`
      : `E² costs nothing inside the window: at ${results.window} bytes with g = 1 it is within ${tie} nats per byte of as many plain steps, or better (${signed(cost)})${more}.`;
  return { topic: "price", verdict: cost > tie ? "against" : "for", text };
}

function limits(results: DemoResults): Finding {
  return {
    topic: "limits",
    verdict: "neutral",
    text:
      `What this is not: one seed (${results.seed}), one book, a model of ${results.model.parameters.toLocaleString("en-US")} parameters and ` +
      `${results.targets.toLocaleString("en-US")} target bytes. Rows share their targets, so differences inside the table are paired, but no confidence ` +
      `interval is given, and differences of a few hundredths of a nat may change with the seed. The shift t moves distances to the first four ` +
      `bytes only (it cancels between all other pairs), so most of what E² learns comes from the scale g.` +
      (results.preset === "smoke"
        ? ` The sizes of the smoke preset were chosen so that the base model breaks down clearly within its few steps (heads of 8 channels, one of whose ` +
          `frequencies comes round near 4L): its margins show that everything works, and are no evidence for the method.`
        : ""),
  };
}

function fixed(nats: number): string {
  return nats.toFixed(3);
}

function signed(nats: number): string {
  const text = fixed(nats);
  return nats >= 0 && !text.startsWith("-") ? `+${text}` : text.replace("-", "−");
}

/** "a", "a and b", "a, b and c". */
function list(items: readonly string[]): string {
  if (items.length <= 1) return items.join("");
  return `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
}

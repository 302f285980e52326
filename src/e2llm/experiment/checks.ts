/** What the parts of a definition may be, as data. */
import {
  callable,
  checkArgument,
  checkOptions,
  either,
  flag,
  fraction,
  integer,
  type Kind,
  listOf,
  notNegative,
  number,
  type OptionKinds,
  object,
  objectWith,
  oneOf,
  optional,
  plainObject,
  positive,
  text,
} from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type {
  AttentionRule,
  EvaluationRule,
  Expectation,
  ExperimentDefinition,
  GenerationRule,
  OptimizerNumbers,
  Range,
  Requirement,
  RowRule,
  Selector,
  SlidingRule,
  TargetRule,
  TrainingRule,
  VariantRule,
} from "./definition.js";
import { measureNames } from "./measures.js";

const length: Kind = {
  wanted: 'a number of tokens or a multiple of the window, as "8L"',
  fits: (value) => integer(0).fits(value) || (typeof value === "string" && /^(\d+(\.\d+)?)?L$/.test(value)),
};
const named = objectWith('a name with options, as { "type": "e2", "gMax": 8 }', "type");
const names = either(text, listOf(text));
const several: Kind = {
  wanted: "an object with at least one entry",
  fits: (value) => plainObject.fits(value) && Object.keys(value as object).length > 0,
};
const filled = (kind: Kind): Kind => {
  const list = listOf(kind);
  return { wanted: `${list.wanted}, at least one`, fits: (value) => list.fits(value) && (value as readonly unknown[]).length > 0 };
};
const measure = oneOf(...measureNames);

const definitionKinds: OptionKinds<ExperimentDefinition> = {
  name: text,
  title: optional(text),
  description: optional(text),
  task: optional(either(named, objectWith("a task, as ledgerTask() makes it", "name", "vocabulary", "kinds", "example"))),
  text: optional(either(text, objectWith("documents { train, heldOut }", "train", "heldOut"))),
  model: plainObject,
  window: integer(1),
  optimizer: optional(plainObject),
  base: plainObject,
  extension: optional(plainObject),
  variants: optional(plainObject),
  readings: several,
  rows: filled(plainObject),
  evaluations: several,
  seeds: filled(integer(0, 2 ** 32 - 1)),
  reference: optional(text),
  requires: optional(listOf(plainObject)),
  expectations: optional(listOf(plainObject)),
  memory: optional(flag),
  sizes: optional(plainObject),
  version: optional(either(text, number)),
};

const optimizerKinds: OptionKinds<OptimizerNumbers> = {
  betas: optional(listOf(fraction)),
  weightDecay: optional(notNegative),
  eps: optional(positive),
  clip: optional(notNegative),
};

const trainingKinds: OptionKinds<TrainingRule> = {
  steps: integer(1, 2 ** 32 - 1),
  batch: integer(1),
  length: optional(length),
  lr: positive,
  warmup: optional(integer(0)),
  floor: optional({
    wanted: "a number from 0 to 1",
    fits: (value) => number.fits(value) && (value as number) >= 0 && (value as number) <= 1,
  }),
  positions: optional(either(named, callable)),
  microBatch: optional(integer(1)),
};

const partly = <T>(kinds: OptionKinds<T>): OptionKinds<Partial<T>> =>
  Object.fromEntries(Object.entries<Kind>(kinds).map(([name, kind]) => [name, optional(kind)])) as OptionKinds<Partial<T>>;

const variantKinds: OptionKinds<VariantRule> = {
  ...partly(trainingKinds),
  from: optional(oneOf("base", "scratch")),
  description: optional(text),
};

const rowKinds: OptionKinds<RowRule> = { name: optional(text), variant: names, reading: names };

const commonKinds = { type: text, count: integer(1), rows: optional(listOf(text)) };
const targetKinds: OptionKinds<TargetRule> = {
  ...commonKinds,
  contexts: optional(filled(length)),
  targets: optional(integer(1)),
  buckets: optional(plainObject),
  depths: optional(integer(0)),
};
const slidingKinds: OptionKinds<SlidingRule> = {
  ...commonKinds,
  contexts: optional(filled(length)),
  stride: optional(length),
  targets: optional(length),
};
const attentionKinds: OptionKinds<AttentionRule> = {
  ...commonKinds,
  contexts: optional(filled(length)),
  sinks: optional(integer(0)),
  targets: optional(integer(1)),
  buckets: optional(plainObject),
};
const generationKinds: OptionKinds<GenerationRule> = {
  ...commonKinds,
  prompt: optional(length),
  tokens: optional(length),
  parts: optional(integer(1)),
  ngram: optional(integer(1)),
  temperature: optional(notNegative),
  topK: optional(integer(1)),
  judge: optional(text),
};
const evaluationKinds: Readonly<Record<EvaluationRule["type"], Readonly<Record<string, Kind>>>> = {
  contexts: targetKinds,
  lengths: targetKinds,
  positions: targetKinds,
  sliding: slidingKinds,
  attention: attentionKinds,
  generation: generationKinds,
};

const distanceKinds: OptionKinds<Omit<Range, "kind">> = { from: optional(length), to: optional(length) };
const rangeKinds: OptionKinds<Range> = { ...distanceKinds, kind: optional(text) };

const selectorKinds: OptionKinds<Selector> = { row: text, evaluation: optional(text), context: length, group: optional(text) };

const requirementKinds: OptionKinds<Requirement> = {
  ...selectorKinds,
  name: optional(text),
  measure: optional(measure),
  atLeast: optional(number),
  atMost: optional(number),
};

const expectationKinds: Readonly<Record<Expectation["type"], Readonly<Record<string, Kind>>>> = (() => {
  const common = { name: text, type: text, measure: optional(measure) };
  const { row, evaluation, context, group } = selectorKinds;
  const pair = { ...common, of: object, than: object, margin: number };
  return {
    less: pair,
    greater: pair,
    flat: { ...common, row, evaluation, group, contexts: filled(length), within: number },
    gradual: { ...common, rows: filled(text), evaluation, group, context, within: number },
  };
})();

/** Throws OptionError unless the definition has all its parts, of their kinds, and no others. */
export function checkDefinition(where: string, definition: ExperimentDefinition): void {
  checkOptions(where, definition, definitionKinds);
  const at = (path: string): string => `${where}: ${path}`;
  if ((definition.task === undefined) === (definition.text === undefined)) {
    throw new OptionError(`${where}: an experiment has either a task or a text`, {
      hint: 'write "task": { "type": "ledger" } or "text": "moby-dick"',
    });
  }
  checkOptions(at("optimizer"), definition.optimizer ?? {}, optimizerKinds);
  if (definition.optimizer?.betas !== undefined && definition.optimizer.betas.length !== 2) {
    throw new OptionError(`${at("optimizer")}: betas are two numbers, found ${definition.optimizer.betas.length}`);
  }
  checkOptions(at("base"), definition.base, trainingKinds);
  checkOptions(at("extension"), definition.extension ?? {}, partly(trainingKinds));
  for (const [name, variant] of Object.entries(definition.variants ?? {})) checkOptions(at(`variants.${name}`), variant, variantKinds);
  for (const [name, reading] of Object.entries(definition.readings)) {
    checkArgument(
      where,
      `readings.${name}`,
      reading,
      either(objectWith('a reading, as { "schedule": "linear", "scale": "W/L" }', "schedule"), callable),
    );
  }
  definition.rows.forEach((row, i) => {
    checkOptions(at(`rows[${i}]`), row, rowKinds);
  });
  for (const [name, evaluation] of Object.entries(definition.evaluations)) {
    const here = `evaluations.${name}`;
    checkArgument(where, here, evaluation, objectWith('an evaluation, as { "type": "contexts", "count": 64 }', "type"));
    checkArgument(at(here), "type", evaluation.type, oneOf(...Object.keys(evaluationKinds)));
    checkOptions(at(here), evaluation as unknown as Record<string, unknown>, evaluationKinds[evaluation.type]);
    const buckets: Readonly<Record<string, Range>> = ("buckets" in evaluation ? evaluation.buckets : undefined) ?? {};
    for (const [bucket, range] of Object.entries(buckets)) {
      checkOptions(at(`${here}.buckets.${bucket}`), range, evaluation.type === "attention" ? distanceKinds : rangeKinds);
    }
  }
  (definition.requires ?? []).forEach((one, i) => {
    checkOptions(at(`requires[${i}]`), one, requirementKinds);
    if (one.atLeast === undefined && one.atMost === undefined) {
      throw new OptionError(`${at(`requires[${i}]`)}: a requirement says what is needed`, { hint: "give atLeast, atMost or both" });
    }
  });
  (definition.expectations ?? []).forEach((one, i) => {
    const here = at(`expectations[${i}]`);
    checkArgument(here, "type", one.type, oneOf(...Object.keys(expectationKinds)));
    checkOptions(here, one as unknown as Record<string, unknown>, expectationKinds[one.type]);
    if (one.type === "less" || one.type === "greater") {
      for (const side of ["of", "than"] as const) checkOptions(`${here}.${side}`, one[side], selectorKinds);
    }
  });
}

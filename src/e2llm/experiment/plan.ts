/** From a definition to a plan: everything checked, every default filled in, every length in tokens. */
import { checkArgument, didYouMean } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { LlamaConfig } from "../../nn/config.js";
import { type LlamaOptions, llamaConfig } from "../../nn/config-options.js";
import { byteTokenizer } from "../../nn/tokenizers.js";
import type { Task } from "../tasks/task.js";
import { checkDefinition } from "./checks.js";
import type {
  ExperimentDefinition,
  Length,
  Measure,
  OptimizerNumbers,
  PositionsOf,
  ReadingOf,
  Selector,
  TextData,
  TrainingRule,
} from "./definition.js";
import { canonicalText } from "./digest.js";
import { groupsOf } from "./kinds.js";
import { namedTask } from "./named.js";
import { needOne, tokensOf } from "./names.js";
import { type PlannedEvaluation, plannedEvaluation } from "./plan-evaluations.js";

/** A training with every number decided. */
export interface PlannedTraining {
  readonly steps: number;
  readonly batch: number;
  /** R in tokens. */
  readonly length: number;
  readonly lr: number;
  readonly warmup: number;
  readonly floor: number;
  readonly positions: PositionsOf;
  readonly microBatch: number | null;
}

export interface PlannedVariant {
  readonly name: string;
  /** null for the base itself. */
  readonly from: "base" | "scratch" | null;
  readonly training: PlannedTraining;
}

export interface PlannedRow {
  readonly name: string;
  readonly variant: string;
  readonly reading: ReadingOf;
  readonly readingName: string;
}

export interface ExperimentPlan {
  readonly definition: ExperimentDefinition;
  readonly data: Task | TextData;
  readonly config: LlamaConfig;
  readonly window: number;
  readonly optimizer: Required<OptimizerNumbers>;
  readonly variants: ReadonlyMap<string, PlannedVariant>;
  readonly rows: readonly PlannedRow[];
  readonly evaluations: readonly PlannedEvaluation[];
  readonly seeds: readonly number[];
  /** Name of the row of paired differences. */
  readonly reference: string;
}

/** The name by which rows ask for the base model. */
export const baseName = "base";

/**
 * A definition with what one of its sizes changes: objects are merged field by field, lists, numbers and texts replaced, and null takes a
 * field away. Throws OptionError for a size that it does not have.
 */
export function experimentOfSize(definition: ExperimentDefinition, size: string): ExperimentDefinition {
  checkDefinition("experimentOfSize", definition);
  checkArgument("experimentOfSize", "size", size, { wanted: "a name of a size", fits: (value) => typeof value === "string" });
  const { sizes = {}, ...rest } = definition;
  const change = Object.hasOwn(sizes, size) ? sizes[size] : undefined;
  if (change === undefined) {
    const names = Object.keys(sizes);
    throw new OptionError(`the experiment "${definition.name}" has no size "${size}"`, {
      hint: didYouMean(size, names) ?? (names.length === 0 ? "it has one size only" : `its sizes are ${names.join(", ")}`),
    });
  }
  return mergedFields(rest, change) as ExperimentDefinition;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && Object.getPrototypeOf(value) === Object.prototype;

/** What a change makes of a value, by the rules of {@link experimentOfSize}. */
export function mergedFields(value: unknown, change: unknown): unknown {
  if (!isRecord(value) || !isRecord(change)) return change;
  const fields = new Map(Object.entries(value));
  for (const [name, next] of Object.entries(change)) {
    if (next === null) fields.delete(name);
    else fields.set(name, mergedFields(fields.get(name), next));
  }
  return Object.fromEntries(fields);
}

/** Checks a definition and plans it. `text` is what the definition's `text` names. Throws OptionError for what does not fit together. */
export function planExperiment(definition: ExperimentDefinition, text: TextData | undefined): ExperimentPlan {
  checkDefinition("runExperiment", definition);
  const { window, seeds } = definition;
  const data = definition.task === undefined ? text : namedTask(definition.task);
  if (data === undefined) {
    throw new OptionError(`the text ${JSON.stringify(definition.text)} has to be loaded first`, {
      hint: "give documents as `text: { train, heldOut }`, or the option `loadText`",
    });
  }
  if (new Set(seeds).size !== seeds.length) throw new OptionError(`the seeds ${seeds.join(", ")} name one of them twice`);
  const config = sharedConfig({
    ...definition.model,
    vocab_size: "example" in data ? data.vocabulary : byteTokenizer.vocabSize,
    max_position_embeddings: window,
  });
  const { betas = [0.9, 0.95], weightDecay = 0.1, eps = 1e-8, clip = 1 } = definition.optimizer ?? {};
  const base = plannedTraining(baseName, definition.base, window);
  const variants = new Map<string, PlannedVariant>([[baseName, { name: baseName, from: null, training: base }]]);
  for (const [name, { from = "base", description: _, ...rule }] of Object.entries(definition.variants ?? {})) {
    if (name === baseName) throw new OptionError(`a variant cannot be called "${baseName}", which is the model that variants begin from`);
    const whole = { ...definition.base, ...definition.extension, ...rule };
    variants.set(name, { name, from, training: plannedTraining(name, whole, window) });
  }
  const rows = plannedRows(definition, variants);
  const names = rows.map(({ name }) => name);
  const evaluations = Object.entries(definition.evaluations).map(([name, rule]) =>
    plannedEvaluation(name, rule, { rows: names, data, window }),
  );
  const reference = definition.reference ?? (names[0] as string);
  needOne("reference", reference, names);
  const plan = {
    definition,
    data,
    config,
    window,
    optimizer: { betas, weightDecay, eps, clip },
    variants,
    rows,
    evaluations,
    seeds,
    reference,
  };
  checkSelectors(plan);
  return plan;
}

const configs = new Map<string, LlamaConfig>();

/** One object for equal configurations: models of one share their programs. */
function sharedConfig(options: LlamaOptions): LlamaConfig {
  const config = llamaConfig(options);
  const text = canonicalText(config);
  const known = configs.get(text) ?? config;
  configs.set(text, known);
  return known;
}

function plannedTraining(name: string, rule: TrainingRule, window: number): PlannedTraining {
  const { steps, batch, lr, floor = 0.1, positions = { type: "plain" }, microBatch = null } = rule;
  const { warmup = Math.min(100, Math.floor(steps / 10)) } = rule;
  const length = tokensOf(rule.length ?? "L", window);
  if (warmup > steps) throw new OptionError(`${name}: ${warmup} steps of warm-up do not fit into ${steps}`);
  if (microBatch !== null && batch % microBatch !== 0)
    throw new OptionError(`${name}: microBatch ${microBatch} does not divide the batch of ${batch}`);
  return { steps, batch, length, lr, warmup, floor, positions, microBatch };
}

function plannedRows(definition: ExperimentDefinition, variants: ReadonlyMap<string, PlannedVariant>): PlannedRow[] {
  const rows = definition.rows.flatMap((rule): PlannedRow[] => {
    const [ofVariants, ofReadings] = [[rule.variant].flat(), [rule.reading].flat()];
    if (rule.name !== undefined && ofVariants.length * ofReadings.length !== 1) {
      throw new OptionError(`the rows "${rule.name}" are ${ofVariants.length * ofReadings.length}`, {
        hint: "name a row of one variant and one reading",
      });
    }
    return ofVariants.flatMap((variant) => {
      needOne("variant", variant, [...variants.keys()]);
      return ofReadings.map((readingName) => {
        needOne("reading", readingName, Object.keys(definition.readings));
        const reading = definition.readings[readingName] as ReadingOf;
        return { name: rule.name ?? `${variant}, ${readingName}`, variant, reading, readingName };
      });
    });
  });
  const twice = rows.find(({ name }, i) => rows.findIndex((row) => row.name === name) !== i);
  if (twice !== undefined) throw new OptionError(`two rows are called "${twice.name}"`, { hint: "give one of them another name" });
  return rows;
}

/** Expectations and requirements name rows, evaluations, contexts, groups and measures that are there. */
function checkSelectors({ definition, rows, evaluations, window, data, config }: ExperimentPlan): void {
  const names = rows.map(({ name }) => name);
  const check = (selector: Omit<Selector, "context">, contexts: readonly Length[], measure: Measure): void => {
    const { row, evaluation, group } = selector;
    needOne("row", row, names);
    const found = evaluation === undefined ? evaluations[0] : evaluations.find(({ name }) => name === evaluation);
    if (found === undefined) {
      needOne(
        "evaluation",
        evaluation as string,
        evaluations.map(({ name }) => name),
      );
      return;
    }
    if (!found.rows.has(row)) throw new OptionError(`the evaluation "${found.name}" does not measure the row "${row}"`);
    for (const context of contexts) {
      if (!found.contexts.includes(tokensOf(context, window))) {
        throw new OptionError(`the evaluation "${found.name}" has no context of ${context}`, {
          hint: `it has ${found.contexts.join(", ")}`,
        });
      }
    }
    if (group !== undefined) needOne(`group of the evaluation "${found.name}"`, group, groupsOf({ data, config }, found));
    if (!found.measures.includes(measure)) {
      throw new OptionError(`the evaluation "${found.name}" does not measure ${measure}`, {
        hint: `say which "measure": ${found.measures.join(", ")}`,
      });
    }
  };
  for (const one of definition.expectations ?? []) {
    const { measure = "nats" } = one;
    if (one.type === "flat") check(one, one.contexts, measure);
    else if (one.type === "gradual") for (const row of one.rows) check({ ...one, row }, [one.context], measure);
    else for (const selector of [one.of, one.than]) check(selector, [selector.context], measure);
  }
  for (const one of definition.requires ?? []) check(one, [one.context], one.measure ?? "accuracy");
}

/** The variants that are trained: those of the rows, or of them those in `only`. Throws OptionError for a name that is none. */
export function chosenVariants(plan: ExperimentPlan, only: readonly string[] | undefined): PlannedVariant[] {
  for (const name of only ?? []) needOne("variant", name, [...plan.variants.keys()]);
  const needed = new Set(only ?? plan.rows.map(({ variant }) => variant));
  return [...plan.variants.values()].filter(({ name }) => needed.has(name));
}

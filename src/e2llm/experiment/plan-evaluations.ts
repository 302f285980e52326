/** Evaluations with every default filled in and every length in tokens. */
import { OptionError } from "../../errors.js";
import type { Task } from "../tasks/task.js";
import { isTask, kindsOfData } from "./data.js";
import type {
  AttentionRule,
  EvaluationRule,
  GenerationRule,
  Length,
  Measure,
  Range,
  SlidingRule,
  TargetRule,
  TextData,
} from "./definition.js";
import { needOne, tokensOf } from "./names.js";

export interface PlannedBucket {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  /** null for every kind. */
  readonly kind: string | null;
}

interface Planned {
  readonly name: string;
  /** In tokens, ascending. */
  readonly contexts: readonly number[];
  readonly count: number;
  /** Names of the rows that it measures. */
  readonly rows: ReadonlySet<string>;
  readonly measures: readonly Measure[];
  readonly shown: readonly Measure[];
}

export interface PlannedTargets extends Planned {
  readonly type: TargetRule["type"];
  readonly targets: number;
  readonly buckets: readonly PlannedBucket[];
  readonly depths: number;
}

export interface PlannedSliding extends Planned {
  readonly type: "sliding";
  /** S of each window. */
  readonly strides: readonly number[];
  readonly targets: number;
}

export interface PlannedAttention extends Planned {
  readonly type: "attention";
  readonly sinks: number;
  readonly targets: number;
  readonly buckets: readonly PlannedBucket[];
}

export interface PlannedGeneration extends Planned {
  readonly type: "generation";
  readonly prompt: number;
  readonly tokens: number;
  readonly parts: number;
  readonly ngram: number;
  readonly temperature: number | null;
  readonly topK: number | null;
  /** Name of the row that judges. */
  readonly judge: string | null;
}

export type PlannedEvaluation = PlannedTargets | PlannedSliding | PlannedAttention | PlannedGeneration;

/** What evaluations are planned for. */
interface Surroundings {
  readonly rows: readonly string[];
  readonly data: Task | TextData;
  readonly window: number;
}

/** The evaluation with every number decided. Throws OptionError for what does not fit together. */
export function plannedEvaluation(name: string, rule: EvaluationRule, around: Surroundings): PlannedEvaluation {
  for (const row of rule.rows ?? []) needOne("row", row, around.rows);
  const common = { name, count: rule.count, rows: new Set(rule.rows ?? around.rows) };
  switch (rule.type) {
    case "sliding":
      return { ...common, ...plannedSliding(name, rule, around) };
    case "attention":
      return { ...common, ...plannedAttention(name, rule, around) };
    case "generation":
      return { ...common, ...plannedGeneration(name, rule, around) };
    default:
      return { ...common, ...plannedTargets(name, rule, around) };
  }
}

type Own<T extends Planned> = Omit<T, "name" | "count" | "rows">;

const contextsOf = (contexts: readonly Length[] = ["L", "2L", "4L", "8L"], window: number): number[] =>
  contexts.map((context) => tokensOf(context, window)).sort((a, b) => a - b);

function plannedTargets(name: string, rule: TargetRule, { data, window }: Surroundings): Own<PlannedTargets> {
  const { type, depths = 0 } = rule;
  const all = contextsOf(rule.contexts, window);
  const contexts = type === "positions" ? all.slice(-1) : all;
  if (!isTask(data) && type === "lengths") {
    throw new OptionError(`${name}: a text has no fresh sequences for each length`, {
      hint: 'take the type "contexts", which gives the same targets more text',
    });
  }
  if (!isTask(data) && depths > 0)
    throw new OptionError(`${name}: targets of a text have no depth`, { hint: "depths are for tasks that say where an answer stands" });
  const targets = Math.min(rule.targets ?? 16, contexts[0] as number);
  const ranges = rule.buckets ?? (type === "positions" ? doublingRanges(window, contexts.at(-1) as number) : {});
  for (const { kind } of Object.values(ranges)) if (kind !== undefined) needOne("kind of question", kind, kindsOfData(data));
  // A text has no answers to speak of, so that its losses are shown.
  const measured: Pick<Planned, "measures" | "shown"> = isTask(data)
    ? { measures: ["nats", "accuracy"], shown: ["accuracy"] }
    : { measures: ["nats", "accuracy", "bitsPerByte"], shown: ["nats"] };
  return { type, contexts, targets, buckets: plannedBuckets(ranges, window), depths, ...measured };
}

function plannedSliding(name: string, rule: SlidingRule, { data, window }: Surroundings): Own<PlannedSliding> {
  needText(name, data, "slides over a text");
  const contexts = contextsOf(rule.contexts, window);
  const [shortest, longest] = [contexts[0] as number, contexts.at(-1) as number];
  if (shortest < 1) throw new OptionError(`${name}: a window of ${shortest} tokens has nothing to predict`);
  const stride = rule.stride === undefined ? undefined : tokensOf(rule.stride, window);
  if (stride !== undefined && (stride < 1 || stride > shortest)) {
    throw new OptionError(`${name}: a stride of ${stride} does not fit a window of ${shortest} tokens`, {
      hint: "a stride is from 1 to the shortest window; a larger one would leave tokens out",
    });
  }
  const targets = tokensOf(rule.targets ?? 2 * longest, window);
  if (targets < longest) {
    throw new OptionError(`${name}: ${targets} targets do not fill a window of ${longest} tokens`, { hint: `ask for ${longest} or more` });
  }
  const strides = contexts.map((context) => stride ?? Math.max(1, Math.floor(context / 2)));
  return { type: "sliding", contexts, strides, targets, measures: ["nats", "bitsPerByte"], shown: ["bitsPerByte"] };
}

/** As in `attentionMaps`, which computes the square of it. */
const longestMap = 4096;

function plannedAttention(name: string, rule: AttentionRule, { window }: Surroundings): Own<PlannedAttention> {
  const contexts = contextsOf(rule.contexts, window);
  const longest = contexts.at(-1) as number;
  if (longest > longestMap) {
    throw new OptionError(`${name}: attention over ${longest} tokens is too large a map`, {
      hint: `ask for contexts of at most ${longestMap}`,
    });
  }
  const buckets = plannedBuckets(rule.buckets ?? doublingRanges(window, longest), window);
  const targets = Math.min(rule.targets ?? 4, contexts[0] as number);
  return { type: "attention", contexts, sinks: rule.sinks ?? 4, targets, buckets, measures: ["mass"], shown: ["mass"] };
}

function plannedGeneration(name: string, rule: GenerationRule, { rows, data, window }: Surroundings): Own<PlannedGeneration> {
  needText(name, data, "continues a text");
  const { parts = 8, ngram = 4, temperature = null, topK = null, judge = null } = rule;
  const [prompt, tokens] = [tokensOf(rule.prompt ?? "0.5L", window), tokensOf(rule.tokens ?? "8L", window)];
  if (prompt < 1) throw new OptionError(`${name}: a prompt of ${prompt} tokens is none`);
  if (tokens < parts) throw new OptionError(`${name}: ${tokens} tokens have no ${parts} parts`);
  if (judge !== null) needOne("row", judge, rows);
  const measures: readonly Measure[] = ["repeated", "distinct", "drift", ...(judge === null ? [] : (["nats"] as const))];
  return {
    type: "generation",
    contexts: [prompt + tokens],
    prompt,
    tokens,
    parts,
    ngram,
    temperature,
    topK,
    judge,
    measures,
    shown: measures,
  };
}

function needText(name: string, data: Task | TextData, does: string): void {
  if (!isTask(data)) return;
  throw new OptionError(`${name}: an evaluation of this type ${does}, and a task is none`, {
    hint: 'give the experiment a "text", or ask for "contexts", "lengths" or "positions"',
  });
}

/** Places 0 … L/4 − 1, and from there on ranges that double. */
function doublingRanges(window: number, longest: number): Record<string, Range> {
  const ranges: Record<string, Range> = {};
  for (let from = 0, next = Math.max(1, Math.floor(window / 4)); from < longest; from = next, next *= 2) {
    const to = Math.min(next, longest) - 1;
    ranges[`${from}–${to}`] = { from, to };
  }
  return ranges;
}

const plannedBuckets = (ranges: Readonly<Record<string, Range>>, window: number): PlannedBucket[] =>
  Object.entries(ranges).map(([name, { from = 0, to = Number.MAX_SAFE_INTEGER, kind }]) => ({
    name,
    from: tokensOf(from, window),
    to: tokensOf(to, window),
    kind: kind ?? null,
  }));

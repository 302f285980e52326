/** The two settings of a demo, a book and a ledger: what is trained in each, and on what. */
import { extensionNotes } from "../e2llm/extension-notes.js";
import { createE2Source, createPlainSource, type PositionSource } from "../e2llm/positions/index.js";
import { ledgerTask } from "../e2llm/tasks/ledger.js";
import { type Task, trainingWindows } from "../e2llm/tasks/task.js";
import type { LanguageBatch } from "../nn/batch.js";
import { countParameters, type LlamaConfig } from "../nn/config.js";
import { llamaConfig } from "../nn/config-options.js";
import { createWindowSampler, type TokenSource } from "../nn/data.js";
import type { Llama } from "../nn/llama.js";
import type { AdamWState, Optimizer } from "../nn/optimizers.js";
import { byteTokenizer } from "../nn/tokenizers.js";
import { createTrainStep, type TrainStep } from "../nn/train-step.js";
import { languageLoss } from "../nn/training.js";
import type { Corpus } from "./corpus.js";
import type { DemoPhase } from "./demo-state.js";
import type { Preset, SettingPreset } from "./presets.js";
import type { Variant } from "./results.js";
import { type LearningRule, maxNormOf, optimizerOf } from "./training-run.js";

export type SettingName = "book" | "ledger";

/** One training of a setting. */
export interface DemoTraining {
  readonly phase: DemoPhase;
  readonly variant: Variant;
  readonly rule: LearningRule;
  /** Tokens of a sequence. */
  readonly length: number;
  readonly seed: number;
  readonly positions: PositionSource;
  /** What config.json says of it beside the usual. */
  readonly notes?: Readonly<Record<string, unknown>>;
  /** Multiply-adds of its steps, forward and backward. */
  readonly work: number;
}

export interface DemoSetting {
  readonly name: SettingName;
  readonly preset: SettingPreset;
  readonly config: LlamaConfig;
  /** The base first, then what goes on from it: plain steps, E²-LLM, and the upper bound at full length. */
  readonly trainings: readonly DemoTraining[];
  readonly optimizer: Optimizer<AdamWState>;
  /** One step for all of them, so that a program is compiled once for each length. */
  readonly trainStep: TrainStep<Llama, AdamWState, LanguageBatch>;
  /** The longest context that is trained on, in the training at full length. */
  readonly fullLength: number;
  readonly contexts: readonly number[];
  windows(training: DemoTraining): TokenSource;
}

/** Phases of each setting, by what they make. */
const phases: Readonly<Record<SettingName, Readonly<Record<Variant, DemoPhase>>>> = {
  book: { base: "pretrain", plain: "plain", e2: "e2", full: "full" },
  ledger: { base: "ledger-pretrain", plain: "ledger-plain", e2: "ledger-e2", full: "ledger-full" },
};

/**
 * Work of a token in a forward pass over sequences of W tokens, in multiply-adds: P for the weights, and W·hidden a layer for attention,
 * because a token sees half of its sequence on average.
 */
export function forwardCost(config: LlamaConfig, context: number): number {
  return countParameters(config) + context * config.hidden_size * config.num_hidden_layers;
}

/** Sequences as long as the farthest multiple of the window that E²-LLM is extended for. */
const fullLengthOf = ({ window, gMax, reaches }: SettingPreset): number => window * Math.max(...reaches.filter((times) => times <= gMax));

interface SettingOptions {
  readonly seed: number;
  readonly steps?: number;
  readonly extendSteps?: number;
}

function createSetting(
  name: SettingName,
  preset: SettingPreset,
  options: SettingOptions & { readonly vocabulary: number; readonly windows: (training: DemoTraining) => TokenSource },
): DemoSetting {
  const { seed, vocabulary, windows } = options;
  const { window, gMax, granularity, sinks, batch, weightDecay, clip, betas } = preset;
  const config = llamaConfig({
    vocab_size: vocabulary,
    hidden_size: preset.hidden,
    intermediate_size: preset.intermediate,
    num_hidden_layers: preset.layers,
    num_attention_heads: preset.heads,
    num_key_value_heads: preset.kvHeads,
    max_position_embeddings: window,
    rope_theta: preset.ropeTheta,
    initializer_range: preset.initializerRange,
    tie_word_embeddings: preset.tied,
  });
  const fullLength = fullLengthOf(preset);
  const training = (variant: Variant): DemoTraining => {
    const part = variant === "base" ? preset.pretrain : preset.extend;
    const steps = (variant === "base" ? options.steps : options.extendSteps) ?? part.steps;
    const length = variant === "full" ? fullLength : window;
    // Steps at full length read as many tokens as the others.
    const rows = Math.max(1, Math.floor((batch * window) / length));
    const rule = { ...part, steps, warmup: Math.min(part.warmup, steps), batch: rows, weightDecay, clip };
    // What goes on from the base reads the same text in the same order.
    const own = 2 * seed + (variant === "base" ? 0 : 1);
    return {
      phase: phases[name][variant],
      variant,
      rule,
      length,
      seed: own,
      positions: variant === "e2" ? createE2Source({ window, gMax, granularity, sinks, seed: own }) : createPlainSource(),
      ...(variant === "e2"
        ? { notes: { e2llm: extensionNotes({ type: "e2", window, gMax, granularity, sinks, seed: own }, config) } }
        : {}),
      ...(variant === "full" ? { notes: { max_position_embeddings: length } } : {}),
      work: 3 * steps * rows * length * forwardCost(config, length),
    };
  };
  const optimizer = optimizerOf(preset, betas);
  return {
    name,
    preset,
    config,
    trainings: (["base", "plain", "e2", "full"] as const).map(training),
    optimizer,
    trainStep: createTrainStep({ optimizer, loss: languageLoss, maxNorm: maxNormOf(preset) }),
    fullLength,
    contexts: preset.reaches.map((times) => times * window),
    windows,
  };
}

/** The book, read byte by byte. The corpus is asked for when the first training begins. */
export function bookSetting(preset: Preset, options: SettingOptions & { readonly corpus: () => Corpus }): DemoSetting {
  return createSetting("book", preset, {
    ...options,
    vocabulary: byteTokenizer.vocabSize,
    windows: ({ length, rule, seed }) => createWindowSampler({ documents: options.corpus().train, length, batch: rule.batch, seed }),
  });
}

/** The ledger. `--steps` and `--extend-steps` are those of the book. */
export function ledgerSetting(preset: Preset, { seed }: SettingOptions): DemoSetting & { readonly task: Task } {
  // Only what can be answered is asked in training, by which recall is learned sooner; answers are judged by how many are right.
  const task = ledgerTask({ ...preset.ledger.task, unanswerable: 0 });
  const setting = createSetting("ledger", preset.ledger, {
    seed,
    vocabulary: task.vocabulary,
    windows: ({ length, rule, seed: own }) => trainingWindows({ task, length, batch: rule.batch, seed: own }),
  });
  return { ...setting, task };
}

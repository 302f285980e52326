import type { LedgerOptions } from "../e2llm/tasks/ledger.js";
import type { PresetName } from "./commands/demo.js";

/** Sizes of one setting. Lengths are in tokens, which are the bytes of a text. */
export interface SettingPreset {
  /** L: the trained window. */
  readonly window: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly intermediate: number;
  /** Base of the RoPE frequencies. */
  readonly ropeTheta: number;
  /** Standard deviation of the initial weights. */
  readonly initializerRange: number;
  /** Whether the embedding is the head too. */
  readonly tied: boolean;
  /** Sequences of L tokens per step, in each phase; longer ones are so many fewer. */
  readonly batch: number;
  /** β₁ and β₂ of AdamW. Default [0.9, 0.95]. */
  readonly betas?: readonly [number, number];
  readonly weightDecay: number;
  /** Bound of the gradient's norm. */
  readonly clip: number;
  readonly pretrain: { readonly steps: number; readonly lr: number; readonly warmup: number };
  /** Each of the continued trainings: plain, E² and at full length. */
  readonly extend: { readonly steps: number; readonly lr: number; readonly warmup: number };
  /** Largest scale that E² draws. */
  readonly gMax: number;
  readonly granularity: "batch" | "sample";
  /** First tokens that are never shifted. */
  readonly sinks: number;
  /** Context lengths that are read, as multiples of the window. The last says which targets there are: those with so much before them. */
  readonly reaches: readonly number[];
  /** Sequences that are evaluated. */
  readonly blocks: number;
  /** Tokens that one forward pass of the evaluation reads, over all of its sequences. */
  readonly evaluationBytes: number;
  /** Steps between checkpoints. */
  readonly saveEvery: number;
}

/** Sizes of one demo: the book, and the ledger beside it. */
export interface Preset extends SettingPreset {
  /** T: targets of a block of the book, at most the window. */
  readonly targetLength: number;
  readonly ledger: SettingPreset & { readonly task: LedgerOptions };
}

/** A ledger whose recall within 64 tokens two layers learn in some 1,600 steps. */
const ledger: Preset["ledger"] = {
  task: {},
  window: 64,
  hidden: 64,
  layers: 2,
  heads: 2,
  kvHeads: 2,
  intermediate: 176,
  ropeTheta: 10_000,
  initializerRange: 0.1,
  tied: false,
  batch: 16,
  betas: [0.9, 0.98],
  weightDecay: 0.01,
  clip: 1,
  pretrain: { steps: 1600, lr: 4e-3, warmup: 50 },
  extend: { steps: 250, lr: 2e-3, warmup: 20 },
  gMax: 8,
  granularity: "batch",
  sinks: 4,
  reaches: [1, 2, 4, 8],
  blocks: 96,
  evaluationBytes: 4096,
  saveEvery: 500,
};

/** The sizes behind `dawngrad demo --preset`. */
export const presets: Readonly<Record<PresetName, Preset>> = {
  smoke: {
    window: 16,
    hidden: 48,
    layers: 1,
    heads: 6,
    kvHeads: 6,
    intermediate: 96,
    ropeTheta: 10_000,
    initializerRange: 0.1,
    tied: true,
    batch: 24,
    weightDecay: 0,
    clip: 1,
    pretrain: { steps: 200, lr: 2e-2, warmup: 20 },
    extend: { steps: 80, lr: 1.2e-2, warmup: 8 },
    gMax: 8,
    granularity: "sample",
    sinks: 4,
    reaches: [1, 2, 4, 8],
    targetLength: 8,
    blocks: 48,
    evaluationBytes: 768,
    saveEvery: 0,
    // Some steps of everything, far too few to learn recall.
    ledger: {
      ...ledger,
      task: { names: 4, values: 2, fillers: 2, asked: 6, warmUp: 64 },
      window: 16,
      hidden: 32,
      intermediate: 64,
      pretrain: { steps: 60, lr: 1e-2, warmup: 10 },
      extend: { steps: 20, lr: 5e-3, warmup: 2 },
      blocks: 24,
      evaluationBytes: 768,
      saveEvery: 0,
    },
  },
  // By budget: what two idle cores do in some five minutes on the wasm backend.
  small: {
    window: 128,
    hidden: 128,
    layers: 4,
    heads: 4,
    kvHeads: 4,
    intermediate: 352,
    ropeTheta: 10_000,
    initializerRange: 0.03,
    tied: true,
    batch: 8,
    weightDecay: 0.01,
    clip: 1,
    pretrain: { steps: 1800, lr: 3e-3, warmup: 100 },
    extend: { steps: 450, lr: 2e-3, warmup: 45 },
    gMax: 8,
    granularity: "sample",
    sinks: 4,
    reaches: [1, 2, 4, 8, 16],
    targetLength: 32,
    blocks: 32,
    evaluationBytes: 4096,
    saveEvery: 500,
    ledger,
  },
  gpu: {
    window: 1024,
    hidden: 512,
    layers: 8,
    heads: 8,
    kvHeads: 4,
    intermediate: 1376,
    ropeTheta: 10_000,
    initializerRange: 0.02,
    tied: true,
    batch: 16,
    weightDecay: 0.1,
    clip: 1,
    pretrain: { steps: 3000, lr: 6e-4, warmup: 200 },
    extend: { steps: 600, lr: 3e-4, warmup: 60 },
    gMax: 8,
    granularity: "sample",
    sinks: 4,
    reaches: [1, 2, 4, 8],
    targetLength: 64,
    blocks: 64,
    evaluationBytes: 32_768,
    saveEvery: 500,
    ledger: { ...ledger, layers: 4, hidden: 128, heads: 4, kvHeads: 4, intermediate: 352, blocks: 256, evaluationBytes: 32_768 },
  },
};

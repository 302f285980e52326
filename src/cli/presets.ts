import type { PresetName } from "./commands/demo.js";

/** Sizes of one demo. Lengths are in bytes, which are the tokens. */
export interface Preset {
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
  /** Sequences per step, in each phase. */
  readonly batch: number;
  readonly weightDecay: number;
  /** Bound of the gradient's norm. */
  readonly clip: number;
  readonly pretrain: { readonly steps: number; readonly lr: number; readonly warmup: number };
  /** Each of the two continued trainings, plain and E². */
  readonly extend: { readonly steps: number; readonly lr: number; readonly warmup: number };
  /** Largest scale that E² draws. */
  readonly gMax: number;
  readonly granularity: "batch" | "sample";
  /** First tokens that are never shifted. */
  readonly sinks: number;
  /** Context lengths that are read, as multiples of the window. The last says which targets there are: those with so much before them. */
  readonly reaches: readonly number[];
  /** T: targets of a block, at most the window. */
  readonly targetLength: number;
  /** Number of blocks. */
  readonly blocks: number;
  /** Bytes that one forward pass of the evaluation reads, over all of its sequences. */
  readonly evaluationBytes: number;
  /** Steps between checkpoints. */
  readonly saveEvery: number;
}

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
  },
};

import type { ExperimentDefinition } from "../../../src/index.js";

/** An experiment that takes a second: it learns nothing and goes through everything. */
export const tiny: ExperimentDefinition = {
  name: "tiny",
  task: { type: "ledger", names: 3, values: 2, fillers: 1, asked: 6, warmUp: 16 },
  model: { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, num_attention_heads: 2, initializer_range: 0.1 },
  window: 8,
  optimizer: { betas: [0.9, 0.98], weightDecay: 0.01 },
  base: { steps: 6, batch: 4, lr: 1e-2 },
  extension: { steps: 4, lr: 5e-3 },
  variants: {
    plain: {},
    e2: { positions: { type: "e2", gMax: 4, granularity: "sample" } },
    full: { length: "4L", batch: 1, positions: { type: "plain", scale: 4 } },
    scratch: { from: "scratch", steps: 5, positions: { type: "e2", gMax: 4 } },
  },
  readings: { none: { schedule: "none" }, PI: { schedule: "linear", scale: "W/L" }, "g = 4": { schedule: "linear", scale: 4 } },
  rows: [
    { variant: ["base", "plain"], reading: ["none", "PI"] },
    { name: "E²", variant: "e2", reading: "PI" },
    { variant: "full", reading: "g = 4" },
    { variant: "scratch", reading: "PI" },
  ],
  evaluations: {
    recall: { type: "contexts", contexts: ["L", "2L", "4L"], count: 6, buckets: { near: { to: 6 }, far: { from: 7 } } },
  },
  seeds: [3, 4],
};

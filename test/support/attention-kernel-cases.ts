import type { AttentionCase } from "./attention-programs.js";

const square = (n: number, channels: number, more: Partial<AttentionCase> = {}): AttentionCase => ({
  queries: n,
  keys: n,
  channels,
  ...more,
});

/** Every option of attention, sizes around tiles, and primes. */
export const attentionKernelCases: readonly AttentionCase[] = [
  square(16, 8),
  square(1, 8),
  square(8, 16, { causal: true }),
  square(64, 32, { causal: true, heads: 2, batch: 2 }),
  square(65, 64, { causal: true }),
  square(129, 128, { causal: true }),
  square(63, 7, { causal: true, heads: 3 }),
  square(257, 33, { causal: true, heads: 2, keyHeads: 1 }),
  { queries: 37, keys: 101, channels: 24, heads: 4, keyHeads: 2, batch: 2 },
  { queries: 37, keys: 101, channels: 24, causal: true, offset: 64 },
  { queries: 101, keys: 37, channels: 13, causal: true },
  { queries: 50, keys: 70, channels: 8, causal: true, offset: -20 },
  { queries: 50, keys: 70, channels: 8, causal: true, offset: -50 },
  { queries: 50, keys: 70, channels: 8, causal: true, offset: -1000000000 },
  { queries: 50, keys: 70, channels: 8, causal: true, offset: 2000000000 },
  { queries: 50, keys: 70, channels: 8, causal: true, window: 5, offset: 2000000000 },
  { queries: 50, keys: 70, channels: 8, window: 5, offset: 10 },
  { queries: 130, keys: 130, channels: 16, causal: true, window: 17, heads: 2 },
  { queries: 130, keys: 130, channels: 16, window: 1 },
  { queries: 90, keys: 200, channels: 16, window: 64, offset: 40 },
  { queries: 5, keys: 300, channels: 40, causal: true, offset: 295, heads: 4, keyHeads: 2 },
  { queries: 1, keys: 500, channels: 64, causal: true, offset: 499 },
  { queries: 31, keys: 31, channels: 20, valueChannels: 9, causal: true, turned: true },
  { queries: 40, keys: 72, channels: 8, valueChannels: 48, scale: -0.7 },
  { queries: 40, keys: 72, channels: 8, scale: 0 },
  square(70, 16, { causal: true, dtype: "f16", heads: 2 }),
  square(70, 16, { causal: true, dtype: "bf16", heads: 2, keyHeads: 1 }),
  square(70, 19, { causal: true, dtype: "f16", turned: true }),
  square(33, 16, { causal: true, results: [0] }),
  square(33, 16, { results: [1] }),
  square(21, 16, { causal: true, heads: 2, iterations: 3 }),
];

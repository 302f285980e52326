import { add, literal, scale, variable } from "../../src/ir/index-expression.js";
import type { AttentionCase, Score } from "./attention-programs.js";

/** −(i − j)·slope of the head. */
const alibi: Score = {
  name: "ALiBi",
  data: ({ heads = 1 }) => Array.from({ length: heads }, (_, h) => 2 ** -(h + 2)),
  print: (s, at, { raw, data }) => {
    const distance = s.operation("cast", [s.place(add(at.query, scale(at.key, -1)))]);
    return { score: s.operation("sub", [raw, s.operation("mul", [s.load(data, at.head), distance])]) };
  },
  score: (raw, { head, query, key }, data) => raw - (data[head] as number) * (query - key),
};

/** 2·tanh(raw/2), with 1 − tanh² for its slope. */
const softCap: Score = {
  name: "soft cap",
  print: (s, _, { raw, cotangent }) => {
    const t = s.operation("tanh", [s.operation("mul", [raw, s.constant(0.5)])]);
    const slope = s.operation("sub", [s.constant(1), s.operation("mul", [t, t])]);
    return { score: s.operation("mul", [t, s.constant(2)]), pulled: s.operation("mul", [cotangent, slope]) };
  },
  score: (raw) => 2 * Math.tanh(raw / 2),
  slope: (raw) => 1 - Math.tanh(raw / 2) ** 2,
};

const documentOf = (position: number): number => Math.floor(position / 11);
/** Queries see the keys of their own document alone, the last of which is longer than there are keys. */
const documents: Score = {
  name: "document mask",
  data: ({ queries, keys }) => Array.from({ length: queries + keys }, (_, i) => documentOf(i < queries ? i : i - queries)),
  print: (s, at, { raw, data, sizes }) => {
    const [own, other] = [s.load(data, at.query), s.load(data, add(variable("key", sizes.keys), literal(sizes.queries)))];
    return { score: raw, visible: s.operation("eq", [own, other], "bool") };
  },
  score: (raw) => raw,
  visible: ({ query, key }) => documentOf(query) === documentOf(key),
};

const biasAt = (at: number): number => Math.fround(Math.sin(at));
/** raw·1.5 + bias[head, query, key], every seventh of which hides its pair. */
const bias: Score = {
  name: "bias and mask",
  data: ({ heads = 1, queries, keys }) => Array.from({ length: heads * queries * keys }, (_, i) => biasAt(i)),
  print: (s, at, { raw, cotangent, data, sizes }) => {
    const place = add(scale(at.head, sizes.queries * sizes.keys), scale(at.query, sizes.keys), at.key);
    const read = s.load(data, place);
    const grown = s.operation("mul", [raw, s.constant(1.5)]);
    return {
      score: s.operation("add", [grown, read]),
      visible: s.operation("lt", [read, s.constant(0.8)], "bool"),
      pulled: s.operation("mul", [cotangent, s.constant(1.5)]),
    };
  },
  score: (raw, { head, query, key }, data, { queries, keys }) => 1.5 * raw + (data[(head * queries + query) * keys + key] as number),
  visible: ({ head, query, key }, data, { queries, keys }) => (data[(head * queries + query) * keys + key] as number) < Math.fround(0.8),
  slope: () => 1.5,
};

/** ln(i − j), which is no number where it is hidden. */
const logarithm: Score = {
  name: "logarithm of the distance",
  print: (s, at, { raw, cotangent }) => {
    const distance = s.operation("cast", [s.place(add(at.query, scale(at.key, -1)))]);
    const log = s.operation("log", [s.operation("add", [distance, s.constant(1)])]);
    return { score: s.operation("mul", [raw, log]), pulled: s.operation("mul", [cotangent, log]) };
  },
  score: (raw, { query, key }) => raw * Math.log(query - key + 1),
  slope: (_, { query, key }) => Math.log(query - key + 1),
};

/** How the numbers of a table enter a score: at which coordinate, of which dtype, and by how much. */
const tables = [
  { dtype: "f32", at: "key", weight: 1, value: (i: number) => Math.fround(Math.sin(3 * i)) },
  { dtype: "i32", at: "query", weight: 0.25, value: (i: number) => (i % 5) - 2 },
  { dtype: "bool", at: "key", weight: 1.5, value: (i: number) => Number(i % 3 === 0) },
  { dtype: "u32", at: "head", weight: 0.125, value: (i: number) => 7 * i + 1 },
  { dtype: "f32", at: "batch", weight: 1, value: (i: number) => i + 0.5 },
] as const;

/** raw + Σ of so many tables, each read at a coordinate of the pair. */
export const tabled = (count: number): Score => {
  const used = tables.slice(0, count);
  return {
    name: `${count} tables`,
    tables: ({ batch = 1, heads = 1, queries, keys }) => {
      const lengths = { batch, head: heads, query: queries, key: keys };
      return used.map(({ dtype, at, value }) => ({ dtype, values: Array.from({ length: lengths[at] }, (_, i) => value(i)) }));
    },
    print: (s, at, { raw, tables: buffers }) => ({
      score: used.reduce((sum, { dtype, at: coordinate, weight }, i) => {
        const read = s.load(buffers[i] as number, at[coordinate], dtype);
        const number = dtype === "f32" ? read : s.operation("cast", [read]);
        return s.operation("add", [sum, s.operation("mul", [number, s.constant(weight)])]);
      }, raw),
    }),
    score: (raw, pair) => used.reduce((sum, { at, weight, value }) => sum + weight * value(pair[at]), raw),
  };
};

const scores = [alibi, softCap, documents, bias, logarithm];

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
  // Rows that would fight over one set of the cache are packed.
  square(20, 1024, { causal: true }),
  square(70, 1024, { causal: true, heads: 2, keyHeads: 1 }),
  { queries: 1, keys: 2500, channels: 8, heads: 2 },
  { queries: 1, keys: 1300, channels: 33, valueChannels: 30, causal: true, offset: 1100, heads: 6, keyHeads: 2, batch: 3 },
  { queries: 3, keys: 709, channels: 16, causal: true, offset: 706, window: 100, heads: 2 },
  { queries: 2, keys: 40, channels: 16, causal: true, offset: -1 },
  { queries: 2, keys: 300, channels: 64, dtype: "f16", heads: 2 },
  { queries: 1, keys: 300, channels: 64, dtype: "bf16", scale: -2 },
  { queries: 2, keys: 30, channels: 12, turned: true },
  { queries: 3, keys: 30, channels: 12, iterations: 3 },
  { queries: 31, keys: 31, channels: 20, valueChannels: 9, causal: true, turned: true },
  { queries: 40, keys: 72, channels: 8, valueChannels: 48, scale: -0.7 },
  { queries: 40, keys: 72, channels: 8, scale: 0 },
  square(70, 16, { causal: true, dtype: "f16", heads: 2 }),
  square(70, 16, { causal: true, dtype: "bf16", heads: 2, keyHeads: 1 }),
  square(70, 19, { causal: true, dtype: "f16", turned: true }),
  square(33, 16, { causal: true, results: [0] }),
  square(33, 16, { results: [1] }),
  square(33, 16, { causal: true, results: [2] }),
  square(33, 16, { results: [0, 2] }),
  square(21, 16, { causal: true, heads: 2, iterations: 3 }),
  ...scores.flatMap((score) => [
    square(16, 8, { score, causal: true }),
    square(67, 16, { score, causal: true, heads: 2 }),
    square(131, 24, { score, causal: true, window: 40, heads: 4, keyHeads: 2 }),
    square(20, 16, { score, causal: true, iterations: 2 }),
  ]),
  ...[alibi, softCap, documents, bias].flatMap((score) => [
    { queries: 70, keys: 45, channels: 12, score, batch: 2 },
    { queries: 1, keys: 403, channels: 12, score, heads: 2, causal: true, offset: 402 },
    { queries: 3, keys: 86, channels: 12, score, heads: 4, keyHeads: 1, window: 50, offset: 70 },
    { queries: 4, keys: 40, channels: 12, score, heads: 2, causal: true, offset: 36 },
    { queries: 3, keys: 64, channels: 8, score, causal: true, window: 13, offset: 59 },
    { queries: 19, keys: 140, channels: 12, score, window: 30, offset: 60, dtype: "f16" as const },
  ]),
  ...[3, 5].map((count) => ({ queries: 21, keys: 35, channels: 8, heads: 2, batch: 2, causal: true, offset: 14, score: tabled(count) })),
];

/** Few queries against many keys: all counts of channels, caches that are filled in part, and scores that read up to five tables. */
export const decodingCases: readonly AttentionCase[] = [
  { queries: 1, keys: 203, channels: 8, causal: true, offset: 202, heads: 2 },
  { queries: 1, keys: 333, channels: 64, causal: true, offset: 69, filled: 70, heads: 4, keyHeads: 2, batch: 2 },
  { queries: 1, keys: 150, channels: 12, score: tabled(5), heads: 2, batch: 2, causal: true, offset: 100, filled: 101 },
  { queries: 3, keys: 257, channels: 33, valueChannels: 17, causal: true, offset: 180, filled: 183, window: 50, heads: 3, keyHeads: 1 },
  { queries: 7, keys: 131, channels: 128, causal: true, offset: 20, filled: 27, heads: 2, keyHeads: 1 },
  { queries: 2, keys: 150, channels: 16, causal: true, offset: -1, filled: 1 },
  { queries: 1, keys: 101, channels: 20, causal: true, offset: -5, filled: 0 },
  { queries: 1, keys: 3203, channels: 4 },
  { queries: 2, keys: 129, channels: 24, heads: 2, dtype: "f16", causal: true, offset: 90, filled: 92 },
  { queries: 5, keys: 170, channels: 8, window: 40, offset: 60, turned: true },
  { queries: 1, keys: 90, channels: 16, iterations: 3, causal: true, offset: 60, filled: 61, results: [0] },
  { queries: 1, keys: 400, channels: 8, results: [1] },
  ...[1, 2, 3, 4].map((count) => ({ queries: 1, keys: 140, channels: 12, heads: 2, score: tabled(count), causal: true, offset: 99 })),
];

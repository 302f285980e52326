import { type AttentionOptions, type Tensor, tensor, where } from "../../src/index.js";
import { floats } from "./floats.js";

/** Attention in every way: sizes, options, and scores with tables that they read. */
export interface AttentionCase {
  readonly name: string;
  readonly B?: number;
  readonly H?: number;
  readonly Hkv?: number;
  readonly T: number;
  readonly S?: number;
  readonly D?: number;
  readonly Dv?: number;
  /** The options, made of tensors of the case's own. */
  readonly options?: (tables: Tables) => AttentionOptions;
  /** The score of one pair in plain numbers; −∞ hides it. Default: the raw score where causal and window let it be seen. */
  readonly score?: (raw: number, at: Coordinates) => number;
}

export interface Coordinates {
  readonly batch: number;
  readonly head: number;
  readonly query: number;
  readonly key: number;
}

export interface Tables {
  readonly slopes: Tensor; // [H]
  readonly documents: Tensor; // i32 [S], ids of neighbouring keys
  readonly bias: Tensor; // [H, T, S]
  readonly rowBias: Tensor; // [B, 1, 1, S]
  readonly mask: Tensor; // bool [T, S]
  readonly learned: Tensor; // [2·max(T, S)], by distance
}

/** The same numbers for oracles. */
export const slopeOf = (head: number): number => 0.25 / (head + 1);
export const documentOf = (key: number): number => Math.floor(key / 5);
export const maskOf = (query: number, key: number): boolean => query !== 1 && (query * 7 + key * 3) % 4 !== 0;

export function sizesOf({ B = 1, H = 2, Hkv = H, T, S = T, D = 8, Dv = D }: AttentionCase) {
  return { B, H, Hkv, T, S, D, Dv };
}

export function tablesOf(each: AttentionCase): Tables {
  const { B, H, T, S } = sizesOf(each);
  const list = (n: number, f: (i: number) => number): number[] => Array.from({ length: n }, (_, i) => f(i));
  return {
    slopes: tensor(list(H, slopeOf)),
    documents: tensor(list(S, documentOf), { dtype: "i32" }),
    bias: floats([H, T, S], { seed: 11, dtype: "f32" }),
    rowBias: floats([B, 1, 1, S], { seed: 12, dtype: "f32" }),
    mask: tensor(Int32Array.from(list(T * S, (i) => Number(maskOf(Math.floor(i / S), i % S)))), { shape: [T, S] }).notEqual(0),
    learned: floats([2 * Math.max(T, S)], { seed: 13, dtype: "f32" }),
  };
}

/** A mask, and a score that reads slopes and ids: more than kernels bind beside the operands of a backward pass. */
const threeTables = ({ slopes, documents, mask }: Tables): AttentionOptions => ({
  mask,
  score: (s, { head, key }) => s.mul(slopes.take(head)).add(documents.take(key).mul(0.01)),
});
const scoreOfThreeTables: AttentionCase["score"] = (raw, { head, query, key }) =>
  maskOf(query, key) ? raw * slopeOf(head) + 0.01 * documentOf(key) : Number.NEGATIVE_INFINITY;

const causal: AttentionCase["options"] = () => ({ causal: true });

export const attentionCases: readonly AttentionCase[] = [
  { name: "plain", B: 2, T: 5, S: 7 },
  { name: "causal", B: 2, H: 3, T: 33, D: 16, options: causal },
  { name: "one query, one key", T: 1 },
  { name: "one query against many keys", B: 2, H: 4, Hkv: 2, T: 1, S: 300, D: 32, options: causal },
  { name: "three queries against many keys", H: 4, Hkv: 1, T: 3, S: 517, D: 16, options: () => ({ causal: true, offset: 400 }) },
  {
    name: "one query against a cache that is not full",
    B: 2,
    H: 4,
    Hkv: 2,
    T: 1,
    S: 600,
    D: 24,
    options: () => ({ causal: true, offset: tensor(317, { dtype: "i32" }) }),
  },
  { name: "grouped queries", B: 2, H: 6, Hkv: 2, T: 17, S: 19, D: 8, options: causal },
  { name: "one key head for all", H: 5, Hkv: 1, T: 65, D: 12, options: causal },
  { name: "primes", H: 1, T: 67, S: 71, D: 13, Dv: 7, options: causal },
  { name: "a tile", T: 64, S: 64, D: 64, options: causal },
  { name: "a tile and one", T: 65, S: 129, D: 32, options: causal },
  { name: "a tile less one", T: 63, S: 127, D: 32 },
  { name: "several tiles", H: 1, T: 200, S: 200, D: 16, options: causal },
  { name: "128 channels", H: 1, T: 40, D: 128, options: causal },
  { name: "values of other channels than keys", T: 9, S: 21, D: 4, Dv: 24 },
  { name: "an offset before the keys", T: 12, S: 9, options: () => ({ causal: true, offset: -4 }) },
  { name: "an offset beyond all keys", T: 6, S: 9, options: () => ({ causal: true, offset: 2 ** 31 - 1 }) },
  { name: "an offset that hides all", T: 6, S: 9, options: () => ({ causal: true, offset: -(2 ** 31) }) },
  { name: "an offset that is data", T: 6, S: 70, options: () => ({ causal: true, offset: tensor(50, { dtype: "i32" }) }) },
  { name: "a causal window", T: 150, D: 16, options: () => ({ causal: true, window: 20 }) },
  { name: "a window to both sides", T: 70, S: 90, options: () => ({ window: 9, offset: 5 }) },
  { name: "a window of one", T: 33, options: () => ({ causal: true, window: 1 }) },
  { name: "a scale", T: 9, options: () => ({ scale: -0.7 }) },
  {
    name: "a mask with a row that sees nothing",
    T: 18,
    S: 37,
    options: ({ mask }) => ({ mask }),
    score: (raw, { query, key }) => (maskOf(query, key) ? raw : Number.NEGATIVE_INFINITY),
  },
  {
    name: "a mask of keys",
    B: 2,
    T: 10,
    S: 12,
    options: ({ rowBias }) => ({ causal: true, mask: rowBias.greater(0) }),
  },
  { name: "a bias", H: 3, T: 20, S: 30, options: ({ bias }) => ({ causal: true, bias }) },
  { name: "a bias of keys", B: 2, T: 11, options: ({ rowBias }) => ({ bias: rowBias }) },
  {
    name: "ALiBi",
    H: 3,
    T: 40,
    options: ({ slopes }) => ({ causal: true, score: (s, { head, query, key }) => s.sub(slopes.take(head).mul(query.sub(key))) }),
    score: (raw, { head, query, key }) => raw - slopeOf(head) * (query - key),
  },
  {
    name: "a soft cap",
    T: 35,
    D: 16,
    options: () => ({ causal: true, score: (s) => s.div(0.5).tanh().mul(0.5) }),
    score: (raw) => 0.5 * Math.tanh(raw / 0.5),
  },
  {
    // A function that is a call with a derivative of its own.
    name: "a score with a sigmoid",
    T: 19,
    options: () => ({ causal: true, score: (s) => s.mul(s.sigmoid()) }),
    score: (raw) => raw / (1 + Math.exp(-raw)),
  },
  {
    name: "documents",
    T: 66,
    options: ({ documents }) => ({
      causal: true,
      score: (s, { query, key }) => where(documents.take(query).equal(documents.take(key)), s, Number.NEGATIVE_INFINITY),
    }),
    score: (raw, { query, key }) => (documentOf(query) === documentOf(key) ? raw : Number.NEGATIVE_INFINITY),
  },
  {
    name: "three tables, for two queries against many keys",
    H: 3,
    T: 2,
    S: 530,
    options: (tables) => ({ causal: true, offset: 470, ...threeTables(tables) }),
    score: scoreOfThreeTables,
  },
  {
    name: "three tables",
    H: 3,
    T: 70,
    S: 75,
    options: threeTables,
    score: scoreOfThreeTables,
  },
  {
    name: "a learned bias of distances",
    T: 21,
    S: 21,
    options: ({ learned }) => ({
      causal: true,
      score: (s, { query, key }) => s.add(learned.take(query.sub(key).abs())),
    }),
  },
];

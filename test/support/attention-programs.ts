import type {
  AttentionBackwardKernel,
  AttentionKernel,
  AttentionLoops,
  BufferInfo,
  Loop,
  Store,
  Value,
} from "../../src/compiler/program.js";
import type { DType } from "../../src/ir/dtype.js";
import { add, type IndexExpression, scale as scaled, variable } from "../../src/ir/index-expression.js";
import { type HostTensor, hostTensor } from "./graphs.js";
import { type LoopProgram, Scalars } from "./loop-programs.js";

/** Programs of one attention kernel, made by hand, with what comes out by plain loops in f64. */

/** What a score may depend on. */
export interface Pair {
  readonly batch: number;
  readonly head: number;
  readonly query: number;
  readonly key: number;
}

/** A score beyond the raw one: as a scalar computation and as a function. */
export interface Score {
  readonly name: string;
  /** Numbers that it reads, by index expressions over the loops. */
  readonly data?: (sizes: Sizes) => readonly number[];
  /** More tables, each of a dtype. */
  readonly tables?: (sizes: Sizes) => readonly { readonly dtype: DType; readonly values: readonly number[] }[];
  readonly print: (
    s: Scalars,
    at: Readonly<Record<keyof AttentionLoops, IndexExpression>>,
    given: {
      readonly raw: Value;
      readonly cotangent: Value;
      readonly data: number;
      readonly tables: readonly number[];
      readonly sizes: Sizes;
    },
  ) => { readonly score: Value; readonly visible?: Value; readonly pulled?: Value };
  readonly score: (raw: number, pair: Pair, data: readonly number[], sizes: Sizes) => number;
  /** Default: all. */
  readonly visible?: (pair: Pair, data: readonly number[], sizes: Sizes) => boolean;
  /** d score / d raw. Default: 1. */
  readonly slope?: (raw: number, pair: Pair, data: readonly number[], sizes: Sizes) => number;
}

export interface Sizes {
  readonly batch?: number;
  readonly heads?: number;
  readonly keyHeads?: number;
  readonly queries: number;
  readonly keys: number;
  readonly channels: number;
  readonly valueChannels?: number;
}

export interface AttentionCase extends Sizes {
  readonly causal?: boolean;
  readonly offset?: number;
  readonly window?: number;
  readonly scale?: number;
  readonly score?: Score;
  readonly dtype?: DType;
  /** Rows and channels of q, k, v and ō change places in memory. */
  readonly turned?: boolean;
  /** Keys and values from this one on are no numbers, as what lies beyond the filled part of a cache may be. */
  readonly filled?: number;
  /** Results that are stored. Default: all. */
  readonly results?: readonly number[];
  /** Times that the kernel is run, each with operands of its own. */
  readonly iterations?: number;
}

const full = (sizes: Sizes) => ({
  batch: 1,
  heads: 1,
  valueChannels: sizes.channels,
  ...sizes,
  keyHeads: sizes.keyHeads ?? sizes.heads ?? 1,
});

export const attentionName = (c: AttentionCase): string => {
  const { batch, heads, keyHeads, queries, keys, channels, valueChannels } = full(c);
  const options = [
    c.causal ? "causal" : "",
    c.offset === undefined ? "" : `offset ${c.offset}`,
    c.window ? `window ${c.window}` : "",
    c.score?.name ?? "",
    c.dtype ?? "",
    c.turned ? "turned" : "",
    c.filled === undefined ? "" : `filled up to ${c.filled}`,
    c.results ? `results ${c.results}` : "",
    c.iterations ? `${c.iterations} times` : "",
  ].filter((text) => text !== "");
  return `${batch} × ${heads}/${keyHeads} × (${queries} × ${channels})·(${keys} × ${valueChannels}) ${options.join(", ")}`;
};

/** Numbers between −1 and 1 that are the same in each run, rounded as the dtype has them. */
function numbers(n: number, seed: number, dtype: DType): number[] {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const fround = dtype === "bf16" ? roundBfloat : dtype === "f16" ? roundHalf : Math.fround;
  return Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return fround((state >>> 8) / 2 ** 23 - 1);
  });
}
const roundTo = (bits: number) => (x: number) => {
  if (x === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(x))) - bits);
  return Math.round(x / unit) * unit;
};
const roundHalf = (x: number): number => (Math.abs(x) < 2 ** -14 ? Math.round(x * 2 ** 24) / 2 ** 24 : roundTo(10)(x));
const roundBfloat = roundTo(7);

/** What attention is by plain loops, and its cotangents. */
interface Answer {
  readonly o: number[];
  readonly lse: number[];
  readonly delta: number[];
  readonly q: number[];
  readonly k: number[];
  readonly v: number[];
}

function solve(
  c: AttentionCase,
  given: Record<"q" | "k" | "v" | "cotangent" | "lseCotangent", readonly number[]>,
  data: readonly number[],
): Answer {
  const { batch, heads, keyHeads, queries, keys, channels, valueChannels } = full(c);
  const { causal = false, offset = 0, window = 0, scale = 1 / Math.sqrt(channels), score } = c;
  const answer: Answer = {
    o: new Array<number>(batch * heads * queries * valueChannels).fill(0),
    lse: new Array<number>(batch * heads * queries).fill(Math.fround(-1e30)),
    delta: new Array<number>(batch * heads * queries).fill(0),
    q: given.q.map(() => 0),
    k: given.k.map(() => 0),
    v: given.v.map(() => 0),
  };
  const at = (list: readonly number[], i: number): number => list[i] as number;
  const increase = (list: number[], i: number, by: number): void => {
    list[i] = at(list, i) + by;
  };
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const kh = Math.floor((h * keyHeads) / heads);
      for (let i = 0; i < queries; i++) {
        const row = (b * heads + h) * queries + i;
        const place = (j: number): number => (b * keyHeads + kh) * keys + j;
        const seen: { j: number; raw: number; s: number; pair: Pair }[] = [];
        for (let j = 0; j < keys; j++) {
          const pair = { batch: b, head: h, query: i, key: j };
          if (causal && j > i + offset) continue;
          if (window > 0 && Math.abs(i + offset - j) >= window) continue;
          if (score?.visible && !score.visible(pair, data, c)) continue;
          let raw = 0;
          for (let d = 0; d < channels; d++) raw += at(given.q, row * channels + d) * at(given.k, place(j) * channels + d);
          raw *= scale;
          seen.push({ j, raw, s: score ? score.score(raw, pair, data, c) : raw, pair });
        }
        if (seen.length === 0) continue;
        const most = Math.max(...seen.map(({ s }) => s));
        const lse = most + Math.log(seen.reduce((sum, { s }) => sum + Math.exp(s - most), 0));
        answer.lse[row] = lse;
        for (const { j, s } of seen) {
          for (let d = 0; d < valueChannels; d++) {
            increase(answer.o, row * valueChannels + d, Math.exp(s - lse) * at(given.v, place(j) * valueChannels + d));
          }
        }
        let delta = -at(given.lseCotangent, row);
        for (let d = 0; d < valueChannels; d++)
          delta += at(answer.o, row * valueChannels + d) * at(given.cotangent, row * valueChannels + d);
        answer.delta[row] = delta;
        for (const { j, s, raw, pair } of seen) {
          const p = Math.exp(s - lse);
          let dp = 0;
          for (let d = 0; d < valueChannels; d++) {
            const cotangent = at(given.cotangent, row * valueChannels + d);
            dp += cotangent * at(given.v, place(j) * valueChannels + d);
            increase(answer.v, place(j) * valueChannels + d, p * cotangent);
          }
          const ds = p * (dp - delta) * (score?.slope ? score.slope(raw, pair, data, c) : 1) * scale;
          for (let d = 0; d < channels; d++) {
            increase(answer.q, row * channels + d, ds * at(given.k, place(j) * channels + d));
            increase(answer.k, place(j) * channels + d, ds * at(given.q, row * channels + d));
          }
        }
      }
    }
  }
  return answer;
}

/** The order in memory: rows then channels, or the other way round. */
function place(
  c: AttentionCase,
  outer: readonly IndexExpression[],
  extents: readonly number[],
  row: IndexExpression,
  rows: number,
  column: IndexExpression,
  columns: number,
): IndexExpression {
  const inner = c.turned ? add(scaled(column, rows), row) : add(scaled(row, columns), column);
  let stride = rows * columns;
  const terms = [inner];
  for (let i = outer.length - 1; i >= 0; i--) {
    terms.push(scaled(outer[i] as IndexExpression, stride));
    stride *= extents[i] as number;
  }
  return add(...terms);
}

function turn(c: AttentionCase, list: readonly number[], rows: number, columns: number): number[] {
  if (!c.turned) return [...list];
  const turned = [...list];
  list.forEach((x, at) => {
    const [outer, row, column] = [Math.floor(at / (rows * columns)), Math.floor(at / columns) % rows, at % columns];
    turned[outer * rows * columns + column * rows + row] = x;
  });
  return turned;
}

export type Pass = "attention" | "attentionBackward";

/** A program of one kernel of attention, or of its backward pass. */
export function attentionProgram(pass: Pass, c: AttentionCase): LoopProgram {
  const { batch, heads, keyHeads, queries, keys, channels, valueChannels } = full(c);
  const { dtype = "f32", iterations = 1 } = c;
  const half = dtype !== "f32";
  const buffers = new Map<number, BufferInfo>();
  const inputs: HostTensor[] = [];
  const buffer = (type: DType, length: number): number => {
    buffers.set(buffers.size, { dtype: type, length });
    return buffers.size - 1;
  };
  const input = (type: DType, values: readonly number[]): number => {
    inputs.push(hostTensor(type, [values.length], values));
    return buffer(type, values.length);
  };
  const data = (c.score?.data?.(c) ?? []).map(Math.fround);
  const runs = Array.from({ length: iterations }, (_, t) => {
    const given = {
      q: numbers(batch * heads * queries * channels, 10 * t + 1, dtype)
        .map((x) => 3 * x)
        .map(half ? (x) => x : Math.fround),
      k: numbers(batch * keyHeads * keys * channels, 10 * t + 2, dtype),
      v: numbers(batch * keyHeads * keys * valueChannels, 10 * t + 3, dtype),
      cotangent: numbers(batch * heads * queries * valueChannels, 10 * t + 4, dtype),
      lseCotangent: numbers(batch * heads * queries, 10 * t + 5, "f32"),
    };
    if (half) given.q = numbers(batch * heads * queries * channels, 10 * t + 1, dtype);
    if (c.filled !== undefined) {
      const clear = (list: number[], width: number): number[] =>
        list.map((x, i) => (Math.floor(i / width) % keys < (c.filled as number) ? x : Number.NaN));
      given.k = clear(given.k, channels);
      given.v = clear(given.v, valueChannels);
    }
    return { given, answer: solve(c, given, data) };
  });
  const stacked = (pick: (run: (typeof runs)[number]) => readonly number[], rows: number, columns: number): number[] =>
    runs.flatMap((run) => turn(c, pick(run), rows, columns));

  const iteration: Loop = { name: "i0", extent: iterations };
  const loop = (name: string, extent: number): Loop => ({ name, extent });
  const loops: AttentionLoops = {
    batch: loop("batch", batch),
    head: loop("head", heads),
    keyHead: loop("keyHead", keyHeads),
    query: loop("query", queries),
    key: loop("key", keys),
    channel: loop("channel", channels),
    valueChannel: loop("valueChannel", valueChannels),
  };
  const at = Object.fromEntries(Object.entries(loops).map(([name, { extent }]) => [name, variable(name, extent)])) as Record<
    keyof AttentionLoops,
    IndexExpression
  >;
  const turnOf = variable(iteration.name, iterations);
  const outer = (head: IndexExpression) => [turnOf, at.batch, head];
  const perQuery = add(scaled(turnOf, batch * heads * queries), scaled(at.batch, heads * queries), scaled(at.head, queries), at.query);
  const places = {
    q: place(c, outer(at.head), [iterations, batch, heads], at.query, queries, at.channel, channels),
    k: place(c, outer(at.keyHead), [iterations, batch, keyHeads], at.key, keys, at.channel, channels),
    v: place(c, outer(at.keyHead), [iterations, batch, keyHeads], at.key, keys, at.valueChannel, valueChannels),
    o: place(c, outer(at.head), [iterations, batch, heads], at.query, queries, at.valueChannel, valueChannels),
  };

  const s = new Scalars();
  const q = s.load(
    input(
      dtype,
      stacked(({ given }) => given.q, queries, channels),
    ),
    places.q,
    dtype,
  );
  const k = s.load(
    input(
      dtype,
      stacked(({ given }) => given.k, keys, channels),
    ),
    places.k,
    dtype,
  );
  const v = s.load(
    input(
      dtype,
      stacked(({ given }) => given.v, keys, valueChannels),
    ),
    places.v,
    dtype,
  );
  const offset = s.load(input("i32", [c.offset ?? 0]), add(), "i32");
  const scale = s.load(input("f32", [c.scale ?? 1 / Math.sqrt(channels)]), add());
  const [raw, cotangentOfScore] = [s.register(0), s.register(1)];
  const captured = data.length > 0 ? input("f32", data) : -1;
  const tables = (c.score?.tables?.(c) ?? []).map(({ dtype: type, values }) => input(type, values));
  const printed = c.score?.print(s, at, { raw, cotangent: cotangentOfScore, data: captured, tables, sizes: c });
  const base = {
    label: pass,
    loops,
    q,
    k,
    v,
    offset,
    scale,
    causal: c.causal ?? false,
    window: c.window ?? 0,
    raw,
    score: printed?.score ?? raw,
    visible: printed?.visible,
  };
  const results = (c.results ?? [0, 1, 2]).filter((result) => result < (pass === "attention" ? 2 : 3));
  const made =
    pass === "attention"
      ? [
          { index: places.o, dtype, pick: (run: (typeof runs)[number]) => run.answer.o, rows: queries, columns: valueChannels },
          { index: perQuery, dtype: "f32" as const, pick: (run: (typeof runs)[number]) => run.answer.lse, rows: queries, columns: 1 },
        ]
      : [
          { index: places.q, dtype, pick: (run: (typeof runs)[number]) => run.answer.q, rows: queries, columns: channels },
          { index: places.k, dtype, pick: (run: (typeof runs)[number]) => run.answer.k, rows: keys, columns: channels },
          { index: places.v, dtype, pick: (run: (typeof runs)[number]) => run.answer.v, rows: keys, columns: valueChannels },
        ];
  const outputs: number[] = [];
  const expected: number[][] = [];
  const stores = results.map((result): Store => {
    const { index, dtype: type, pick, rows, columns } = made[result] as (typeof made)[number];
    const values = stacked(pick, rows, columns);
    const to = buffer(type, values.length);
    outputs.push(to);
    expected.push(values);
    return { buffer: to, index, value: s.register(2 + result), inner: false };
  });
  let kernel: AttentionKernel | AttentionBackwardKernel = { kind: "attention", ...base, values: s.values, stores, results };
  if (pass === "attentionBackward") {
    const perRow = (pick: (run: (typeof runs)[number]) => readonly number[]) => s.load(input("f32", runs.flatMap(pick)), perQuery);
    kernel = {
      ...kernel,
      kind: "attentionBackward",
      cotangent: s.load(
        input(
          dtype,
          stacked(({ given }) => given.cotangent, queries, valueChannels),
        ),
        places.o,
        dtype,
      ),
      lse: perRow(({ answer }) => answer.lse),
      delta: perRow(({ answer }) => answer.delta),
      scoreCotangent: cotangentOfScore,
      pulled: printed?.pulled ?? cotangentOfScore,
    };
  }
  // Inputs are handed over in the order in which they were made, and results are no inputs.
  const handed = [...buffers.keys()].filter((each) => !outputs.includes(each));
  const steps = iterations > 1 ? [{ kind: "loop" as const, label: "", iteration, body: [kernel] }] : [kernel];
  let largest = 1;
  for (const x of expected.flat()) if (x > -1e29) largest = Math.max(largest, Math.abs(x));
  return {
    name: `${pass} ${attentionName(c)}`,
    lowered: { steps, buffers, inputs: handed, outputs },
    inputs,
    scalars: [],
    expected,
    tolerance: largest * (dtype === "f32" ? 1e-5 : dtype === "f16" ? 1e-3 : 8e-3),
  };
}

import { maskedScore, softmax } from "../../autograd/composites.js";
import {
  add,
  and,
  arange,
  cast,
  iota,
  less,
  lessEqual,
  matmul,
  mul,
  pad,
  permute,
  reshape,
  slice,
  sub,
  transpose,
  where,
} from "../../autograd/operations.js";
import { scan } from "../../autograd/scan.js";
import type { Tensor } from "../../autograd/tensor.js";
import { summableDtype } from "../../ir/dtype.js";
import type { AttentionContext } from "../attention-context.js";
import { type PairCoordinates, requireOrder } from "./position-bias.js";

/**
 * Attention for scores that are no elementwise function of q·k: the scores of all heads for some queries and all keys are there at once.
 */

/** The scores of some pairs, their coordinates, and which of them count: the key is not after its query, and within its window. */
export interface Pairs extends PairCoordinates {
  /** q·kᵀ/√D */
  readonly raw: Tensor; // [B, H, R, S]
  /** bool */
  readonly seen: Tensor; // [1, 1, R, S]
}

export interface RowsOptions {
  /** Numbers per pair of query and key that the widest step of `scores` makes, all samples together. */
  readonly width: number;
  /** Queries that are taken at once. Default: as many as make {@link mostNumbers}. */
  readonly rows: number | undefined;
}

/** Numbers that a step over a block of queries makes by default, at most: 16 MiB. */
const mostNumbers = 2 ** 22;

/**
 * softmax(scores(q·kᵀ/√D))·v over the keys up to each query, [B, H, T, D]. Queries are taken in blocks, one after another; the backward
 * pass computes each block a second time, so that memory grows with rows·S and not with T·S, forward and backward.
 */
export function attendByRows(queries: Tensor, context: AttentionContext, scores: (pairs: Pairs) => Tensor, options: RowsOptions): Tensor {
  requireOrder(context);
  const { keys, values, offset, window } = context;
  const [B, H, T, D] = queries.shape as Shape4;
  const [, Hkv, S] = keys.shape as Shape4;
  const most = options.rows ?? Math.max(1, Math.floor(mostNumbers / (options.width * S)));
  const count = Math.ceil(T / Math.min(most, T));
  const R = Math.ceil(T / count);

  /** The queries `first` … first + R − 1. */
  const block = (q: Tensor, first: Tensor | number): Tensor => {
    // Query heads that share a key head are rows of one matrix.
    const products = matmul(reshape(q, [B, Hkv, (H / Hkv) * R, D]), transpose(keys), { dtype: summableDtype(q.dtype) });
    const raw = mul(reshape(products, [B, H, R, S]), 1 / Math.sqrt(D));
    const query = add(add(iota([1, 1, R, 1], 2), first), offset);
    const key = iota([1, 1, 1, S], 3);
    const before = lessEqual(key, query);
    const seen = window === undefined ? before : and(before, less(sub(query, key), window));
    const found = scores({ raw, head: iota([1, H, 1, 1], 1), query, key, seen }); // [B, H, R, S]
    const weights = softmax(where(seen, found, maskedScore));
    const y = matmul(reshape(weights, [B, Hkv, (H / Hkv) * R, S]), values);
    return cast(reshape(y, [B, H, R, values.shape[3] as number]), values.dtype);
  };

  if (count === 1) return block(queries, 0);
  const padded = pad(queries, [
    [0, 0],
    [0, 0],
    [0, count * R - T],
    [0, 0],
  ]);
  const cut = permute(reshape(padded, [B, H, count, R, D]), [2, 0, 1, 3, 4]); // [count, B, H, R, D]
  const [, joined] = scan((carry: null, x: { q: Tensor; first: Tensor }) => [carry, block(x.q, x.first)] as const, null, {
    q: cut,
    first: mul(arange(count, { dtype: "i32" }), R),
  }); // [count, B, H, R, D]
  const whole = reshape(permute(joined, [1, 2, 0, 3, 4]), [B, H, count * R, values.shape[3] as number]);
  return slice(whole, [null, null, [0, T]]);
}

type Shape4 = readonly [number, number, number, number];

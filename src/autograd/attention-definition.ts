import { checkArgument } from "../arguments.js";
import { ShapeError } from "../errors.js";
import { hiddenScore } from "../ir/attention.js";
import { summableDtype } from "../ir/dtype.js";
import { type Shape, sameShape, show } from "../ir/shape.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { pullThrough } from "./pullback.js";
import { scan } from "./scan.js";
import { apply, type Tensor } from "./tensor.js";

/**
 * What attention means, in primitives: the bodies of its calls. Where all scores would take much room, queries are taken in blocks of
 * rows, one after another, so that nothing is ever T × S.
 */

/** Coordinates of scores as i32: batch [B, 1, 1, 1], head [1, H, 1, 1], query [1, 1, R, 1] and key [1, 1, 1, S]. */
export interface ScoreCoordinates {
  readonly batch: Tensor;
  readonly head: Tensor;
  readonly query: Tensor;
  readonly key: Tensor;
}

/** An elementwise function of raw scores [B, H, R, S] and their coordinates. */
export type AttentionScore = (score: Tensor, at: ScoreCoordinates) => Tensor;

/** Which scores count, and what becomes of them, beside what is data. */
export interface AttentionRules {
  readonly causal: boolean;
  /** 0 for none. */
  readonly window: number;
  readonly score: AttentionScore | undefined;
  /** Whether every query is known to see a key. */
  readonly everyQuerySees: boolean;
}

/** What depends on the query. */
interface Rows {
  readonly q: Tensor; // [B, H, R, D]
  /** i32 [1, 1, R, 1] */
  readonly query: Tensor;
  /** bool, whether the rows exist; for all where undefined. */
  readonly exist?: Tensor | undefined;
  readonly bias?: Tensor | undefined; // broadcastable to [B, H, R, S]
  readonly mask?: Tensor | undefined;
}

/** What is the same for all queries. */
export interface AttentionSetting {
  readonly k: Tensor; // [B, Hkv, S, D]
  readonly v: Tensor; // [B, Hkv, S, Dv]
  readonly offset: Tensor; // i32 []
  readonly scale: Tensor; // []
}

/** What broadcasts to [B, H, T, S]: added to scores, and hiding them. */
export interface AttentionTables {
  readonly bias: Tensor | undefined;
  readonly mask: Tensor | undefined;
}

/** Scores that are there at once, at most. */
const mostScores = 1 << 20;

/** i32 counting along one axis of four. */
const counting = (axis: number, extent: number): Tensor =>
  ops.iota(
    [0, 1, 2, 3].map((i) => (i === axis ? extent : 1)),
    axis,
    { dtype: "i32" },
  );

/** What becomes of raw scores [B, H, R, S]. */
export function scored(raw: Tensor, at: ScoreCoordinates, score: AttentionScore | undefined, bias: Tensor | undefined): Tensor {
  let found = raw;
  if (score !== undefined) {
    found = score(raw, at);
    checkArgument("attention", "the result of score", found, tensorKind);
    if (!sameShape(found.shape, raw.shape)) {
      throw new ShapeError(`attention: score made ${show(found.shape)} of scores ${show(raw.shape)}`, {
        hint: "score is elementwise: read what depends on the query by its coordinate, table.take(query), or give it as bias or mask",
      });
    }
    found = ops.cast(found, raw.dtype);
  }
  return bias === undefined ? found : ops.add(found, ops.cast(bias, raw.dtype));
}

/** Whether a score counts that a function or a bias made, which hide by −∞ and all that is as low as `hiddenScore`. */
export const isSeen = (score: Tensor): Tensor => ops.not(ops.lessEqual(score, hiddenScore));

/** Raw scores [B, H, R, S], what became of them, and which count (all where undefined). */
function scoresOf({ q, query, exist, bias, mask }: Rows, { k, offset, scale }: AttentionSetting, rules: AttentionRules) {
  const [B, H, R, D] = q.shape as [number, number, number, number];
  const [, Hkv, S] = k.shape as [number, number, number, number];
  const rows = ops.reshape(q, [B, Hkv, (H / Hkv) * R, D]);
  const products = ops.matmul(rows, ops.transpose(k), { dtype: summableDtype(q.dtype) }); // [B, Hkv, G·R, S]
  const raw = apply("alias", [ops.mul(ops.reshape(products, [B, H, R, S]), scale)], {});
  const key = counting(3, S);
  const score = scored(raw, { batch: counting(0, B), head: counting(1, H), query, key }, rules.score, bias);
  const counts: Tensor[] = [];
  // Key − query cannot overflow, as query + offset may.
  const distance = ops.sub(key, query);
  if (rules.causal) counts.push(ops.lessEqual(distance, offset));
  if (rules.window > 0) {
    counts.push(ops.greater(distance, ops.sub(offset, rules.window)));
    if (!rules.causal) counts.push(ops.less(distance, ops.add(offset, rules.window)));
  }
  if (mask !== undefined) counts.push(mask);
  if (rules.score !== undefined || bias !== undefined) counts.push(isSeen(score));
  if (exist !== undefined) counts.push(exist);
  const visible =
    counts.length === 0
      ? undefined
      : ops.broadcastTo(
          counts.reduce((a, b) => ops.and(a, b)),
          raw.shape,
        );
  return { raw, score, visible };
}

/** Rows of scores as weights that are applied to values or keys: [B, H, R, S] · [B, Hkv, S, N] → [B, H, R, N]. */
function weighted(weights: Tensor, of: Tensor): Tensor {
  const [B, H, R, S] = weights.shape as [number, number, number, number];
  const [, Hkv, , N] = of.shape as [number, number, number, number];
  const rows = ops.reshape(weights, [B, Hkv, (H / Hkv) * R, S]);
  return ops.reshape(ops.matmul(rows, of, { dtype: weights.dtype }), [B, H, R, N]);
}

/** Sums over queries, those of all heads that share a key: Σ weights · of, [B, H, R, S] and [B, H, R, N] → [B, Hkv, S, N]. */
function gathered(weights: Tensor, of: Tensor, Hkv: number): Tensor {
  const [B, H, R, S] = weights.shape as [number, number, number, number];
  const rows = (x: Tensor, extent: number): Tensor => ops.reshape(x, [B, Hkv, (H / Hkv) * R, extent]);
  return ops.matmul(ops.transpose(rows(weights, S)), rows(of, of.shape[3] as number), { dtype: weights.dtype });
}

/** where(visible, x, otherwise), and x where all are visible. */
const shown = (visible: Tensor | undefined, x: Tensor, otherwise: number): Tensor =>
  visible === undefined ? x : ops.where(visible, x, otherwise);

/** o [B, H, R, Dv] and lse [B, H, R] of some rows. */
function forwardRows(rows: Rows, setting: AttentionSetting, rules: AttentionRules): [o: Tensor, lse: Tensor] {
  const { score, visible } = scoresOf(rows, setting, rules);
  const counted = shown(visible, score, hiddenScore);
  const largest = ops.stopGradient(ops.max(counted, -1, true));
  const exponentials = ops.exp(ops.sub(counted, largest));
  // Where nothing is seen all scores are equal, and so are their weights, which must be zero instead.
  const weights = rules.everyQuerySees && rows.exist === undefined ? exponentials : shown(visible, exponentials, 0);
  const sum = ops.sum(weights, -1, true);
  const empty = ops.equal(sum, 0);
  const divisor = ops.where(empty, 1, sum);
  const o = ops.div(weighted(weights, setting.v), divisor);
  const lse = ops.where(empty, hiddenScore, ops.add(ops.log(divisor), largest));
  return [ops.cast(o, setting.v.dtype), ops.squeeze(lse, -1)];
}

/** What the backward pass has beside the operands. */
export interface AttentionCotangents {
  readonly lse: Tensor; // [B, H, R]
  /** ō */
  readonly cotangent: Tensor; // [B, H, R, Dv]
  /** Σ ō·o less the cotangent of lse. */
  readonly delta: Tensor; // [B, H, R]
}

/** q̄ of some rows, and what they add to k̄ and v̄. */
function backwardRows(
  rows: Rows,
  { lse, cotangent, delta }: AttentionCotangents,
  setting: AttentionSetting,
  rules: AttentionRules,
): [qCt: Tensor, kCt: Tensor, vCt: Tensor] {
  const { k, v, scale } = setting;
  const [, Hkv] = k.shape as [number, number];
  const { raw, score, visible } = scoresOf(rows, setting, rules);
  const wide = raw.dtype;
  const weights = shown(visible, ops.exp(ops.sub(shown(visible, score, hiddenScore), ops.unsqueeze(lse, -1))), 0);
  const wideCt = ops.cast(cotangent, wide);
  const slopes = weighted(wideCt, ops.transpose(v)); // [B, H, R, S]
  const ofScore = ops.mul(weights, ops.sub(slopes, ops.unsqueeze(delta, -1)));
  const ofRaw = ops.mul(pulledRaw(raw, score, ofScore), scale);
  return [weighted(ofRaw, k), gathered(ofRaw, ops.cast(rows.q, wide), Hkv), gathered(weights, wideCt, Hkv)];
}

/** The cotangent of raw scores from that of what became of them. */
export const pulledRaw = (raw: Tensor, score: Tensor, ct: Tensor): Tensor =>
  raw === score ? ct : (pullThrough([score], [raw], [ct], [true])[0] ?? ops.zerosLike(raw));

/** o [B, H, T, Dv] and lse [B, H, T]. */
export function attentionForward(q: Tensor, setting: AttentionSetting, tables: AttentionTables, rules: AttentionRules): [Tensor, Tensor] {
  const [, , T] = q.shape as Shape4;
  const cut = blocks(q, setting);
  if (cut === undefined) return forwardRows({ q, query: counting(2, T), ...tables }, setting, rules);
  const { apart, joined, rowsOf } = cut;
  const [, [o, lse]] = scan(
    (carry: null, block: RowBlock) => [carry, forwardRows(rowsOf(block, tables), setting, rules)] as const,
    null,
    apart({ q, ...tables }),
  );
  return [joined(o), joined(lse)];
}

/** q̄, k̄ and v̄. */
export function attentionBackward(
  q: Tensor,
  cts: AttentionCotangents,
  setting: AttentionSetting,
  tables: AttentionTables,
  rules: AttentionRules,
): [Tensor, Tensor, Tensor] {
  const { k, v } = setting;
  const [, , T] = q.shape as Shape4;
  const dtype = summableDtype(q.dtype);
  const cut = blocks(q, setting);
  let found: readonly [Tensor, Tensor, Tensor];
  if (cut === undefined) found = backwardRows({ q, query: counting(2, T), ...tables }, cts, setting, rules);
  else {
    const { apart, joined, rowsOf } = cut;
    const [[kCt, vCt], qCt] = scan(
      ([kSum, vSum]: [Tensor, Tensor], block: RowBlock & AttentionCotangents) => {
        const [ofQ, ofK, ofV] = backwardRows(rowsOf(block, tables), block, setting, rules);
        return [[ops.add(kSum, ofK), ops.add(vSum, ofV)] as [Tensor, Tensor], ofQ] as const;
      },
      [ops.zeros(k.shape, { dtype }), ops.zeros(v.shape, { dtype })],
      { ...apart({ q, ...tables }), ...apart(cts) },
    );
    found = [joined(qCt), kCt, vCt];
  }
  return [ops.cast(found[0], q.dtype), ops.cast(found[1], k.dtype), ops.cast(found[2], v.dtype)];
}

type Shape4 = readonly [number, number, number, number];

/** One block of rows: what has an axis of queries cut out, and the number of the first of them (i32 []). */
interface RowBlock {
  readonly first: Tensor;
  readonly q: Tensor;
  readonly bias?: Tensor | undefined;
  readonly mask?: Tensor | undefined;
}

/** How queries are taken in blocks, or undefined where all are taken at once. */
function blocks(q: Tensor, { k }: AttentionSetting) {
  const [B, H, T] = q.shape as Shape4;
  const S = k.shape[2] as number;
  if (B * H * T * S <= mostScores || T === 1) return undefined;
  const count = Math.min(T, Math.ceil(T / Math.max(1, Math.floor(mostScores / (B * H * S)))));
  const rows = Math.ceil(T / count);
  const padded = rows * count;
  /** [.., T, ..] → [count, .., rows, ..] along axis 2. */
  const cutRows = (x: Tensor): Tensor => {
    const widths = x.shape.map((_, axis) => [0, axis === 2 ? padded - T : 0] as const);
    const whole = padded === T ? x : ops.pad(x, widths);
    const split = ops.reshape(whole, [...x.shape.slice(0, 2), count, rows, ...x.shape.slice(3)]);
    return ops.permute(split, [2, 0, 1, ...x.shape.slice(2).map((_, i) => i + 3)]);
  };
  /** The tensors of a record that have a row for each query, cut; those that have one for all stay out of it. */
  const apart = <X extends object>(all: X): RowBlock & X => {
    const cut: Record<string, Tensor> = { first: ops.mul(ops.arange(count, { dtype: "i32" }), rows) };
    for (const [name, x] of Object.entries(all) as [string, Tensor | undefined][]) {
      if (x !== undefined && x.shape[2] === T) cut[name] = cutRows(x);
    }
    return cut as unknown as RowBlock & X;
  };
  const joined = (x: Tensor): Tensor => {
    const order = [1, 2, 0, ...x.shape.slice(3).map((_, i) => i + 3)];
    const [, b, h, , ...rest] = x.shape as [number, number, number, number, ...number[]];
    const whole = ops.reshape(ops.permute(x, order), [b, h, padded, ...rest]);
    return padded === T ? whole : ops.slice(whole, [null, null, [0, T]]);
  };
  const rowsOf = ({ first, q: ofBlock, ...cut }: RowBlock, tables: AttentionTables): Rows => {
    const counted = ops.add(counting(2, rows), first);
    // Rows past the last are read like it, and do not count.
    return {
      q: ofBlock,
      query: padded === T ? counted : ops.minimum(counted, T - 1),
      exist: padded === T ? undefined : ops.less(counted, T),
      bias: cut.bias ?? tables.bias,
      mask: cut.mask ?? tables.mask,
    };
  };
  return { apart, joined, rowsOf };
}

/** A tensor as one of rank 4 with the same last axes. */
export const ofRank4 = (x: Tensor): Tensor => {
  const shape: Shape = [...new Array<number>(4 - x.rank).fill(1), ...x.shape];
  return ops.reshape(x, shape);
};

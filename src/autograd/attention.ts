import { callable, checkArgument, checkOptions, flag, fraction, integer, type OptionKinds, optional } from "../arguments.js";
import { DtypeError, ShapeError } from "../errors.js";
import { type AttentionParams, attentionBackwardCall, attentionCall, attentionInputs, hiddenScore } from "../ir/attention.js";
import { isFloat, isInteger, summableDtype } from "../ir/dtype.js";
import type { Graph } from "../ir/graph.js";
import { broadcastShapes, show } from "../ir/shape.js";
import {
  type AttentionRules,
  type AttentionScore,
  type AttentionTables,
  attentionBackward,
  attentionForward,
  ofRank4,
} from "./attention-definition.js";
import { type TracedScore, traceScore } from "./attention-score.js";
import { keyKind, tensorKind, tensorLikeKind } from "./kinds.js";
import { constant, literal } from "./operations/operands.js";
import type { TensorLike } from "./operations.js";
import * as ops from "./operations.js";
import { pullThrough } from "./pullback.js";
import { bernoulli } from "./random.js";
import { evaluate, makeCall, type TracedBody, traceBody } from "./region.js";
import { apply, type CallPullback, type Tensor } from "./tensor.js";
import { isPlain } from "./weak-scalar.js";

export type { AttentionScore, ScoreCoordinates } from "./attention-definition.js";

export interface AttentionOptions {
  /** Key j is seen by query i only if j ≤ i + offset. Default false. A query that sees no key gives zeros, and takes no part in derivatives. */
  readonly causal?: boolean;
  /** Position of the first query among the keys, a number or an integer scalar; default S − T. */
  readonly offset?: TensorLike;
  /** Key j is seen by query i only if |i + offset − j| < window: with `causal` the last `window` keys, its own among them. At most 2²⁹; default: all. */
  readonly window?: number;
  /** bool, broadcastable to [B, H, T, S]: false hides a key. A query that sees no key gives zeros. */
  readonly mask?: Tensor;
  /** Float, broadcastable to [B, H, T, S]: added to the scores. A score of −∞, or as low as −10³⁰, hides a key. */
  readonly bias?: Tensor;
  /**
   * What becomes of a score q·k·scale before `bias` is added: an elementwise function of scores [B, H, R, S] of some R queries and their
   * coordinates, i32 tensors that broadcast with them (`query` counts the queries from 0; its position among the keys is query + offset).
   * Scores of −∞ hide keys. How many rows R it is given is no matter to it: tables are read by coordinates.
   *
   *   ALiBi       (s, { head, query, key }) => s.sub(slopes.take(head).mul(query.sub(key)))
   *   soft cap    (s) => s.div(30).tanh().mul(30)
   *   documents   (s, { query, key }) => where(ids.take(query).equal(ids.take(key)), s, -Infinity)
   */
  readonly score?: AttentionScore;
  /** Factor of the scores; default 1/√D. */
  readonly scale?: TensorLike;
}

export interface DroppingAttentionOptions extends AttentionOptions {
  /**
   * The probability with which a weight of the softmax is dropped, the others divided by 1 − rate, where there is a `key`: that takes a mask of
   * [B, H, T, S], and twice the time. Default 0.
   */
  readonly dropout?: number;
  /** What is dropped, see `dropout`; without a key nothing is. */
  readonly key?: Tensor;
}

/** Positions are i32: sums of an offset and so wide a window still are, here and in kernels. */
const widestWindow = 2 ** 29;

const attentionKinds: OptionKinds<AttentionOptions> = {
  causal: optional(flag),
  offset: optional(tensorLikeKind),
  window: optional(integer(1, widestWindow)),
  mask: optional(tensorKind),
  bias: optional(tensorKind),
  score: optional(callable),
  scale: optional(tensorLikeKind),
};

/**
 * softmax(score(q·kᵀ·scale) + bias, over the keys that are seen)·v. q: [B, H, T, D]; k: [B, Hkv, S, D], v: [B, Hkv, S, Dv] with H a
 * multiple of Hkv: each key/value head serves H/Hkv neighbouring query heads (grouped-query attention, Ainslie et al. 2023). Result:
 * [B, H, T, Dv]. Memory grows with T and S, not with T·S, forward and backward: kernels take the keys in blocks and keep running sums
 * (Dao et al. 2022), and the definition takes blocks of queries. Derivatives by `bias`, `scale` and what `score` closes over are those
 * of the definition. Throws ShapeError and DtypeError for what does not fit, OptionError for a score that is not elementwise.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: DroppingAttentionOptions = {}): Tensor {
  checkOptions("attention", options, { ...attentionKinds, dropout: optional(fraction), key: optional(keyKind) });
  const { dropout: rate = 0, key, ...rules } = options;
  const [o, lse] = attend("attention", q, k, v, rules);
  if (key === undefined || rate === 0) return o;
  const kept = bernoulli(key, [...o.shape.slice(0, 3), k.shape[2] as number], 1 - rate);
  const mask = rules.mask === undefined ? kept : ops.and(rules.mask, kept);
  const [some, lseOfSome] = attend("attention", q, k, v, { ...rules, mask });
  // Σ over the kept e^s·v / Σ over all e^s: the sum that attention over the kept divided by, and the one that counts.
  const share = ops.mul(ops.exp(ops.sub(lseOfSome, lse)), 1 / (1 - rate));
  return ops.cast(ops.mul(some, ops.unsqueeze(share, -1)), o.dtype);
}

/**
 * What `attention` gives, o [B, H, T, Dv], and the logarithm of what it divided by, lse [B, H, T] in f32 (f64 where q is):
 *
 *   o = Σ_j e^(s_j − lse)·v_j     lse = ln Σ_j e^(s_j)     over the keys j that a query sees, with scores s_j
 *
 * A query that sees no key has o = 0 and lse = −10³⁰. Both have derivatives. With them attention over parts of the keys that share none
 * is put together to attention over all of these keys (Dao et al. 2022, section 3.1):
 *
 *   o = o₁·σ(lse₁ − lse₂) + o₂·σ(lse₂ − lse₁)     lse = max(lse₁, lse₂) + ln(1 + e^(−|lse₁ − lse₂|))
 *
 * Takes and throws what `attention` does.
 */
export function attentionWithLogSumExp(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): [o: Tensor, lse: Tensor] {
  return attend("attentionWithLogSumExp", q, k, v, options);
}

function attend(where: string, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): [o: Tensor, lse: Tensor] {
  for (const [name, value] of Object.entries({ q, k, v })) checkArgument(where, name, value, tensorKind);
  checkOptions(where, options, attentionKinds);
  checkOperands(q, k, v);
  const [B, H, T, D] = q.shape as Shape4;
  const S = k.shape[2] as number;
  const tables = { mask: tableOf("mask", options.mask, [B, H, T, S]), bias: tableOf("bias", options.bias, [B, H, T, S]) };
  const { causal = false, window = 0, score } = options;
  const offset = offsetOf(options.offset ?? S - T, T + S + window);
  const dtype = summableDtype(q.dtype);
  // Without keys no query sees one.
  if (S === 0) return [ops.zeros([B, H, T, v.shape[3] as number], { dtype: v.dtype }), ops.full([B, H, T], hiddenScore, { dtype })];
  const scale = scaleOf(options.scale ?? 1 / Math.sqrt(D), dtype);
  const first = options.offset ?? S - T;
  const isPlainlyCausal = causal && window === 0 && typeof first === "number" && first >= 0;
  const restricts = tables.mask !== undefined || tables.bias !== undefined || score !== undefined;
  const everyQuerySees = !restricts && (isPlainlyCausal || (!causal && window === 0));
  const rules: AttentionRules = { causal, window, score, everyQuerySees };
  const traced = restricts ? traceScore([B, H, S], dtype, score, tables) : undefined;
  return attentionCallOf([q, k, v, offset, scale], { causal, window, score: traced?.graph ?? null }, { rules, tables, traced });
}

type Shape4 = readonly [number, number, number, number];
type Operands = readonly [q: Tensor, k: Tensor, v: Tensor, offset: Tensor, scale: Tensor];

interface Meaning {
  readonly rules: AttentionRules;
  readonly tables: AttentionTables;
  readonly traced: TracedScore | undefined;
}

/** The results of a call of attention, whose cotangents are those of a call of its backward pass. */
function attentionCallOf(operands: Operands, params: AttentionParams, { rules, tables, traced }: Meaning): [o: Tensor, lse: Tensor] {
  const known = traced?.captured ?? [];
  const forward = traceBody(operands, ([q, k, v, offset, scale]) =>
    attentionForward(q as Tensor, { k: k as Tensor, v: v as Tensor, offset: offset as Tensor, scale: scale as Tensor }, tables, rules),
  );
  const [o, lse] = forward.body.outputs.map((output) => forward.body.nodes[output] as { shape: readonly number[]; dtype: Tensor["dtype"] });
  const perRow = { shape: (lse as { shape: readonly number[] }).shape, dtype: summableDtype(operands[0].dtype) };
  const backward = traceBody([...operands, perRow, o as Tensor, perRow], ([q, k, v, offset, scale, lse, cotangent, delta]) =>
    attentionBackward(
      q as Tensor,
      { lse: lse as Tensor, cotangent: cotangent as Tensor, delta: delta as Tensor },
      { k: k as Tensor, v: v as Tensor, offset: offset as Tensor, scale: scale as Tensor },
      tables,
      rules,
    ),
  );
  // Both bodies take the same captures: those of the score first, which kernels read.
  const captured = [...new Set([...known, ...forward.captured, ...backward.captured])];
  const forwardBody = withCaptures(forward, captured, attentionInputs[attentionCall]);
  const backwardBody = withCaptures(backward, captured, attentionInputs[attentionBackwardCall]);

  const pullback: CallPullback = (call, cts, needs) => {
    const own = operands.length;
    // What else the scores are made of is differentiated through the definition.
    if (needs.some((need, i) => need && i > 2)) {
      const variables = call.inputs.map((input) => apply("alias", [input], {}));
      return pullThrough(evaluate(call.body, variables), variables, cts, needs);
    }
    const [o, lse] = call.results as [Tensor, Tensor];
    const cotangent = cts[0] ?? ops.zerosLike(o);
    const products = ops.mul(ops.cast(cotangent, lse.dtype), ops.cast(o, lse.dtype));
    const sums = ops.sum(products, -1);
    const delta = cts[1] ? ops.sub(sums, cts[1]) : sums;
    const inputs = [...call.inputs.slice(0, own), lse, cotangent, delta, ...call.inputs.slice(own)];
    return makeCall({ name: attentionBackwardCall, params, body: backwardBody, inputs, pullback: undefined }).results;
  };
  const call = makeCall({ name: attentionCall, params, body: forwardBody, inputs: [...operands, ...captured], pullback });
  return call.results as [Tensor, Tensor];
}

/** A body whose captures, which come after `own` inputs, are found in a list of more. */
function withCaptures({ body, captured }: TracedBody, all: readonly Tensor[], own: number): Graph {
  const places = new Map(all.map((tensor, i) => [tensor, own + i]));
  const nodes = body.nodes.map((node) =>
    node.kind === "input" && node.input >= own ? { ...node, input: places.get(captured[node.input - own] as Tensor) as number } : node,
  );
  return { ...body, nodes, inputCount: own + all.length };
}

function checkOperands(q: Tensor, k: Tensor, v: Tensor): void {
  const [B, H, , D] = q.shape;
  const [, Hkv, S] = k.shape;
  const fits =
    q.rank === 4 &&
    k.rank === 4 &&
    v.rank === 4 &&
    k.shape[0] === B &&
    k.shape[3] === D &&
    v.shape[0] === B &&
    v.shape[1] === Hkv &&
    v.shape[2] === S;
  if (!fits || (H as number) % (Hkv as number) !== 0) {
    throw new ShapeError(`attention: q ${show(q.shape)}, k ${show(k.shape)}, v ${show(v.shape)}`, {
      hint: "q is [B, H, T, D]; k and v are [B, Hkv, S, D] with H a multiple of Hkv",
    });
  }
  for (const [name, x] of Object.entries({ q, k, v })) {
    if (!isFloat(x.dtype)) throw new DtypeError(`attention: ${name} must hold floats, found ${x.dtype}`);
  }
}

/** Something broadcastable to the scores, with their rank. */
function tableOf(name: "mask" | "bias", table: Tensor | undefined, scores: Shape4): Tensor | undefined {
  if (table === undefined) return undefined;
  if (name === "mask" && table.dtype !== "bool") {
    throw new DtypeError(`attention: mask must be bool, found ${table.dtype}`, { hint: "true where a key is seen: mask.notEqual(0)" });
  }
  if (name === "bias" && !isFloat(table.dtype)) {
    throw new DtypeError(`attention: bias must hold floats, found ${table.dtype}`, {
      hint: table.dtype === "bool" ? "give it as mask" : 'cast it: bias.cast("f32")',
    });
  }
  const fits = table.rank <= 4 && show(broadcastShapes(table.shape, scores, `attention ${name}`)) === show(scores);
  if (!fits) throw new ShapeError(`attention: ${name} ${show(table.shape)} for scores ${show(scores)}`);
  return ofRank4(table);
}

/** The offset as an i32 scalar. Beyond ±`most` it hides no more and no less, and so near to 0 nothing that is computed from it overflows. */
function offsetOf(offset: TensorLike, most: number): Tensor {
  if (typeof offset === "number" && Number.isInteger(offset)) return constant(Math.max(-most, Math.min(most, offset)), "i32");
  const found = isPlain(offset) ? literal("attention", offset, "i32") : offset;
  if (!isInteger(found.dtype)) {
    throw new DtypeError(`attention: offset must be an integer, found ${typeof offset === "number" ? offset : found.dtype}`);
  }
  if (found.rank !== 0) throw new ShapeError(`attention: offset is a scalar, not ${show(found.shape)}`);
  const bounded = ops.minimum(found, most);
  return found.dtype === "u32" ? ops.cast(bounded, "i32") : ops.maximum(bounded, -most);
}

function scaleOf(scale: TensorLike, dtype: Tensor["dtype"]): Tensor {
  const found = isPlain(scale) ? literal("attention", scale, dtype) : scale;
  if (!isFloat(found.dtype)) throw new DtypeError(`attention: scale must be a float, found ${found.dtype}`);
  if (found.rank !== 0) throw new ShapeError(`attention: scale is a scalar, not ${show(found.shape)}`);
  return ops.cast(found, dtype);
}

import { checkArgument, checkOptions, describe, fraction, integer, type Kind, optional } from "../arguments.js";
import { OptionError } from "../errors.js";
import { type DTypeName, readDType } from "../ir/dtype.js";
import { readShape, type Shape, sizeOf } from "../ir/shape.js";
import { finiteSingle, keyKind, tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { apply, fromHost, Tensor } from "./tensor.js";

/**
 * Random numbers as a pure function of a key (Threefry-2x32, Salmon et al. 2011): the same key gives the same bits on
 * every backend. Never use a key twice; `split` makes new ones.
 */

/** A key, u32 [2], from a non-negative integer below 2⁵³. */
export function key(seed: number): Tensor {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new OptionError(`key: seed must be an integer from 0 to 2^53 − 1, found ${describe(seed)}`, {
      hint: "give a whole number, such as 0",
    });
  return fromHost([2], "u32", new Uint32Array([Math.floor(seed / 2 ** 32), seed >>> 0]));
}

/** `count` independent keys from one; with a list of extents, the consecutive parts of a tensor along an axis. */
export function split(parent: Tensor, count?: number): Tensor[];
export function split(x: Tensor, extents: readonly number[], axis?: number): Tensor[];
export function split(parent: Tensor, count: number | readonly number[] = 2, axis = 0): Tensor[] {
  if (Array.isArray(count)) return ops.split(parent, count as readonly number[], axis);
  checkArgument("split", "parent", parent, keyKind);
  checkArgument("split", "count", count, integer(0));
  const bits = apply("randomBits", [parent], { shape: [count as number, 2] });
  return Array.from({ length: count as number }, (_, i) => ops.reshape(ops.slice(bits, [[i, i + 1]]), [2]));
}

/**
 * A key for place `data` (an integer from 0 to 2³² − 2, which may be a tensor) under a parent, for example the number of a
 * step. It is none of the keys that `split` makes of the parent.
 */
export function foldIn(parent: Tensor, data: Tensor | number): Tensor {
  checkArgument("foldIn", "parent", parent, keyKind);
  if (!(data instanceof Tensor)) checkArgument("foldIn", "data", data, integer(0, 2 ** 32 - 2));
  const counter = typeof data === "number" ? ops.full([], data, { dtype: "u32" }) : ops.cast(data, "u32");
  // From 1 on, because 0 would leave the parent as it is, which is what split draws from.
  const place = ops.add(counter, 1);
  const mixed = ops.add(parent, ops.stack([place, ops.mul(place, 0x9e3779b1)]));
  return apply("randomBits", [mixed], { shape: [2] });
}

/** 32 random bits per element, u32. */
export const randomBits = (k: Tensor, shape: Shape | number): Tensor => draw("randomBits", k, shape);

function draw(where: string, k: Tensor, shape: Shape | number): Tensor {
  checkArgument(where, "key", k, keyKind);
  return apply("randomBits", [k], { shape: [...readShape(shape, where)] });
}

/**
 * Uniform on [low, high), f32: multiples of 2⁻²³ scaled, rounded, and kept in the range where rounding would leave it. The same bits
 * on every backend for the default range.
 *
 * @throws OptionError unless low < high are finite in f32 with an f32 between them.
 */
export function uniform(k: Tensor, shape: Shape | number, options: { low?: number; high?: number } = {}): Tensor {
  checkOptions("uniform", options, { low: optional(finiteSingle), high: optional(finiteSingle) });
  const [low, high] = [options.low ?? 0, options.high ?? 1];
  const unit = ops.mul(ops.cast(ops.truncDiv(draw("uniform", k, shape), 512), "f32"), 2 ** -23);
  if (low === 0 && high === 1) return unit;
  const [least, most] = [-singleBelow(-low, true), singleBelow(high, false)];
  if (least > most) {
    throw new OptionError(`uniform: ${low}…${high} is no range of f32`, {
      hint: "low < high, far enough apart for an f32 from low on and below high",
    });
  }
  // Half of the range at a time where all of it would overflow.
  const scale = Number.isFinite(Math.fround(high - low)) ? 1 : 2;
  const spread = ops.add(ops.mul(unit, (high - low) / scale), low / scale);
  return ops.clip(scale === 1 ? spread : ops.mul(spread, scale), least, most);
}

/** The largest f32 below a number, or the number itself where it is one and `included`. */
function singleBelow(x: number, included: boolean): number {
  const single = new Float32Array([x]);
  const value = single[0] as number;
  if (value < x || (included && value === x)) return value;
  // The bits of positive floats, and of negative ones mirrored, count upward.
  const bits = new Int32Array(single.buffer);
  if (value === 0) return -(2 ** -149);
  bits[0] = (bits[0] as number) + (value > 0 ? -1 : 1);
  return single[0] as number;
}

/** Standard normal, f32, by the Box–Muller transform of two uniform draws. */
export function randn(k: Tensor, shape: Shape | number): Tensor {
  checkArgument("randn", "key", k, keyKind);
  const extents = readShape(shape, "randn");
  const pair = uniform(k, [2, sizeOf(extents)]);
  const [u, v] = [ops.slice(pair, [[0, 1]]), ops.slice(pair, [[1, 2]])];
  // 1 − u lies in (0, 1], so the logarithm is finite; the angle stays within [−π, π], where WGSL's cosine is accurate.
  const radius = ops.sqrt(ops.mul(ops.log(ops.sub(1, u)), -2));
  const angle = ops.mul(ops.sub(v, 0.5), 2 * Math.PI);
  return ops.reshape(ops.mul(radius, ops.cos(angle)), extents);
}

/**
 * Integers uniform on low…high − 1, i32: ⌊(high − low)·r/2⁶⁴⌋ + low with 64 random bits r, so that no value is more likely than another
 * by more than a factor of 1 + 2⁻³².
 *
 * @throws OptionError unless −2³¹ ≤ low < high ≤ 2³¹ are integers.
 */
export function randint(k: Tensor, shape: Shape | number, low: number, high: number): Tensor {
  checkArgument("randint", "low", low, integer(-(2 ** 31), 2 ** 31 - 1));
  checkArgument("randint", "high", high, integer(-(2 ** 31), 2 ** 31));
  if (high <= low) throw new OptionError(`randint: ${low}…${high} is no range`, { hint: "low < high, both integers" });
  const extents = readShape(shape, "randint");
  const pair = draw("randint", k, [2, ...extents]);
  const [upper, lower] = [ops.squeeze(ops.slice(pair, [[0, 1]]), 0), ops.squeeze(ops.slice(pair, [[1, 2]]), 0)];
  // Wraps around where the place is 2³¹ or more, and comes back when low is added.
  return ops.add(ops.cast(scaledWords(high - low, upper, lower), "i32"), low);
}

/** ⌊span·(upper·2³² + lower)/2⁶⁴⌋ for u32 words and 1 ≤ span ≤ 2³². */
function scaledWords(span: number, upper: Tensor, lower: Tensor): Tensor {
  if (span === 2 ** 32) return upper;
  const rest = ops.mul(upper, span);
  const carries = ops.less(ops.add(rest, highWord(span, lower)), rest);
  return ops.add(highWord(span, upper), ops.cast(carries, "u32"));
}

/** The upper 32 bits of the 64 of a·x, by products of 16 bits each, none of which overflows. */
function highWord(a: number, x: Tensor): Tensor {
  const halves = (y: Tensor): [high: Tensor, low: Tensor] => [ops.truncDiv(y, 2 ** 16), ops.and(y, 2 ** 16 - 1)];
  const [high, low] = [Math.floor(a / 2 ** 16), a % 2 ** 16];
  const [xHigh, xLow] = halves(x);
  const [carry, middle] = halves(ops.add(ops.mul(xHigh, low), ops.truncDiv(ops.mul(xLow, low), 2 ** 16)));
  return ops.add(ops.add(ops.mul(xHigh, high), carry), ops.truncDiv(ops.add(ops.mul(xLow, high), middle), 2 ** 16));
}

/**
 * True with probability p: for a number to the nearest 2⁻³², for a tensor, which broadcasts to the shape, to the next 2⁻²³ above. Throws
 * OptionError unless a number has 0 ≤ p ≤ 1; in a tensor what is below is never and what is above is always, and NaN is never.
 */
export function bernoulli(k: Tensor, shape: Shape | number, p: Tensor | number = 0.5): Tensor {
  checkArgument("bernoulli", "p", p, probability);
  if (!(p instanceof Tensor)) return ops.less(draw("bernoulli", k, shape), p * 2 ** 32);
  return ops.less(uniform(k, shape), ops.broadcastTo(p, readShape(shape, "bernoulli")));
}

const probability: Kind = {
  wanted: "a probability, 0 ≤ p ≤ 1, or a tensor of them",
  fits: (p) => p instanceof Tensor || (typeof p === "number" && p >= 0 && p <= 1),
};

/** x with each element zeroed with probability `rate` and the others scaled by 1/(1 − rate). */
export function dropout(k: Tensor, x: Tensor, rate: number, dtype?: DTypeName): Tensor {
  checkArgument("dropout", "key", k, keyKind);
  checkArgument("dropout", "x", x, tensorKind);
  checkArgument("dropout", "rate", rate, fraction);
  const to = dtype === undefined ? x.dtype : readDType("dropout", dtype);
  return rate === 0 ? x : ops.where(bernoulli(k, x.shape, 1 - rate), ops.cast(ops.mul(x, 1 / (1 - rate)), to), 0);
}

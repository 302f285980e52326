import { checkArgument, checkOptions, describe, fraction, integer, type Kind, number, optional } from "../arguments.js";
import { OptionError } from "../errors.js";
import { type DTypeName, readDType } from "./dtype.js";
import { keyKind, tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { readShape, type Shape, sizeOf } from "./shape.js";
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

/** Uniform on [low, high): multiples of 2⁻²³ scaled, f32. The same bits on every backend for the default range. */
export function uniform(k: Tensor, shape: Shape | number, options: { low?: number; high?: number } = {}): Tensor {
  checkOptions("uniform", options, { low: optional(number), high: optional(number) });
  const [low, high] = [options.low ?? 0, options.high ?? 1];
  const unit = ops.mul(ops.cast(ops.truncDiv(draw("uniform", k, shape), 512), "f32"), 2 ** -23);
  return low === 0 && high === 1 ? unit : ops.add(ops.mul(unit, high - low), low);
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

/** Integers uniform on low…high−1, i32. The bias of the remainder is below (high − low)/2³². */
export function randint(k: Tensor, shape: Shape | number, low: number, high: number): Tensor {
  for (const [name, value] of Object.entries({ low, high })) checkArgument("randint", name, value, integer());
  if (high <= low) throw new OptionError(`randint: ${low}…${high} is no range`, { hint: "low < high, both integers" });
  const span = high - low;
  return ops.add(ops.cast(ops.mod(draw("randint", k, shape), span), "i32"), low);
}

/** True with probability p. */
export function bernoulli(k: Tensor, shape: Shape | number, p = 0.5): Tensor {
  checkArgument("bernoulli", "key", k, keyKind);
  checkArgument("bernoulli", "p", p, probability);
  return ops.less(uniform(k, shape), p);
}

const probability: Kind = { wanted: "a probability: 0 ≤ p ≤ 1", fits: (p) => typeof p === "number" && p >= 0 && p <= 1 };

/** x with each element zeroed with probability `rate` and the others scaled by 1/(1 − rate). */
export function dropout(k: Tensor, x: Tensor, rate: number, dtype?: DTypeName): Tensor {
  checkArgument("dropout", "key", k, keyKind);
  checkArgument("dropout", "x", x, tensorKind);
  checkArgument("dropout", "rate", rate, fraction);
  const to = dtype === undefined ? x.dtype : readDType("dropout", dtype);
  return rate === 0 ? x : ops.where(bernoulli(k, x.shape, 1 - rate), ops.cast(ops.mul(x, 1 / (1 - rate)), to), 0);
}

import { GradientError } from "../errors.js";
import type { PrimitiveName, PrimitiveParams } from "../ir/primitives.js";
import type { Shape } from "../ir/shape.js";
import * as ops from "./operations.js";
import type { Tensor } from "./tensor.js";

/**
 * The derivative of every primitive, as vector–Jacobian products: from the cotangent ȳ of y = f(x₀, x₁, …) to the
 * cotangents x̄ᵢ = ȳ · ∂y/∂xᵢ. Rules are written in the same operations as everything else, so they can be differentiated
 * again. `null` stands for a zero; entries whose `needs` is false are not looked at and may be left out.
 */
export type VjpRule<P extends PrimitiveName> = (
  ct: Tensor,
  at: { readonly inputs: readonly Tensor[]; readonly y: Tensor; readonly params: PrimitiveParams[P]; readonly needs: readonly boolean[] },
) => readonly (Tensor | null)[];

type Elementwise = (ct: Tensor, x: Tensor, y: Tensor) => Tensor;

/** x̄ = rule(ȳ, x, y) for one operand. */
const unary =
  (rule: Elementwise) =>
  (ct: Tensor, { inputs, y }: { inputs: readonly Tensor[]; y: Tensor }): (Tensor | null)[] => [rule(ct, inputs[0] as Tensor, y)];

/** ā = first(ȳ, a, b, y), b̄ = second(ȳ, a, b, y), each only where needed. */
const binary =
  (first: (ct: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor, second: (ct: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor) =>
  (ct: Tensor, { inputs, y, needs }: { inputs: readonly Tensor[]; y: Tensor; needs: readonly boolean[] }): (Tensor | null)[] => {
    const [a, b] = inputs as [Tensor, Tensor];
    return [needs[0] ? first(ct, a, b, y) : null, needs[1] ? second(ct, a, b, y) : null];
  };

/** The derivative is zero wherever it exists. */
const flat = (): (Tensor | null)[] => [null, null, null];

/** A reduced value back on the shape it was reduced from. */
function unreduce(reduced: Tensor, shape: Shape, axes: readonly number[]): Tensor {
  return ops.broadcastTo(
    ops.reshape(
      reduced,
      shape.map((extent, i) => (axes.includes(i) ? 1 : extent)),
    ),
    shape,
  );
}

/**
 * Shares the cotangent of a maximum or minimum evenly among the places that attain it. The extremum is reduced anew, because `y` may
 * have been realised by a program that rounds x differently from the one that finds x equal to it.
 */
const extremum =
  (reduce: (x: Tensor, axes: readonly number[], keepDims: boolean) => Tensor) =>
  (ct: Tensor, { inputs, params: { axes } }: { inputs: readonly Tensor[]; params: { readonly axes: readonly number[] } }): Tensor[] => {
    const x = inputs[0] as Tensor;
    const attained = ops.cast(ops.equal(x, reduce(x, axes, true)), x.dtype);
    return [ops.mul(attained, unreduce(ops.div(ct, ops.sum(attained, axes)), x.shape, axes))];
  };

/** 1 where a wins, ½ where both are equal, 0 elsewhere. */
const share = (wins: Tensor, ties: Tensor, like: Tensor): Tensor =>
  ops.where(wins, ops.onesLike(like), ops.where(ties, 0.5, ops.zerosLike(like)));

const twoOverRootPi = 2 / Math.sqrt(Math.PI);

/** Puts step − 1 zeros between neighbours of each axis: the transpose of taking every step-th element. */
function dilate(x: Tensor, steps: readonly number[]): Tensor {
  let spread = x;
  steps.forEach((step, axis) => {
    if (step === 1) return;
    const extent = spread.shape[axis] as number;
    const widths = [...spread.shape, 1].map((_, i): [number, number] => [0, i === axis + 1 ? step - 1 : 0]);
    spread = ops.reshape(
      ops.pad(ops.unsqueeze(spread, axis + 1), widths),
      spread.shape.map((n, i) => (i === axis ? extent * step : n)),
    );
  });
  return spread;
}

export const vjpRules: { [P in PrimitiveName]: VjpRule<P> } = {
  // x̄ = −ȳ
  neg: unary((ct) => ops.neg(ct)),
  // x̄ = ȳ·eˣ = ȳ·y
  exp: unary((ct, _, y) => ops.mul(ct, y)),
  // x̄ = ȳ/x
  log: unary((ct, x) => ops.div(ct, x)),
  // x̄ = ȳ·cos x
  sin: unary((ct, x) => ops.mul(ct, ops.cos(x))),
  // x̄ = −ȳ·sin x
  cos: unary((ct, x) => ops.neg(ops.mul(ct, ops.sin(x)))),
  // x̄ = ȳ·(1 − y²)
  tanh: unary((ct, _, y) => ops.mul(ct, ops.sub(1, ops.mul(y, y)))),
  // x̄ = ȳ·2/√π·e^(−x²)
  erf: unary((ct, x) => ops.mul(ct, ops.mul(twoOverRootPi, ops.exp(ops.neg(ops.mul(x, x)))))),
  // x̄ = ȳ/(2y)
  sqrt: unary((ct, _, y) => ops.div(ct, ops.mul(2, y))),
  // x̄ = −ȳ·y²
  recip: unary((ct, _, y) => ops.neg(ops.mul(ct, ops.mul(y, y)))),
  // x̄ = ȳ·sign x
  abs: unary((ct, x) => ops.mul(ct, ops.sign(x))),
  sign: flat,
  floor: flat,
  not: flat,

  // ā = ȳ, b̄ = ȳ
  add: binary(
    (ct) => ct,
    (ct) => ct,
  ),
  // ā = ȳ, b̄ = −ȳ
  sub: binary(
    (ct) => ct,
    (ct) => ops.neg(ct),
  ),
  // ā = ȳ·b, b̄ = ȳ·a
  mul: binary(
    (ct, _, b) => ops.mul(ct, b),
    (ct, a) => ops.mul(ct, a),
  ),
  // ā = ȳ/b, b̄ = −ȳ·y/b
  div: binary(
    (ct, _, b) => ops.div(ct, b),
    (ct, _, b, y) => ops.neg(ops.div(ops.mul(ct, y), b)),
  ),
  // ā = ȳ·b·a^(b−1), with 0 · 0⁻¹ = 0; b̄ = ȳ·y·ln a, with 0 · ln 0 = 0 for b ≥ 0
  pow: binary(
    (ct, a, b) => {
      // Also where a is NaN, whose power 0 is 1, and where it is so small that 1/a overflows.
      const overflows = ops.not(ops.less(ops.abs(ops.recip(a)), Number.POSITIVE_INFINITY));
      const limit = ops.and(overflows, ops.equal(b, 0));
      return ops.mul(ct, ops.mul(b, ops.pow(ops.where(limit, 1, a), ops.sub(b, 1))));
    },
    (ct, a, b, y) => {
      const limit = ops.and(ops.equal(a, 0), ops.greaterEqual(b, 0));
      return ops.mul(ct, ops.where(limit, 0, ops.mul(y, ops.log(ops.where(limit, 1, a)))));
    },
  ),
  // ā = ȳ where a > b, ȳ/2 where a = b
  max: binary(
    (ct, a, b) => ops.mul(ct, share(ops.less(b, a), ops.equal(a, b), ct)),
    (ct, a, b) => ops.mul(ct, share(ops.less(a, b), ops.equal(a, b), ct)),
  ),
  min: binary(
    (ct, a, b) => ops.mul(ct, share(ops.less(a, b), ops.equal(a, b), ct)),
    (ct, a, b) => ops.mul(ct, share(ops.less(b, a), ops.equal(a, b), ct)),
  ),
  // y = a − b·⌊a/b⌋: ā = ȳ, b̄ = −ȳ·⌊a/b⌋, the floor as (a − y)/b, since a/b may round to the next integer or, where y is b, to −0
  mod: binary(
    (ct) => ct,
    (ct, a, b, y) => {
      const quotient = ops.floor(ops.add(ops.div(ops.sub(a, y), b), 0.5));
      return ops.neg(ops.mul(ct, ops.where(ops.equal(y, b), -1, quotient)));
    },
  ),
  lt: flat,
  eq: flat,
  and: flat,
  or: flat,

  // ā = ȳ where the condition holds, b̄ = ȳ elsewhere
  where: (ct, { inputs, needs }) => {
    const condition = inputs[0] as Tensor;
    return [
      null,
      needs[1] ? ops.where(condition, ct, ops.zerosLike(ct)) : null,
      needs[2] ? ops.where(condition, ops.zerosLike(ct), ct) : null,
    ];
  },
  // x̄ = ȳ as the dtype of x
  cast: unary((ct, x) => ops.cast(ct, x.dtype)),
  bitcast: () => {
    throw new GradientError("bitcast has no derivative", { hint: "wrap it in stopGradient if that is meant" });
  },

  // x̄ = ȳ repeated over the axes
  sum: (ct, { inputs, params }) => [unreduce(ct, (inputs[0] as Tensor).shape, params.axes)],
  // x̄ = ȳ/n at the n places of each group with x = y, 0 elsewhere
  maxReduce: extremum(ops.max),
  minReduce: extremum(ops.min),
  argmax: flat,
  argmin: flat,

  // x̄ = ȳ under the old shape
  reshape: unary((ct, x) => ops.reshape(ct, x.shape)),
  // x̄ = ȳ with the inverse order
  permute: (ct, { params }) => [
    ops.permute(
      ct,
      params.order.map((_, i) => params.order.indexOf(i)),
    ),
  ],
  // x̄ = Σ ȳ over the repeated axes: the one place where broadcasting is undone
  expand: (ct, { inputs, params }) => {
    const x = inputs[0] as Tensor;
    const axes = params.shape.flatMap((extent, i) => (extent !== x.shape[i] ? [i] : []));
    return [ops.sum(ct, axes, true)];
  },
  // x̄ = ȳ at the places that were taken, 0 elsewhere
  slice: (ct, { inputs, params }) => {
    const x = inputs[0] as Tensor;
    const spread = dilate(ct, params.steps);
    const fits = spread.shape.map((extent, i) => Math.min(extent, (x.shape[i] as number) - (params.starts[i] as number)));
    const cut = ops.slice(
      spread,
      fits.map((extent) => [0, extent]),
    );
    return [
      ops.pad(
        cut,
        fits.map((extent, i) => [params.starts[i] as number, (x.shape[i] as number) - (params.starts[i] as number) - extent]),
      ),
    ];
  },
  // x̄ = ȳ without the padding
  pad: (ct, { inputs, params }) => {
    const x = inputs[0] as Tensor;
    return [
      ops.slice(
        ct,
        x.shape.map((extent, i) => [params.low[i] as number, (params.low[i] as number) + extent]),
      ),
    ];
  },
  // x̄ᵢ = the part of ȳ that came from xᵢ
  concat: (ct, { inputs, params }) =>
    ops.split(
      ct,
      inputs.map((x) => x.shape[params.axis] as number),
      params.axis,
    ),
  // x̄ = ȳ flipped back
  flip: (ct, { params }) => [ops.flip(ct, params.axes)],

  // c = a·b: ā = c̄·bᵀ, b̄ = aᵀ·c̄, each in the dtype of its operand
  dot: binary(
    (ct, a, b) => ops.matmul(ct, ops.transpose(b), { dtype: a.dtype }),
    (ct, a, b) => ops.matmul(ops.transpose(a), ct, { dtype: b.dtype }),
  ),

  // x̄[s] = Σ ȳ[i] over index[i] = s
  gather: (ct, { inputs }) => [ops.scatterAdd(ct, inputs[1] as Tensor, (inputs[0] as Tensor).shape[0] as number), null],
  // x̄[i] = ȳ[index[i]], 0 where the index is out of range
  scatterAdd: (ct, { inputs, params }) => {
    const [x, index] = inputs as [Tensor, Tensor];
    const inside = ops.and(ops.lessEqual(0, index), ops.less(index, params.size));
    const mask = ops.reshape(inside, [...index.shape, ...x.shape.slice(index.rank).map(() => 1)]);
    return [ops.where(mask, ops.gather(ct, index), 0), null];
  },

  iota: flat,
  const: flat,
  randomBits: flat,

  // x̄ = ȳ
  alias: unary((ct) => ct),
  stopGradient: flat,
};

/** The rule of a primitive, typed by its name. */
export const vjpRule = <P extends PrimitiveName>(name: P): VjpRule<P> => vjpRules[name] as VjpRule<P>;

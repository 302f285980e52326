import type { PrimitiveName, PrimitiveParams } from "../ir/primitives.js";
import { sizeOf } from "../ir/shape.js";
import * as ops from "./operations.js";
import { makeLoop, traceBody } from "./region.js";
import { apply, type Tensor } from "./tensor.js";

/**
 * A value of a function that runs for B examples at once: the stack [B, …] of those of the examples, or with `batched` false one value that
 * all of them share.
 */
export interface Lane {
  readonly x: Tensor;
  readonly batched: boolean;
}

/**
 * How a primitive computes B examples at once: from lanes, of which at least one is batched, to the stack [B, …] of the results. Like the rules
 * of derivatives these are written in operations, so what they give can be differentiated, batched again and fused.
 */
export type BatchingRule<P extends PrimitiveName> = (
  lanes: readonly Lane[],
  at: { readonly params: PrimitiveParams[P]; readonly size: number },
) => Tensor;

/** The stack [B, …] of a lane: a shared value is repeated, which takes no memory. */
export const stacked = ({ x, batched }: Lane, size: number): Tensor =>
  batched ? x : ops.broadcastTo(ops.reshape(x, [1, ...x.shape]), [size, ...x.shape]);

/** The same operation on the stacks. */
const elementwise =
  <P extends PrimitiveName>(primitive: P): BatchingRule<P> =>
  (lanes, { params, size }) =>
    apply(
      primitive,
      lanes.map((lane) => stacked(lane, size)),
      params,
    );

/** One operand, whose axes are one further along; `shifted` gives the parameters for that. */
const moved =
  <P extends PrimitiveName>(primitive: P, shifted: (params: PrimitiveParams[P], size: number) => PrimitiveParams[P]): BatchingRule<P> =>
  ([lane], { params, size }) =>
    apply(primitive, [(lane as Lane).x], shifted(params, size));

const axesAfter = ({ axes }: { readonly axes: readonly number[] }): { axes: number[] } => ({ axes: axes.map((axis) => axis + 1) });

/** Sources have no operands, so that none of them is batched. */
const never = (): never => {
  throw new Error("a primitive without operands is not batched");
};

/**
 * Indices into B tables of n rows that lie one after another: those of example b are n·b further along. An index outside of its own table
 * stays outside of all of them.
 */
function apart(index: Lane, n: number, size: number): Tensor {
  const all = stacked(index, size);
  const first = ops.mul(ops.iota(all.shape, 0, { dtype: all.dtype }), n);
  const inside = ops.less(all, n);
  // u32 has no number below 0, and n·B is beyond every table.
  if (all.dtype === "u32") return ops.where(inside, ops.add(all, first), n * size);
  return ops.where(ops.and(inside, ops.greaterEqual(all, 0)), ops.add(all, first), -1);
}

/** [B, n, …] as [B·n, …] */
const joined = (x: Tensor): Tensor => ops.reshape(x, [(x.shape[0] as number) * (x.shape[1] as number), ...x.shape.slice(2)]);

export const batchingRules: { [P in PrimitiveName]: BatchingRule<P> } = {
  neg: elementwise("neg"),
  exp: elementwise("exp"),
  log: elementwise("log"),
  sin: elementwise("sin"),
  cos: elementwise("cos"),
  tanh: elementwise("tanh"),
  erf: elementwise("erf"),
  sqrt: elementwise("sqrt"),
  recip: elementwise("recip"),
  abs: elementwise("abs"),
  sign: elementwise("sign"),
  floor: elementwise("floor"),
  not: elementwise("not"),
  add: elementwise("add"),
  sub: elementwise("sub"),
  mul: elementwise("mul"),
  div: elementwise("div"),
  pow: elementwise("pow"),
  max: elementwise("max"),
  min: elementwise("min"),
  mod: elementwise("mod"),
  lt: elementwise("lt"),
  eq: elementwise("eq"),
  and: elementwise("and"),
  or: elementwise("or"),
  where: elementwise("where"),
  cast: elementwise("cast"),
  bitcast: elementwise("bitcast"),
  alias: elementwise("alias"),
  stopGradient: elementwise("stopGradient"),

  // The axes that vanish are those of the examples; a position over them counts without the batch.
  sum: moved("sum", axesAfter),
  maxReduce: moved("maxReduce", axesAfter),
  minReduce: moved("minReduce", axesAfter),
  argmax: moved("argmax", axesAfter),
  argmin: moved("argmin", axesAfter),

  reshape: moved("reshape", ({ shape }, size) => ({ shape: [size, ...shape] })),
  permute: moved("permute", ({ order }) => ({ order: [0, ...order.map((axis) => axis + 1)] })),
  expand: moved("expand", ({ shape }, size) => ({ shape: [size, ...shape] })),
  slice: moved("slice", ({ starts, stops, steps }, size) => ({ starts: [0, ...starts], stops: [size, ...stops], steps: [1, ...steps] })),
  pad: moved("pad", ({ low, high, value }) => ({ low: [0, ...low], high: [0, ...high], value })),
  flip: moved("flip", axesAfter),
  concat: (lanes, { params, size }) =>
    apply(
      "concat",
      lanes.map((lane) => stacked(lane, size)),
      { axis: params.axis + 1 },
    ),

  // A matrix that all examples share makes one product of more rows, or, on the left, of more columns.
  dot: ([a, b], { params: { dtype }, size }) => {
    const [left, right] = [a as Lane, b as Lane];
    if (!right.batched && right.x.rank === 2) return ops.matmul(left.x, right.x, { dtype });
    if (!left.batched && left.x.rank === 2) return ops.transpose(ops.matmul(ops.transpose(right.x), ops.transpose(left.x), { dtype }));
    return apply("dot", [stacked(left, size), stacked(right, size)], { dtype });
  },

  gather: ([table, index], { size }) => {
    const [x, at] = [table as Lane, index as Lane];
    if (!x.batched) return ops.gather(x.x, at.x);
    if (!at.batched) return ops.gather(x.x, at.x, 1);
    return ops.gather(joined(x.x), apart(at, x.x.shape[1] as number, size));
  },
  scatterAdd: ([values, index], { params: { size: bins }, size }) => {
    const sums = ops.scatterAdd(stacked(values as Lane, size), apart(index as Lane, bins, size), bins * size);
    return ops.reshape(sums, [size, bins, ...sums.shape.slice(1)]);
  },

  iota: never,
  const: never,
  // Bits are a function of a key and places within the example: one loop over the keys.
  randomBits: ([key], { params, size }) => {
    const keys = (key as Lane).x;
    const { body } = traceBody([{ shape: [2], dtype: "u32" }], ([one]) => [apply("randomBits", [one as Tensor], params)]);
    if (size === 0 || sizeOf(params.shape) === 0) return ops.zeros([size, ...params.shape], { dtype: "u32" });
    return makeLoop({ body, count: size, reverse: false, carried: 0, sliced: 1, inputs: [keys] }).results[0] as Tensor;
  },
};

/** The rule of a primitive, typed by its name. */
export const batchingRule = <P extends PrimitiveName>(name: P): BatchingRule<P> => batchingRules[name] as BatchingRule<P>;

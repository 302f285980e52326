import type { DTypeName, HostArray } from "../ir/dtype.js";
import type { Shape } from "../ir/shape.js";
import { at, type Index, setAt } from "./at.js";
import * as composites from "./composites.js";
import * as cumulative from "./cumulative.js";
import * as diagonals from "./diagonals.js";
import * as elementary from "./elementary.js";
import * as indexing from "./indexing.js";
import type { Axes, DTypeOption, PadMode, Range, TensorLike } from "./operations.js";
import * as ops from "./operations.js";
import * as products from "./products.js";
import { array, data, item, print } from "./realize.js";
import * as rearranging from "./rearranging.js";
import * as reductions from "./reductions.js";
import * as sorting from "./sorting.js";
import { type NestedNumbers, Tensor } from "./tensor.js";

/** The functions of one tensor that are methods as well, so that expressions read from left to right. */
export interface TensorMethods {
  /** The numbers in row-major order, once the device has them. */
  data(): Promise<HostArray>;
  /** The numbers as nested arrays. */
  array(): Promise<NestedNumbers>;
  /** Writes dtype, shape and values to the console. */
  print(): Promise<void>;
  /** The only number. */
  item(): Promise<number>;
  neg(): Tensor;
  exp(): Tensor;
  log(): Tensor;
  sin(): Tensor;
  cos(): Tensor;
  tanh(): Tensor;
  erf(): Tensor;
  sqrt(): Tensor;
  rsqrt(): Tensor;
  recip(): Tensor;
  square(): Tensor;
  abs(): Tensor;
  sign(): Tensor;
  floor(): Tensor;
  sigmoid(): Tensor;
  relu(): Tensor;
  silu(): Tensor;
  gelu(): Tensor;
  expm1(): Tensor;
  log1p(): Tensor;
  exp2(): Tensor;
  log2(): Tensor;
  log10(): Tensor;
  tan(): Tensor;
  asin(): Tensor;
  acos(): Tensor;
  atan(): Tensor;
  sinh(): Tensor;
  cosh(): Tensor;
  asinh(): Tensor;
  acosh(): Tensor;
  atanh(): Tensor;
  softplus(): Tensor;
  logSigmoid(): Tensor;
  mish(): Tensor;
  ceil(): Tensor;
  trunc(): Tensor;
  round(): Tensor;
  isnan(): Tensor;
  isfinite(): Tensor;
  isinf(): Tensor;
  leakyRelu(slope?: number): Tensor;
  elu(alpha?: number): Tensor;
  not(): Tensor;
  add(other: TensorLike): Tensor;
  sub(other: TensorLike): Tensor;
  mul(other: TensorLike): Tensor;
  div(other: TensorLike): Tensor;
  pow(exponent: TensorLike): Tensor;
  mod(other: TensorLike): Tensor;
  maximum(other: TensorLike): Tensor;
  minimum(other: TensorLike): Tensor;
  less(other: TensorLike): Tensor;
  lessEqual(other: TensorLike): Tensor;
  greater(other: TensorLike): Tensor;
  greaterEqual(other: TensorLike): Tensor;
  equal(other: TensorLike): Tensor;
  notEqual(other: TensorLike): Tensor;
  and(other: TensorLike): Tensor;
  or(other: TensorLike): Tensor;
  atan2(other: TensorLike): Tensor;
  hypot(other: TensorLike): Tensor;
  logAddExp(other: TensorLike): Tensor;
  xor(other: TensorLike): Tensor;
  clip(low?: TensorLike, high?: TensorLike): Tensor;
  cast(dtype: DTypeName): Tensor;
  bitcast(dtype: DTypeName): Tensor;
  sum(axes?: Axes, keepDims?: boolean): Tensor;
  mean(axes?: Axes, keepDims?: boolean): Tensor;
  max(axes?: Axes, keepDims?: boolean): Tensor;
  min(axes?: Axes, keepDims?: boolean): Tensor;
  argmax(axes?: Axes, keepDims?: boolean): Tensor;
  argmin(axes?: Axes, keepDims?: boolean): Tensor;
  variance(axes?: Axes, options?: composites.SpreadOptions): Tensor;
  std(axes?: Axes, options?: composites.SpreadOptions): Tensor;
  logSumExp(axes?: Axes, keepDims?: boolean): Tensor;
  prod(axes?: Axes, keepDims?: boolean): Tensor;
  norm(axes?: Axes, options?: reductions.NormOptions): Tensor;
  any(axes?: Axes, keepDims?: boolean): Tensor;
  all(axes?: Axes, keepDims?: boolean): Tensor;
  countNonzero(axes?: Axes, keepDims?: boolean): Tensor;
  cumsum(axis?: number, options?: cumulative.CumulativeOptions): Tensor;
  cumprod(axis?: number, options?: cumulative.CumulativeOptions): Tensor;
  cummax(axis?: number, options?: cumulative.CumulativeOptions): Tensor;
  cummin(axis?: number, options?: cumulative.CumulativeOptions): Tensor;
  cumlogsumexp(axis?: number, options?: cumulative.CumulativeOptions): Tensor;
  quantile(q: number | readonly number[], axes?: Axes, keepDims?: boolean): Tensor;
  median(axes?: Axes, keepDims?: boolean): Tensor;
  sort(axis?: number, options?: sorting.SortOptions): Tensor;
  argsort(axis?: number, options?: sorting.SortOptions): Tensor;
  topK(k: number, axis?: number, options?: sorting.TopKOptions): { values: Tensor; indices: Tensor };
  softmax(axis?: number): Tensor;
  logSoftmax(axis?: number): Tensor;
  reshape(shape: Shape): Tensor;
  reshape(...extents: number[]): Tensor;
  transpose(axis1?: number, axis2?: number): Tensor;
  permute(order: readonly number[]): Tensor;
  permute(...order: number[]): Tensor;
  expand(shape: Shape): Tensor;
  expand(...shape: number[]): Tensor;
  slice(ranges: readonly Range[]): Tensor;
  pad(widths: readonly (readonly [number, number])[], value?: number | PadMode): Tensor;
  split(extents: readonly number[] | number, axis?: number): Tensor[];
  flip(axes?: Axes): Tensor;
  squeeze(axes?: Axes): Tensor;
  unsqueeze(axis: number): Tensor;
  expandDims(axes: number | readonly number[]): Tensor;
  broadcastTo(shape: Shape): Tensor;
  ravel(): Tensor;
  flatten(startAxis?: number, endAxis?: number): Tensor;
  moveaxis(source: number | readonly number[], destination: number | readonly number[]): Tensor;
  swapaxes(axis1: number, axis2: number): Tensor;
  roll(shifts: number | readonly number[], axes?: number | readonly number[]): Tensor;
  tile(counts: number | readonly number[]): Tensor;
  repeat(counts: number | readonly number[], axis?: number): Tensor;
  chunk(count: number, axis?: number): Tensor[];
  unstack(axis?: number): Tensor[];
  gather(index: Tensor, axis?: number): Tensor;
  take(index: Tensor, axis?: number): Tensor;
  takeAlongAxis(index: Tensor, axis?: number): Tensor;
  at(...indices: readonly Index[]): Tensor;
  setAt(indices: readonly Index[], values: TensorLike): Tensor;
  putAlongAxis(index: Tensor, values: TensorLike, axis?: number): Tensor;
  scatter(index: Tensor, values: TensorLike, axis?: number): Tensor;
  maskedFill(mask: Tensor, value: TensorLike): Tensor;
  scatterAdd(index: Tensor, size: number, axis?: number): Tensor;
  triu(k?: number): Tensor;
  tril(k?: number): Tensor;
  diagonal(k?: number, axis1?: number, axis2?: number): Tensor;
  trace(k?: number, axis1?: number, axis2?: number): Tensor;
  diag(k?: number): Tensor;
  diagEmbed(k?: number): Tensor;
  matmul(other: Tensor, options?: DTypeOption): Tensor;
  dot(other: Tensor): Tensor;
  inner(other: Tensor): Tensor;
  outer(other: Tensor): Tensor;
}

/** What a method takes that may be called with one list or with its entries. */
type ListOr<T> = readonly [readonly T[]] | readonly T[];
const listed = <T>(given: ListOr<T>): readonly T[] =>
  given.length === 1 && typeof given[0] !== "number" ? (given[0] as readonly T[]) : (given as readonly T[]);

const functions = {
  data,
  array,
  item,
  print,
  neg: ops.neg,
  exp: ops.exp,
  log: ops.log,
  sin: ops.sin,
  cos: ops.cos,
  tanh: ops.tanh,
  erf: ops.erf,
  sqrt: ops.sqrt,
  rsqrt: composites.rsqrt,
  recip: ops.recip,
  square: composites.square,
  abs: ops.abs,
  sign: ops.sign,
  floor: ops.floor,
  sigmoid: composites.sigmoid,
  relu: composites.relu,
  silu: composites.silu,
  gelu: composites.gelu,
  expm1: elementary.expm1,
  log1p: elementary.log1p,
  exp2: elementary.exp2,
  log2: elementary.log2,
  log10: elementary.log10,
  tan: elementary.tan,
  asin: elementary.asin,
  acos: elementary.acos,
  atan: elementary.atan,
  sinh: elementary.sinh,
  cosh: elementary.cosh,
  asinh: elementary.asinh,
  acosh: elementary.acosh,
  atanh: elementary.atanh,
  softplus: elementary.softplus,
  logSigmoid: elementary.logSigmoid,
  mish: elementary.mish,
  ceil: elementary.ceil,
  trunc: elementary.trunc,
  round: elementary.round,
  isnan: elementary.isnan,
  isfinite: elementary.isfinite,
  isinf: elementary.isinf,
  leakyRelu: elementary.leakyRelu,
  elu: elementary.elu,
  not: ops.not,
  add: ops.add,
  sub: ops.sub,
  mul: ops.mul,
  div: ops.div,
  pow: ops.pow,
  mod: ops.mod,
  maximum: ops.maximum,
  minimum: ops.minimum,
  less: ops.less,
  lessEqual: ops.lessEqual,
  greater: ops.greater,
  greaterEqual: ops.greaterEqual,
  equal: ops.equal,
  notEqual: ops.notEqual,
  and: ops.and,
  or: ops.or,
  atan2: elementary.atan2,
  hypot: elementary.hypot,
  logAddExp: elementary.logAddExp,
  xor: elementary.xor,
  clip: ops.clip,
  cast: ops.cast,
  bitcast: ops.bitcast,
  sum: ops.sum,
  mean: composites.mean,
  max: ops.max,
  min: ops.min,
  argmax: ops.argmax,
  argmin: ops.argmin,
  variance: composites.variance,
  std: composites.std,
  logSumExp: composites.logSumExp,
  prod: reductions.prod,
  norm: reductions.norm,
  any: reductions.any,
  all: reductions.all,
  countNonzero: reductions.countNonzero,
  cumsum: cumulative.cumsum,
  cumprod: cumulative.cumprod,
  cummax: cumulative.cummax,
  cummin: cumulative.cummin,
  cumlogsumexp: cumulative.cumlogsumexp,
  quantile: sorting.quantile,
  median: sorting.median,
  sort: sorting.sort,
  argsort: sorting.argsort,
  topK: sorting.topK,
  softmax: composites.softmax,
  logSoftmax: composites.logSoftmax,
  reshape: (x: Tensor, ...shape: ListOr<number>) => ops.reshape(x, listed(shape)),
  transpose: ops.transpose,
  permute: (x: Tensor, ...order: ListOr<number>) => ops.permute(x, listed(order)),
  expand: (x: Tensor, ...shape: ListOr<number>) => ops.expand(x, listed(shape)),
  slice: ops.slice,
  pad: ops.pad,
  split: ops.split,
  flip: ops.flip,
  squeeze: ops.squeeze,
  unsqueeze: ops.unsqueeze,
  expandDims: rearranging.expandDims,
  broadcastTo: ops.broadcastTo,
  ravel: rearranging.ravel,
  flatten: rearranging.flatten,
  moveaxis: rearranging.moveaxis,
  swapaxes: rearranging.swapaxes,
  roll: rearranging.roll,
  tile: rearranging.tile,
  repeat: rearranging.repeat,
  chunk: rearranging.chunk,
  unstack: rearranging.unstack,
  gather: ops.gather,
  take: ops.take,
  takeAlongAxis: indexing.takeAlongAxis,
  at,
  setAt,
  putAlongAxis: indexing.putAlongAxis,
  scatter: indexing.scatter,
  maskedFill: indexing.maskedFill,
  scatterAdd: ops.scatterAdd,
  triu: ops.triu,
  tril: ops.tril,
  diagonal: diagonals.diagonal,
  trace: diagonals.trace,
  diag: diagonals.diag,
  diagEmbed: diagonals.diagEmbed,
  matmul: ops.matmul,
  dot: products.dot,
  inner: products.inner,
  outer: products.outer,
} satisfies { [M in keyof TensorMethods]: (self: Tensor, ...rest: never[]) => unknown };

declare module "./tensor.js" {
  interface Tensor extends TensorMethods {}
}

for (const [name, f] of Object.entries(functions)) {
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: never[]) {
      return (f as (self: Tensor, ...rest: never[]) => unknown)(this, ...rest);
    },
    writable: true,
    configurable: true,
  });
}

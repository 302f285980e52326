/** Where values lie among others, and how often. */
import { checkArgument, checkOptions, flag, integer, type OptionKinds, oneOf, optional } from "../arguments.js";
import { DtypeError, OptionError, ShapeError } from "../errors.js";
import { isFloat, isInteger } from "../ir/dtype.js";
import { sameShape, show } from "../ir/shape.js";
import { takeAlongAxis } from "./indexing.js";
import { finiteSingle, tensorKind } from "./kinds.js";
import { asNumbers } from "./operations/operands.js";
import * as ops from "./operations.js";
import { data } from "./realize.js";
import { scan } from "./scan.js";
import { type Tensor, tensor } from "./tensor.js";

export interface SearchSortedOptions {
  /** "left": how many elements are below the value (default). "right": how many are not above it. */
  readonly side?: "left" | "right";
}
const searchKinds: OptionKinds<SearchSortedOptions> = { side: optional(oneOf("left", "right")) };

/**
 * Where values go among sorted ones so that these stay sorted, i32 of the shape of the values: sorted[i − 1] < v ≤ sorted[i], or with
 * side "right" sorted[i − 1] ≤ v < sorted[i]. sorted: [n] with values of any shape, or […, n] with values […, m] (PyTorch's). NaN is larger
 * than every number. By bisection, a loop of log n steps; what is not sorted gives any place. Throws ShapeError.
 */
export function searchsorted(sorted: Tensor, values: Tensor, options: SearchSortedOptions = {}): Tensor {
  for (const [name, value] of Object.entries({ sorted, values })) checkArgument("searchsorted", name, value, tensorKind);
  checkOptions("searchsorted", options, searchKinds);
  const { side = "left" } = options;
  if (sorted.rank === 0 || (sorted.rank > 1 && (values.rank === 0 || !sameShape(sorted.shape.slice(0, -1), values.shape.slice(0, -1))))) {
    throw new ShapeError(`searchsorted: sorted ${show(sorted.shape)} with values ${show(values.shape)}`, {
      hint: "sorted is [n] with values of any shape, or […, n] with values […, m]",
    });
  }
  const n = sorted.shape.at(-1) as number;
  if (n === 0 || values.size === 0) return ops.zeros(values.shape, { dtype: "i32" });
  const table = ops.stopGradient(asNumbers(sorted));
  const wanted = ops.stopGradient(asNumbers(sorted.rank === 1 ? ops.reshape(values, [values.size]) : values));
  const isBefore = (x: Tensor): Tensor => (side === "left" ? below(x, wanted) : ops.not(below(wanted, x)));
  const bits = Math.floor(Math.log2(n)) + 1;
  const start = { count: ops.zeros(wanted.shape, { dtype: "i32" }), step: ops.full([], 2 ** (bits - 1), { dtype: "i32" }) };
  const [{ count }] = scan(
    ({ count, step }: typeof start) => {
      const next = ops.add(count, step);
      const exists = ops.lessEqual(next, n);
      const counts = ops.and(exists, isBefore(takeAlongAxis(table, ops.where(exists, ops.sub(next, 1), 0))));
      return [{ count: ops.where(counts, next, count), step: ops.truncDiv(step, 2) }, null] as const;
    },
    start,
    null,
    { length: bits },
  );
  return ops.reshape(count, values.shape);
}

/** a < b, where NaN is larger than every number. */
function below(a: Tensor, b: Tensor): Tensor {
  const less = ops.less(a, b);
  return isFloat(a.dtype) || isFloat(b.dtype) ? ops.or(less, ops.and(ops.equal(a, a), ops.notEqual(b, b))) : less;
}

/**
 * How often each of 0…length − 1 is there, i32 [length]; with weights of the shape of x the sum of theirs. Other integers are left out.
 * Throws DtypeError for what are no integers, ShapeError for weights of another shape.
 */
export function bincount(x: Tensor, length: number, weights?: Tensor): Tensor {
  checkArgument("bincount", "x", x, tensorKind);
  checkArgument("bincount", "length", length, integer(0));
  if (weights !== undefined) checkArgument("bincount", "weights", weights, tensorKind);
  if (!isInteger(x.dtype)) throw new DtypeError(`bincount: x must hold integers, found ${x.dtype}`, { hint: 'cast it: x.cast("i32")' });
  if (weights !== undefined && !sameShape(weights.shape, x.shape)) {
    throw new ShapeError(`bincount: weights ${show(weights.shape)} for x ${show(x.shape)}`, { hint: "give one weight for each integer" });
  }
  const each = weights === undefined ? ops.ones([x.size], { dtype: "i32" }) : ops.reshape(asNumbers(weights), [x.size]);
  return ops.scatterAdd(each, ops.reshape(x, [x.size]), length);
}

/**
 * How many elements lie in each of `bins` parts of equal width from low to high, i32 [bins], and their ends, f32 [bins + 1]. A part holds its
 * lower end, the last one both; what lies outside, and NaN, is left out. Throws OptionError unless low < high, both finite.
 */
export function histogram(x: Tensor, bins: number, low: number, high: number): { counts: Tensor; edges: Tensor } {
  checkArgument("histogram", "x", x, tensorKind);
  checkArgument("histogram", "bins", bins, integer(1));
  for (const [name, value] of Object.entries({ low, high })) checkArgument("histogram", name, value, finiteSingle);
  if (low >= high) throw new OptionError(`histogram: low is ${low} and high ${high}`, { hint: "low is below high" });
  const edges = ops.linspace(low, high, bins + 1);
  const flat = ops.reshape(asNumbers(x), [x.size]);
  const bin = ops.sub(searchsorted(edges, flat, { side: "right" }), 1);
  const atEnd = ops.equal(flat, high);
  return { counts: bincount(ops.where(atEnd, bins - 1, bin), bins), edges };
}

export interface UniqueOptions {
  /** Whether to tell how often each value is there. Default false. */
  readonly counts?: boolean;
  /** Whether to tell which value each element is. Default false. */
  readonly inverse?: boolean;
}
const uniqueKinds: OptionKinds<UniqueOptions> = { counts: optional(flag), inverse: optional(flag) };

/** What {@link unique} finds. */
export type Unique<O extends UniqueOptions = UniqueOptions> = {
  /** Each value once, ascending, [u] in the dtype of x. */
  readonly values: Tensor;
} & (O["counts"] extends true ? { /** How often each is there, i32 [u]. */ readonly counts: Tensor } : unknown) &
  (O["inverse"] extends true
    ? { /** The place of each element among the values, i32 in the shape of x. */ readonly inverse: Tensor }
    : unknown);

/**
 * The values that occur in x, on the host, since how many there are decides a shape: `const { values, counts } = await unique(x, { counts:
 * true })`. −0 is 0, and all NaN are one value, the last, as in NumPy.
 */
export async function unique<const O extends UniqueOptions = Record<never, never>>(x: Tensor, options?: O): Promise<Unique<O>> {
  checkArgument("unique", "x", x, tensorKind);
  const chosen: UniqueOptions = options === undefined ? {} : options;
  checkOptions("unique", chosen, uniqueKinds);
  const { counts = false, inverse = false } = chosen;
  const numbers = await data(x);
  const order = Uint32Array.from(numbers, (_, i) => i).sort((i, j) => compare(numbers[i] as number, numbers[j] as number));
  const found: number[] = [];
  const often: number[] = [];
  const which = new Int32Array(numbers.length);
  for (const place of order) {
    const value = numbers[place] as number;
    if (found.length === 0 || compare(found.at(-1) as number, value) !== 0) {
      found.push(value + 0);
      often.push(0);
    }
    often[found.length - 1] = (often[found.length - 1] as number) + 1;
    which[place] = found.length - 1;
  }
  return {
    values: tensor(found, { shape: [found.length], dtype: x.dtype }),
    ...(counts ? { counts: tensor(Int32Array.from(often)) } : {}),
    ...(inverse ? { inverse: tensor(which, { shape: x.shape }) } : {}),
  } as Unique<O>;
}

/** NaN after all numbers, and equal to itself. */
const compare = (a: number, b: number): number =>
  Number.isNaN(a) || Number.isNaN(b) ? Number(Number.isNaN(a)) - Number(Number.isNaN(b)) : Number(a > b) - Number(a < b);

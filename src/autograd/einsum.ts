import { checkArgument, text } from "../arguments.js";
import { ShapeError } from "../errors.js";
import { isFloat, isHalf, promote, summableDtype } from "../ir/dtype.js";
import { show, sizeOf } from "../ir/shape.js";
import { diagonal } from "./diagonals.js";
import { type Equation, readEquation } from "./einsum-equation.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import type { Tensor } from "./tensor.js";

/** Sums of products over named axes, pair by pair as products of matrices. */

/** A tensor whose axes have names. */
interface Term {
  readonly x: Tensor;
  readonly names: readonly string[];
}

type Extents = Equation["extents"];

const extentOf = (extents: Extents, name: string): number => extents.get(name) as number;
const countOf = (extents: Extents, names: readonly string[]): number => sizeOf(names.map((name) => extentOf(extents, name)));

/**
 * Einstein summation: the product of all operands where axes of one letter run together, summed over the letters that the result does not name.
 *
 *   "ij,jk->ik"        Σⱼ a[i, j]·b[j, k]            "bqd,bkd->bqk"         products of a batch
 *   "ij,jk"            the same: letters that stand once, in the order of the alphabet
 *   "ii->i", "ii"      the diagonal, and its sum     "...ij,...jk->...ik"   axes that broadcast
 *   "ij,jk,kl->il"     of the pairs, the one that takes the fewest products is multiplied first
 *
 * As in NumPy: "..." stands for axes that broadcast, and comes first where no result is written; an axis of extent 1 is repeated. Operands meet in
 * one dtype; floats are multiplied as by `matmul`, whose sums are taken in f32 at least, and integers stay integers. Throws ShapeError for what does
 * not fit.
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  checkArgument("einsum", "equation", equation, text);
  operands.forEach((operand, i) => checkArgument("einsum", `operand ${i + 1}`, operand, tensorKind));
  const {
    terms: names,
    result,
    extents,
  } = readEquation(
    equation,
    operands.map(({ shape }) => shape),
  );
  let terms = operands.map((x, i) => withNamesOnce(equation, { x, names: names[i] as string[] }, extents));
  terms = terms.map((term, i) => summed(term, namesOf([...terms.slice(0, i), ...terms.slice(i + 1)], result)));
  while (terms.length > 1) {
    const [first, second] = cheapestPair(terms, extents);
    const rest = terms.filter((_, i) => i !== first && i !== second);
    const pair = [terms[first] as Term, terms[second] as Term] as const;
    terms = [...rest, product(pair, namesOf(rest, result), extents)];
  }
  const { x, names: found } = terms[0] as Term;
  return ops.permute(
    x,
    result.map((name) => found.indexOf(name)),
  );
}

/** All names that terms or the result have. */
const namesOf = (terms: readonly Term[], result: readonly string[]): ReadonlySet<string> =>
  new Set([...terms.flatMap(({ names }) => names), ...result]);

/** A term that has each of its names once: axes of one name become their diagonal, and those that are to be repeated are left out. */
function withNamesOnce(equation: string, { x, names }: Term, extents: Extents): Term {
  const again = names.findIndex((name, i) => names.indexOf(name) !== i);
  if (again >= 0) {
    const name = names[again] as string;
    const first = names.indexOf(name);
    if (x.shape[first] !== x.shape[again]) {
      throw new ShapeError(`einsum: ${name} names axes of ${x.shape[first]} and ${x.shape[again]} in ${show(x.shape)}, in "${equation}"`);
    }
    const others = names.filter((_, i) => i !== first && i !== again);
    return withNamesOnce(equation, { x: diagonal(x, 0, first, again), names: [...others, name] }, extents);
  }
  const repeated = names.flatMap((name, axis) => (x.shape[axis] === 1 && extentOf(extents, name) !== 1 ? [axis] : []));
  if (repeated.length === 0) return { x, names };
  return { x: ops.squeeze(x, repeated), names: names.filter((_, axis) => !repeated.includes(axis)) };
}

/** A term without the axes that nobody else names. */
function summed({ x, names }: Term, elsewhere: ReadonlySet<string>): Term {
  const alone = names.flatMap((name, axis) => (elsewhere.has(name) ? [] : [axis]));
  return alone.length === 0 ? { x, names } : { x: ops.sum(x, alone), names: names.filter((name) => elsewhere.has(name)) };
}

/** The positions of the two terms whose product takes the fewest multiplications, of several the first. */
function cheapestPair(terms: readonly Term[], extents: Extents): [number, number] {
  let best: [number, number] = [0, 1];
  let least = Number.POSITIVE_INFINITY;
  for (let first = 0; first < terms.length; first++) {
    for (let second = first + 1; second < terms.length; second++) {
      const cost = countOf(extents, [...namesOf([terms[first] as Term, terms[second] as Term], [])]);
      if (cost < least) [best, least] = [[first, second], cost];
    }
  }
  return best;
}

/** The product of two terms, summed over what neither `kept` nor the result of the whole names. */
function product([a, b]: readonly [Term, Term], kept: ReadonlySet<string>, extents: Extents): Term {
  const shared = a.names.filter((name) => b.names.includes(name));
  const batch = shared.filter((name) => kept.has(name));
  const inner = shared.filter((name) => !kept.has(name));
  const rows = a.names.filter((name) => !shared.includes(name));
  const columns = b.names.filter((name) => !shared.includes(name));
  const names = [...batch, ...rows, ...columns];
  const shape = names.map((name) => extentOf(extents, name));
  const common = promote(a.x.dtype, b.x.dtype);
  if (isFloat(common) && inner.length > 0 && rows.length + columns.length > 0) {
    const x = ops.reshape(
      ordered(a, [...batch, ...rows, ...inner]),
      [batch, rows, inner].map((list) => countOf(extents, list)),
    );
    const y = ops.reshape(
      ordered(b, [...batch, ...inner, ...columns]),
      [batch, inner, columns].map((list) => countOf(extents, list)),
    );
    return { x: ops.reshape(ops.matmul(x, y), shape), names };
  }
  // No product of matrices: nothing is summed, or each sum is taken once, or of integers.
  const all = [...names, ...inner];
  const wide = inner.length > 0 && isHalf(common) ? summableDtype(common) : common;
  const [x, y] = [a, b].map((term) => ops.cast(spread(term, all), wide)) as [Tensor, Tensor];
  const sum = ops.sum(
    ops.mul(x, y),
    inner.map((_, i) => names.length + i),
  );
  return { x: wide === common ? sum : ops.cast(sum, common), names };
}

/** The axes in the order of their names. */
const ordered = ({ x, names }: Term, order: readonly string[]): Tensor =>
  ops.permute(
    x,
    order.map((name) => names.indexOf(name)),
  );

/** A term with an axis for each name, of extent 1 where it has none of its own. */
function spread(term: Term, all: readonly string[]): Tensor {
  const own = all.filter((name) => term.names.includes(name));
  const axes = all.map((name) => (own.includes(name) ? (term.x.shape[term.names.indexOf(name)] as number) : 1));
  return ops.reshape(ordered(term, own), axes);
}

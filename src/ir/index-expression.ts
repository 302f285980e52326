import { type Shape, stridesOf } from "./shape.js";

/**
 * Quasi-affine index expressions: places in memory as sums of multiples of loop variables and of their quotients and remainders by
 * constants. Views are functions on them. Every operation brings its result to a normal form, with interval analysis (each expression
 * knows its smallest and largest value) to see which quotients and remainders are needless; that is what makes views free: two ways of
 * addressing the same element have the same `key`.
 *
 *   o < 24 as coordinates of [4, 6]            [o / 6, o mod 6]
 *   (o / 6)·6 + o mod 6                   →    o                      a quotient and its remainder meet again
 *   (6·i + j) / 6 with 0 ≤ j < 6          →    i                      multiples leave, and what is left is too small
 *   (o mod 12) mod 6                      →    o mod 6
 */
export interface IndexExpression {
  readonly constant: number;
  readonly terms: readonly Term[];
  /** Smallest and largest value. */
  readonly low: number;
  readonly high: number;
  /** Equal exactly for expressions that simplified to the same form, over variables of the same extents. */
  readonly key: string;
}

interface Term {
  readonly factor: number;
  readonly atom: Atom;
}

export type Atom =
  | { readonly kind: "variable"; readonly name: string; readonly low: number; readonly high: number; readonly key: string }
  /** A dynamic index: a number that is read at run time; `handle` says which. */
  | { readonly kind: "dynamic"; readonly handle: number; readonly low: number; readonly high: number; readonly key: string }
  | {
      readonly kind: "quotient" | "remainder";
      readonly of: IndexExpression;
      readonly by: number;
      readonly low: number;
      readonly high: number;
      readonly key: string;
    };

/** Most sums are on the way to others, so the key is made when it is asked for. */
class Sum implements IndexExpression {
  readonly low: number;
  readonly high: number;
  private text: string | undefined;

  constructor(
    readonly constant: number,
    readonly terms: readonly Term[],
  ) {
    let [low, high] = [constant, constant];
    for (const { factor, atom } of terms) {
      low += factor * (factor > 0 ? atom.low : atom.high);
      high += factor * (factor > 0 ? atom.high : atom.low);
    }
    this.low = low;
    this.high = high;
  }

  get key(): string {
    if (this.text === undefined) {
      const terms = this.terms.map(({ factor, atom }) => `${factor}*${atom.key}`);
      this.text = `${(terms.length > 1 ? terms.sort() : terms).join("+")}+${this.constant}`;
    }
    return this.text;
  }
}

const build = (constant: number, terms: readonly Term[]): IndexExpression => new Sum(constant, terms);
const fromAtom = (atom: Atom): IndexExpression => (atom.low === atom.high ? literal(atom.low) : build(0, [{ factor: 1, atom }]));

export const literal = (value: number): IndexExpression => build(value, []);
export const zero = literal(0);

/** A loop variable that runs over 0 … extent − 1. */
export const variable = (name: string, extent: number): IndexExpression =>
  fromAtom({ kind: "variable", name, low: 0, high: Math.max(0, extent - 1), key: `${name}<${extent}` });

/** A number read at run time that is known to lie in 0 … extent − 1. */
export const dynamicIndex = (handle: number, extent: number): IndexExpression =>
  build(0, [{ factor: 1, atom: { kind: "dynamic", handle, low: 0, high: Math.max(0, extent - 1), key: `#${handle}<${extent}` } }]);

/** x without what is known of its size: for conditions that find out whether it is so. */
export const unbounded = ({ constant, terms, key }: IndexExpression): IndexExpression => ({
  constant,
  terms,
  key,
  low: Number.NEGATIVE_INFINITY,
  high: Number.POSITIVE_INFINITY,
});

export function add(...parts: readonly IndexExpression[]): IndexExpression {
  if (parts.length === 0) return zero;
  let constant = 0;
  for (const part of parts) constant += part.constant;
  const variable = parts.filter(({ terms }) => terms.length > 0);
  const [only] = variable;
  if (only === undefined) return literal(constant);
  if (variable.length === 1) return only.constant === constant ? only : build(constant, only.terms);
  const merged = new Map<string, Term>();
  for (const { terms } of variable) {
    for (const term of terms) {
      const known = merged.get(term.atom.key);
      merged.set(term.atom.key, known === undefined ? term : { factor: term.factor + known.factor, atom: term.atom });
    }
  }
  return rejoin(
    build(
      constant,
      [...merged.values()].filter(({ factor }) => factor !== 0),
    ),
  );
}

/** Undoes splits: c·n·⌊x/n⌋ + c·(x mod n) = c·x. */
function rejoin(sum: IndexExpression): IndexExpression {
  for (const { factor, atom } of sum.terms) {
    if (atom.kind !== "remainder" || !sum.terms.some((term) => term.factor === factor * atom.by)) continue;
    const quotient = divide(atom.of, atom.by);
    if (quotient.constant !== 0 || quotient.terms.length !== 1 || quotient.terms[0]?.factor !== 1) continue;
    const partner = sum.terms.find((term) => term.atom.key === quotient.terms[0]?.atom.key && term.factor === factor * atom.by);
    if (partner === undefined) continue;
    const rest = build(
      sum.constant,
      sum.terms.filter((term) => term !== partner && term.atom !== atom),
    );
    return add(rest, scale(atom.of, factor));
  }
  return sum;
}

export function scale(x: IndexExpression, factor: number): IndexExpression {
  if (factor === 0) return zero;
  if (factor === 1) return x;
  return build(
    x.constant * factor,
    x.terms.map((term) => ({ factor: term.factor * factor, atom: term.atom })),
  );
}

/**
 * x as n·whole + rest, with every multiple of n taken out, but for as many as keep the rest from becoming negative: the
 * quotients of negative numbers are rounded one way by arithmetic and the other way by languages.
 */
function separate(x: IndexExpression, n: number): { whole: IndexExpression; rest: IndexExpression } {
  const divisible = x.terms.filter(({ factor }) => factor % n === 0);
  if (divisible.length === 0 && x.constant >= 0 && x.constant < n && x.low >= 0) return { whole: zero, rest: x };
  const others = x.terms.filter(({ factor }) => factor % n !== 0);
  const { low } = build(x.constant, others);
  const constant = Math.min(Math.floor(x.constant / n), Math.floor(low / n));
  return {
    whole: build(
      constant,
      divisible.map(({ factor, atom }) => ({ factor: factor / n, atom })),
    ),
    rest: build(x.constant - constant * n, others),
  };
}

/**
 * x as unit·whole + rest with 0 ≤ rest < unit and a unit that divides n, where there is one: then only `whole` decides the
 * quotient by n.
 */
function coarsen(x: IndexExpression, n: number): { whole: IndexExpression; rest: IndexExpression; unit: number } | undefined {
  if (x.terms.length < 2 && x.constant === 0) return undefined;
  for (const { factor } of x.terms) {
    const unit = greatestCommonDivisor(n, Math.abs(factor));
    if (unit === 1) continue;
    const { whole, rest } = separate(x, unit);
    if (whole.low >= 0 && whole.terms.length > 0 && rest.low >= 0 && rest.high < unit) return { whole, rest, unit };
  }
  return undefined;
}

const greatestCommonDivisor = (a: number, b: number): number => (b === 0 ? a : greatestCommonDivisor(b, a % b));

/** ⌊x/n⌋ for a positive constant n. */
export function divide(x: IndexExpression, n: number): IndexExpression {
  if (n === 1) return x;
  const { whole, rest } = separate(x, n);
  if (rest.high < n) return whole;
  const only = rest.constant === 0 && rest.terms.length === 1 ? rest.terms[0] : undefined;
  const inner = only?.factor === 1 && only.atom.kind === "quotient" ? only.atom : undefined;
  if (inner) return add(whole, divide(inner.of, inner.by * n));
  const coarse = coarsen(rest, n);
  if (coarse) return add(whole, divide(coarse.whole, n / coarse.unit));
  const high = Math.floor(rest.high / n);
  return add(whole, fromAtom({ kind: "quotient", of: rest, by: n, low: 0, high, key: `(${rest.key})/${n}` }));
}

/** x mod n for a positive constant n. */
export function remainder(x: IndexExpression, n: number): IndexExpression {
  if (n === 1) return zero;
  const { rest } = separate(x, n);
  if (rest.high < n) return rest;
  const only = rest.constant === 0 && rest.terms.length === 1 ? rest.terms[0] : undefined;
  if (only?.factor === 1 && only.atom.kind === "remainder" && only.atom.by % n === 0) return remainder(only.atom.of, n);
  const coarse = coarsen(rest, n);
  if (coarse) return add(scale(remainder(coarse.whole, n / coarse.unit), coarse.unit), coarse.rest);
  return fromAtom({ kind: "remainder", of: rest, by: n, low: 0, high: n - 1, key: `(${rest.key})%${n}` });
}

/** Results that `remember` holds at most; more begin anew. */
const remembered = 4096;

/** The layers of a model address memory in the same few ways, so answers are kept. */
function remember<T>(answers: Map<string, T>, key: string, find: () => T): T {
  let answer = answers.get(key);
  if (answer === undefined) {
    answer = find();
    if (answers.size >= remembered) answers.clear();
    answers.set(key, answer);
  }
  return answer;
}

const flattened = new Map<string, IndexExpression>();

/** Row-major position of coordinates. */
export function flatten(coordinates: readonly IndexExpression[], shape: Shape): IndexExpression {
  return remember(flattened, `${coordinates.map(({ key }) => key)}|${shape}`, () => {
    const strides = stridesOf(shape);
    return add(...coordinates.map((coordinate, i) => scale(coordinate, shape[i] === 1 ? 0 : (strides[i] as number))));
  });
}

const unflattened = new Map<string, readonly IndexExpression[]>();

/** Coordinates of a row-major position. */
export function unflatten(position: IndexExpression, shape: Shape): IndexExpression[] {
  const coordinates = remember(unflattened, `${position.key}|${shape}`, () => {
    const strides = stridesOf(shape);
    return shape.map((extent, i) => {
      if (extent <= 1) return zero;
      const quotient = divide(position, strides[i] as number);
      return quotient.high < extent ? quotient : remainder(quotient, extent);
    });
  });
  return [...coordinates];
}

/** The coordinates under `to` of the element that has `coordinates` under `from`: shapes are matched group by group. */
export function reshapeCoordinates(coordinates: readonly IndexExpression[], from: Shape, to: Shape): IndexExpression[] {
  const result: IndexExpression[] = [];
  let [i, j] = [0, 0];
  while (i < from.length || j < to.length) {
    const [startI, startJ] = [i, j];
    let [left, right] = [from[i++] ?? 1, to[j++] ?? 1];
    while (left !== right && (i < from.length || j < to.length)) {
      if (left < right && i < from.length) left *= from[i++] as number;
      else if (j < to.length) right *= to[j++] as number;
      else left *= from[i++] as number;
    }
    const only = coordinates[startI];
    // An axis that stays as it is, which most do.
    if (i - startI === 1 && j - startJ === 1 && only !== undefined && only.high < left) result.push(left > 1 ? only : zero);
    else result.push(...unflatten(flatten(coordinates.slice(startI, i), from.slice(startI, i)), to.slice(startJ, j)));
  }
  return result.slice(0, to.length);
}

/** The factor of a variable if x is linear in it (it occurs in no quotient or remainder), else undefined. */
export function coefficient(x: IndexExpression, name: string): number | undefined {
  let factor = 0;
  for (const term of x.terms) {
    if (term.atom.kind === "variable") {
      if (term.atom.name === name) factor += term.factor;
    } else if (term.atom.kind !== "dynamic" && mentions(term.atom.of, name)) return undefined;
  }
  return factor;
}

export const mentions = (x: IndexExpression, name: string): boolean =>
  x.terms.some(({ atom }) => (atom.kind === "variable" ? atom.name === name : atom.kind !== "dynamic" && mentions(atom.of, name)));

/** x with expressions in place of variables. */
export function substitute(x: IndexExpression, values: ReadonlyMap<string, IndexExpression>): IndexExpression {
  return add(
    literal(x.constant),
    ...x.terms.map(({ factor, atom }) => {
      if (atom.kind === "variable") return scale(values.get(atom.name) ?? fromAtom(atom), factor);
      if (atom.kind === "dynamic") return scale(fromAtom(atom), factor);
      const of = substitute(atom.of, values);
      return scale(atom.kind === "quotient" ? divide(of, atom.by) : remainder(of, atom.by), factor);
    }),
  );
}

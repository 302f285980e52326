import { checkGrads } from "../autograd/check-grads.js";
import { checkpoint } from "../autograd/checkpoint.js";
import { compile } from "../autograd/compile.js";
import type { Flat } from "../autograd/flat-function.js";
import { hvp, jvp, vjp } from "../autograd/grad.js";
import { add, mul, stack, sub, sum } from "../autograd/operations.js";
import { data, realize } from "../autograd/realize.js";
import { scan } from "../autograd/scan.js";
import type { Tensor } from "../autograd/tensor.js";
import { vmap } from "../autograd/vmap.js";
import { DawngradError } from "../errors.js";
import { show } from "../ir/shape.js";

/** A law that does not hold of a function. */
export class LawError extends DawngradError {}

/** What a law is examined with. */
export interface Examination {
  /** The function, of float tensors alone. */
  readonly f: Flat;
  /** The point at which it is examined, and another one. */
  readonly at: readonly Tensor[];
  readonly other: readonly Tensor[];
  /** Directions at the point, one list of tensors each. */
  readonly tangents: readonly [readonly Tensor[], readonly Tensor[]];
  /** Cotangents of the results, one list each. */
  readonly cotangents: readonly [readonly Tensor[], readonly Tensor[]];
  /** Throws unless two lists of tensors agree as closely as the order of sums allows. */
  readonly same: (found: readonly Tensor[], expected: readonly Tensor[]) => Promise<void>;
}

/** A fact that is true of every function made of operations, whose derivatives are right. */
export interface Law {
  readonly name: LawName;
  /** In words and as a formula. */
  readonly statement: string;
  readonly holds: (examination: Examination) => Promise<void>;
}

export type LawName =
  | "differences"
  | "second differences"
  | "pullback is linear"
  | "pushforward is linear"
  | "adjoint"
  | "symmetric Hessian"
  | "chain rule"
  | "compile"
  | "checkpoint"
  | "vmap"
  | "vmap of derivatives"
  | "scan";

/** Σ aᵢ·bᵢ over all elements of two lists of tensors. */
const inner = (a: readonly Tensor[], b: readonly Tensor[]): Tensor =>
  a.map((x, i) => sum(mul(x, b[i] as Tensor))).reduce((left, right) => add(left, right));

const pullback =
  (f: Flat, at: readonly Tensor[]) =>
  (cotangents: readonly Tensor[]): readonly Tensor[] =>
    vjp(f, ...at)[1]([...cotangents]);
const pushforward = (f: Flat, at: readonly Tensor[], tangents: readonly Tensor[]): readonly Tensor[] => jvp(f, [...at], [...tangents])[1];
const zipped = (a: readonly Tensor[], b: readonly Tensor[], by: (x: Tensor, y: Tensor) => Tensor): Tensor[] =>
  a.map((x, i) => by(x, b[i] as Tensor));
const combined = (a: readonly Tensor[], b: readonly Tensor[]): Tensor[] => zipped(a, b, (x, y) => sub(mul(x, 3), y));
const loss =
  (f: Flat, weights: readonly Tensor[]) =>
  (at: readonly Tensor[]): Tensor =>
    inner(f(...at), weights);
const slices = (stacks: readonly Tensor[], b: number): Tensor[] => stacks.map((x) => x.slice([[b, b + 1]]).reshape(x.shape.slice(1)));

/** All laws, those of derivatives first. */
export const laws: readonly Law[] = [
  {
    name: "differences",
    statement: "Derivatives are the limit of differences, forward and in reverse: ∂f/∂x · u ≈ (f(x + hu) − f(x − hu)) / 2h.",
    holds: ({ f, at }) => checkGrads(f, [...at], { places: 6 }),
  },
  {
    name: "second differences",
    statement: "Derivatives of derivatives are the limit of differences of derivatives, in all four orders of forward and reverse.",
    holds: ({ f, at }) => checkGrads(f, [...at], { order: 2, places: 3 }),
  },
  {
    name: "pullback is linear",
    statement: "A pullback is linear in its cotangent: Jᵀ(3v − w) = 3·Jᵀv − Jᵀw.",
    holds: async ({ f, at, cotangents: [v, w], same }) => {
      const back = pullback(f, at);
      await same(back(combined(v, w)), combined(back(v), back(w)));
    },
  },
  {
    name: "pushforward is linear",
    statement: "A directional derivative is linear in its direction: J(3u − t) = 3·Ju − Jt.",
    holds: async ({ f, at, tangents: [u, t], same }) => {
      await same(pushforward(f, at, combined(u, t)), combined(pushforward(f, at, u), pushforward(f, at, t)));
    },
  },
  {
    name: "adjoint",
    statement: "Forward and reverse derivatives are adjoint to each other: ⟨v, Ju⟩ = ⟨Jᵀv, u⟩.",
    holds: async ({ f, at, tangents: [u], cotangents: [v], same }) => {
      await same([inner(v, pushforward(f, at, u))], [inner(pullback(f, at)(v), u)]);
    },
  },
  {
    name: "symmetric Hessian",
    statement: "Second derivatives do not depend on their order: ⟨Hu, t⟩ = ⟨Ht, u⟩ for the Hessian H of any sum of the results.",
    holds: async ({ f, at, tangents: [u, t], cotangents: [v], same }) => {
      const along = (direction: readonly Tensor[]): readonly Tensor[] => hvp(loss(f, v), at, direction);
      await same([inner(along(u), t)], [inner(along(t), u)]);
    },
  },
  {
    name: "chain rule",
    statement:
      "The derivative of a composition is the product of derivatives: the pullback of x ↦ tanh f(sin x) is that of sin after that of f after that of tanh.",
    holds: async ({ f, at, cotangents: [v], same }) => {
      const sines: Flat = (...xs) => xs.map((x) => x.sin());
      const tanhs: Flat = (...ys) => ys.map((y) => y.tanh());
      const middle = sines(...at);
      const whole: Flat = (...xs) => tanhs(...f(...sines(...xs)));
      const parts = pullback(sines, at)(pullback(f, middle)(pullback(tanhs, f(...middle))(v)));
      await same(pullback(whole, at)(v), parts);
    },
  },
  {
    name: "compile",
    statement: "A compiled function is the function, its derivative too, and it is traced once: compile(f)(x) = f(x) at every x.",
    holds: async ({ f, at, other, cotangents: [v], same }) => {
      const all: Flat = (...xs) => [...f(...xs), ...pullback(f, xs)(v)];
      const compiled = compile(all);
      for (const point of [at, other, at]) await same(compiled(...point), all(...point));
      if (compiled.traces !== 1) throw new LawError(`a compiled function was traced ${compiled.traces} times for one kind of argument`);
    },
  },
  {
    name: "checkpoint",
    statement: "A checkpoint forgets and computes anew, and changes no number: checkpoint(f) = f, and so are derivatives of either order.",
    holds: async ({ f, at, tangents: [u], cotangents: [v], same }) => {
      const held: Flat = checkpoint(f);
      await same([...held(...at), ...pullback(held, at)(v)], [...f(...at), ...pullback(f, at)(v)]);
      await same(hvp(loss(held, v), at, u), hvp(loss(f, v), at, u));
    },
  },
  {
    name: "vmap",
    statement:
      "Computing examples at once is computing them one after another: vmap(f)(x, y)[b] = f(x[b], y[b]), also where arguments are shared.",
    holds: async ({ f, at, other, same }) => {
      const stacks = zipped(at, other, (x, y) => stack([x, y]));
      await same(
        vmap(f)(...stacks),
        zipped(f(...at), f(...other), (x, y) => stack([x, y])),
      );
      if (at.length < 2) return;
      // Every other argument is the same for both examples.
      const inAxes = at.map((_, i) => (i % 2 === 0 ? 0 : null));
      const some = stacks.map((x, i) => (i % 2 === 0 ? x : (at[i] as Tensor)));
      const second = other.map((x, i) => (i % 2 === 0 ? x : (at[i] as Tensor)));
      await same(
        vmap(f, { inAxes })(...some),
        zipped(f(...at), f(...second), (x, y) => stack([x, y])),
      );
    },
  },
  {
    name: "vmap of derivatives",
    statement:
      "Derivatives and batches commute: vmap(grad(f))[b] = grad(f)(x[b]), and the gradient of the sum over a batch is the stack of them.",
    holds: async ({ f, at, other, cotangents: [v], same }) => {
      const stacks = zipped(at, other, (x, y) => stack([x, y]));
      const gradient: Flat = (...xs) => [...pullback(f, xs)(v)];
      const expected = zipped(gradient(...at), gradient(...other), (x, y) => stack([x, y]));
      await same(vmap(gradient)(...stacks), expected);
      const both = v.map((x) => stack([x, x]));
      await same(pullback(vmap(f), stacks)(both), expected);
    },
  },
  {
    name: "scan",
    statement: "A loop is its steps, written one after another, and so is its derivative: scan(f) over two slices = [f(x[0]), f(x[1])].",
    holds: async ({ f, at, other, cotangents: [v], same }) => {
      const stacks = zipped(at, other, (x, y) => stack([x, y]));
      const written: Flat = (...xs) => zipped(f(...slices(xs, 0)), f(...slices(xs, 1)), (x, y) => stack([x, y]));
      const looped: Flat = (...xs) => scan((carry: null, x: Tensor[]) => [carry, f(...x)] as const, null, xs)[1];
      const both = v.map((x) => stack([x, x]));
      await same([...looped(...stacks), ...pullback(looped, stacks)(both)], [...written(...stacks), ...pullback(written, stacks)(both)]);
    },
  },
];

/** Throws {@link LawError} at the first element that differs by more than `relative` of the largest one. */
export async function expectSame(found: readonly Tensor[], expected: readonly Tensor[], relative: number): Promise<void> {
  if (found.length !== expected.length) throw new LawError(`${found.length} results, not ${expected.length}`);
  // One program for all results of a side, and none for both sides.
  await realize(found);
  await realize(expected);
  for (const [k, wanted] of expected.entries()) {
    const result = found[k] as Tensor;
    const type = ({ dtype, shape }: Tensor): string => `${dtype}${show(shape)}`;
    if (type(result) !== type(wanted)) throw new LawError(`result ${k} is ${type(result)}, not ${type(wanted)}`);
    const [a, b] = [await data(result), Array.from(await data(wanted))];
    const scale = b.reduce<number>((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 1);
    b.forEach((value, i) => {
      const other = a[i] as number;
      // NaN is NaN, and zeros of either sign are equal.
      if (Object.is(other, value) || Math.abs(other - value) <= relative * scale) return;
      throw new LawError(`element ${i} of result ${k}, ${type(wanted)}, is ${other}, not ${value}`);
    });
  }
}

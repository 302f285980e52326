import { callable, checkArgument, checkOptions, describe, flag, integer, type OptionKinds, optional } from "../arguments.js";
import { OptionError, ShapeError, UsageError } from "../errors.js";
import type { GraphNode } from "../ir/graph.js";
import { sameShape, show } from "../ir/shape.js";
import { literal } from "./operations/operands.js";
import { concat, reshape, slice, zeros } from "./operations.js";
import { makeLoop, traceBody } from "./region.js";
import { type TensorsOfTree, tensorArguments } from "./region-trees.js";
import type { Tensor } from "./tensor.js";
import { flattenTree } from "./tree.js";
import { isPlain } from "./weak-scalar.js";

export interface ScanOptions {
  /** Steps; needed where `xs` holds no tensor, and otherwise the first extent of all of them. */
  readonly length?: number;
  /** From the last slice of `xs` to the first; `ys` lie as the slices do. Default false. */
  readonly reverse?: boolean;
  /**
   * Differentiated, a scan keeps the carry of every step and computes the rest anew. With k it keeps that of every k-th step, and
   * those between while the backward pass is there: T/k + k carries instead of T, for one more forward pass; k ≈ √T is best.
   */
  readonly checkpointEvery?: number;
}

const scanKinds: OptionKinds<ScanOptions> = {
  length: optional(integer(0)),
  reverse: optional(flag),
  checkpointEvery: optional(integer(1)),
};

/** A step as a function of the tensors of carry and slices. */
type FlatStep = (
  carry: readonly Tensor[],
  slices: readonly Tensor[],
) => { readonly carry: readonly Tensor[]; readonly stacked: readonly Tensor[] };

/**
 * Runs `f(carry, x) = [next carry, y]` over the slices x = xs[0], xs[1], … of the tensors of `xs` along their first axis, and returns
 * the last carry and the stack of all y, [T, …] each:
 *
 *   c₀ = carry,   cᵢ₊₁, yᵢ = f(cᵢ, xsᵢ),   scan = [c_T, (y₀, …, y_T₋₁)]
 *
 * All of them are trees; `xs` may be null, with `length`, and y may be null. The step is traced once and its kernels exist once,
 * whatever T is: a loop of the program, not a loop that is unrolled. The next carry has the form, shapes and dtypes of the carry, whose
 * numbers are f32 scalars; numbers in the next one take the dtype of the carry. What else it holds stays as it is. Composes with `grad` of any order, `jvp`, `compile`, `checkpoint` and itself.
 * Throws ShapeError for extents that differ and for a carry that changes, UsageError for forms that do, OptionError where the
 * number of steps is not told.
 */
export function scan<C, X, Y>(
  f: (carry: C, x: X) => readonly [carry: C, y: Y],
  carry: C,
  xs: X,
  options: ScanOptions = {},
): [carry: C, ys: Y] {
  checkArgument("scan", "f", f, callable);
  checkOptions("scan", options, scanKinds);
  const start = tensorArguments(withTensors(carry), "scan: the carry");
  const slices = tensorArguments(xs, "scan: xs");
  const length = stepsOf(slices, options.length);
  let ys: TensorsOfTree<Y> | undefined;
  const step: FlatStep = (carried, x) => {
    const pair: unknown = f(start.rebuild(carried), slices.rebuild(x));
    if (!Array.isArray(pair) || pair.length !== 2)
      throw new UsageError(`scan: f returned ${describe(pair)}, not [carry, y]`, {
        hint: pair instanceof Promise ? "f must not be async" : "return [next carry, y], with null for a y that is not wanted",
      });
    const next = tensorArguments(withTensors(pair[0] as C, start), "scan: the next carry");
    checkCarry(start, next);
    ys = tensorArguments(withTensors(pair[1] as Y), "scan: y");
    return { carry: next.tensors, stacked: ys.tensors };
  };
  const { checkpointEvery: every = length, reverse = false } = options;
  const results =
    every >= length || every <= 1
      ? loopOf(step, start.tensors, slices.tensors, length, reverse)
      : chunked(step, start.tensors, slices.tensors, { length, every, reverse });
  const last = start.rebuild(results.carry);
  return [last, (ys as TensorsOfTree<Y>).rebuild(results.stacked)];
}

/** One loop over all of the slices. */
function loopOf(step: FlatStep, start: readonly Tensor[], xs: readonly Tensor[], count: number, reverse: boolean): ReturnType<FlatStep> {
  const types = [...start, ...xs.map(({ shape, dtype }) => ({ shape: shape.slice(1), dtype }))];
  const { body, captured } = traceBody(types, (placeholders) => {
    const { carry, stacked } = step(placeholders.slice(0, start.length), placeholders.slice(start.length));
    return [...carry, ...stacked];
  });
  const inputs = [...start, ...xs, ...captured];
  // Without steps, and where nothing is computed, there is no loop.
  if (count === 0) {
    const stacked = body.outputs.slice(start.length).map((output) => {
      const { shape, dtype } = body.nodes[output] as GraphNode;
      return zeros([0, ...shape], { dtype });
    });
    return { carry: start, stacked };
  }
  const { results } = makeLoop({ body, count, reverse, carried: start.length, sliced: xs.length, inputs });
  return { carry: results.slice(0, start.length), stacked: results.slice(start.length) };
}

/** A loop over chunks, each a loop over `every` steps, and one over the steps that are left. Each keeps its own carries. */
function chunked(
  step: FlatStep,
  start: readonly Tensor[],
  xs: readonly Tensor[],
  { length, every, reverse }: { length: number; every: number; reverse: boolean },
): ReturnType<FlatStep> {
  const chunks = Math.floor(length / every);
  const left = length - chunks * every;
  // The steps that are left come last, which is first in memory when the scan is reversed.
  const first = reverse ? left : 0;
  const part = (x: Tensor, from: number, count: number): Tensor => (count === x.shape[0] ? x : slice(x, [[from, from + count]]));
  const cut = xs.map((x) => reshape(part(x, first, chunks * every), [chunks, every, ...x.shape.slice(1)]));
  const outer: FlatStep = (carry, slices) => loopOf(step, carry, slices, every, reverse);
  const whole = loopOf(outer, start, cut, chunks, reverse);
  const joined = whole.stacked.map((y) => reshape(y, [chunks * every, ...y.shape.slice(2)]));
  if (left === 0) return { carry: whole.carry, stacked: joined };
  const rest = xs.map((x) => part(x, reverse ? 0 : chunks * every, left));
  const tail = loopOf(step, whole.carry, rest, left, reverse);
  const stacked = joined.map((y, i) => concat(reverse ? [tail.stacked[i] as Tensor, y] : [y, tail.stacked[i] as Tensor]));
  return { carry: tail.carry, stacked };
}

/** A tree with scalars for its plain numbers, in the dtype of what stands there in another tree, and in f32 otherwise. */
function withTensors<T>(tree: T, like?: TensorsOfTree<T>): T {
  const { leaves, paths, shape } = flattenTree(tree, "scan: the tree");
  if (!leaves.some(isPlain)) return tree;
  const dtypes = new Map(like?.paths.map((path, i) => [path, like.tensors[i]?.dtype]));
  return shape.build(leaves.map((leaf, i) => (isPlain(leaf) ? literal("scan", leaf, dtypes.get(paths[i] as string) ?? "f32") : leaf))) as T;
}

/** The number of steps. */
function stepsOf<X>({ tensors, paths }: TensorsOfTree<X>, given: number | undefined): number {
  const [first] = tensors;
  if (first === undefined && given === undefined)
    throw new OptionError("scan: xs holds no tensor, so the number of steps is not known", {
      hint: "scan(f, carry, null, { length }); numbers and arrays of them become slices by tensor(numbers)",
    });
  const length = given ?? tensors.find(({ rank }) => rank > 0)?.shape[0] ?? 0;
  tensors.forEach((x, i) => {
    if (x.shape[0] === length) return;
    const where = `scan: xs${paths[i] === "" ? "" : ` at ${paths[i]}`} is ${show(x.shape)}`;
    if (x.rank === 0)
      throw new ShapeError(`${where}, which has no slices`, { hint: "stack the values of all steps, or let f close over it" });
    throw new ShapeError(`${where}, and the scan has ${length} steps`, { hint: "the first axis of every tensor of xs is the step" });
  });
  return length;
}

/** Throws unless the next carry is like the first one: where it holds no tensors, it holds the same. */
function checkCarry<C>(start: TensorsOfTree<C>, next: TensorsOfTree<C>): void {
  if (start.key !== next.key)
    throw new UsageError("scan: the next carry differs from the carry in form", {
      hint: "return a carry with the same fields in the same order",
    });
  const changed = start.others.findIndex((other, i) => !Object.is(other, next.others[i]));
  if (changed >= 0)
    throw new UsageError(`scan: the carry holds ${describe(start.others[changed])}, and the next one ${describe(next.others[changed])}`, {
      hint: "only tensors change from step to step: carry a tensor of numbers, and choose by where()",
    });
  start.tensors.forEach((carry, i) => {
    const found = next.tensors[i] as Tensor;
    if (sameShape(carry.shape, found.shape) && carry.dtype === found.dtype) return;
    const at = start.paths[i] === "" ? "" : ` at ${start.paths[i]}`;
    const type = ({ dtype, shape }: Tensor): string => `${dtype}${show(shape)}`;
    throw new ShapeError(`scan: the carry${at} is ${type(carry)}, and the next one ${type(found)}`, {
      hint: "a carry keeps its shape and dtype from step to step: cast or reshape one of them",
    });
  });
}

import { callable, checkArgument, checkOptions, describe, flag, integer, type Kind, optional } from "../arguments.js";
import { GradientError, OptionError } from "../errors.js";
import { isFloat } from "../ir/dtype.js";
import { deriving } from "../ir/origin.js";
import { sameShape, show } from "../ir/shape.js";
import * as ops from "./operations.js";
import { pullBack, record } from "./pullback.js";
import { apply, originOf, type Region, inputsOf as sourcesOf, Tensor } from "./tensor.js";
import { whileTracing } from "./tracing.js";
import { flattenTree, sameForm, type Tree, type TreeDef } from "./tree.js";

/**
 * For each leaf of a tree, the first place where the same tensor stands: a tensor at several places is one variable. In a list of
 * arguments it is one within an argument; two arguments may have one value and are two variables all the same.
 */
function firstPlaces({ leaves, paths }: { leaves: readonly unknown[]; paths: readonly string[] }, isList: boolean): number[] {
  const first = new Map<string, Map<unknown, number>>();
  return leaves.map((leaf, i) => {
    const argument = isList ? (paths[i]?.split(".", 1)[0] as string) : "";
    const known = first.get(argument) ?? new Map<unknown, number>();
    first.set(argument, known);
    const place = leaf instanceof Tensor ? (known.get(leaf) ?? i) : i;
    known.set(leaf, place);
    return place;
  });
}

/** Fresh variables in place of the leaves of a tree, one for each tensor; `isList` says that the tree is a list of arguments. */
function variablesOf(tree: Tree, name: string, owner: string, isList = false): { variables: Tensor[]; inner: unknown; shape: TreeDef } {
  const flat = flattenTree(tree, `${name}: ${owner}`);
  const { leaves, paths, shape } = flat;
  const variables: Tensor[] = [];
  if (leaves.length === 1 && paths[0] === "" && !(leaves[0] instanceof Tensor) && typeof leaves[0] !== "number") {
    throw new GradientError(`${name}: ${owner} is ${describe(leaves[0])}, which is no tensor, number or tree of them`, {
      hint: ArrayBuffer.isView(leaves[0]) ? "make a tensor of it: tensor(data)" : "pass what to differentiate by",
    });
  }
  const first = firstPlaces(flat, isList);
  // Leaves that are no numbers keep their place, so that the gradient has the tree of the argument.
  const numbers: number[] = [];
  leaves.forEach((leaf, i) => {
    const value = typeof leaf === "number" ? ops.full([], leaf) : leaf;
    if (!(value instanceof Tensor)) {
      numbers.push(-1);
      return;
    }
    if (!isFloat(value.dtype)) {
      throw new GradientError(`${name}: cannot differentiate by ${paths[i] || owner}, which is ${value.dtype}`, {
        hint: "differentiate by float tensors only; pass integers as another argument",
      });
    }
    const place = first[i] as number;
    numbers.push(place < i ? (numbers[place] as number) : variables.push(apply("alias", [value], {})) - 1);
  });
  const build = (values: readonly unknown[]): unknown =>
    shape.build(leaves.map((leaf, i) => ((numbers[i] as number) >= 0 ? values[numbers[i] as number] : leaf)));
  return { variables, inner: build(variables), shape: { ...shape, build } };
}

/** What a function that is differentiated returned, where it is no tensor; with advice. */
function noTensor(where: string, found: unknown, wanted: string): GradientError {
  const hint =
    found instanceof Promise
      ? "a function that is differentiated is not async: await data before it, and numbers after it"
      : found === undefined
        ? "return the result"
        : typeof found === "number"
          ? "compute it with tensor operations: a number has no derivative"
          : "return what tensor operations made";
  return new GradientError(`${where}: the function returned ${describe(found)}, not ${wanted}`, { hint });
}

/** Cotangents with zeros where none arrived. */
const gradients = (cotangents: readonly (Tensor | null)[], variables: readonly Tensor[]): Tensor[] =>
  cotangents.map((cotangent, i) => cotangent ?? ops.zerosLike(variables[i] as Tensor));

/** {@link vjp} under the name of the function that was called. */
function linearized<A extends readonly unknown[], R>(
  where: string,
  f: (...primals: A) => R,
  primals: A,
): [value: R, pullback: (cotangent: R) => A] {
  const { variables, inner, shape } = variablesOf(primals, where, "the list of primals", true);
  const value = whileTracing(() => f(...(inner as unknown as A)));
  if (value instanceof Promise) throw noTensor(where, value, "tensors");
  const { leaves, paths } = flattenTree(value, `${where}: the function's value`);
  if (!leaves.some((leaf) => leaf instanceof Tensor)) throw noTensor(where, value, "a tensor or a tree of tensors");
  const places = leaves.flatMap((leaf, i) => (leaf instanceof Tensor && isFloat(leaf.dtype) ? [{ output: leaf, i }] : []));
  differentiations++;
  const steps = record(
    places.map(({ output }) => output),
    new Set(variables),
  );
  const pullback = (cotangent: R): A => {
    const names = ["the function's value", "the cotangent"] as const;
    const seeds = sameForm(where, names, value, cotangent);
    const pairs = places.map(({ output, i }): [Tensor, Tensor] => [
      output,
      matching({ where, path: paths[i] as string, names, like: output, given: seeds[i] }),
    ]);
    return shape.build(gradients(pullBack(steps, pairs, variables), variables)) as A;
  };
  return [value, pullback];
}

/** What stands at a place of two trees: in the one that was given, and in the one whose shapes and dtypes it must have. */
interface Match {
  readonly where: string;
  readonly path: string;
  readonly names: readonly [like: string, given: string];
  readonly like: Tensor;
  readonly given: unknown;
}

/** `given` as a tensor. Throws GradientError unless it has the shape and dtype of `like`. */
function matching({ where, path, names: [one, other], like, given }: Match): Tensor {
  const tensor = typeof given === "number" && like.rank === 0 ? ops.full([], given, { dtype: like.dtype }) : given;
  const fits = tensor instanceof Tensor && sameShape(tensor.shape, like.shape) && tensor.dtype === like.dtype;
  if (fits) return tensor;
  const type = ({ dtype, shape }: Tensor): string => `${dtype}${show(shape)}`;
  const found = tensor instanceof Tensor ? type(tensor) : describe(tensor);
  throw new GradientError(`${where}: at ${path || "the root"} ${other} has ${found}, and ${one} ${type(like)}`, {
    hint:
      tensor instanceof Tensor && tensor.dtype !== like.dtype ? `cast it: .cast("${like.dtype}")` : "give a tensor of that shape and dtype",
  });
}

/**
 * f's value and the function that maps a cotangent of it (a tree like the value) to cotangents of the primals:
 * `[y, v ↦ vᵀ·∂f/∂x]`. Cotangents of outputs that are no floats are not looked at. Throws GradientError if a primal is no float, if
 * f returns no tensor, and for cotangents of another shape or dtype; UsageError where their tree has another form.
 */
export function vjp<A extends readonly unknown[], R>(f: (...primals: A) => R, ...primals: A): [value: R, pullback: (cotangent: R) => A] {
  checkArgument("vjp", "f", f, callable);
  return linearized("vjp", f, primals);
}

/** What made a tensor, in a word. */
const madeBy = ({ source, dtype }: Tensor): string => (source.kind === "operation" ? source.primitive : dtype);

/** How often something was differentiated: a function within which that happens is a derivative, which may well be constant. */
let differentiations = 0;

/** Throws GradientError where a value depends on the variables only by places that `argmax` or `argmin` found: it does not change with them. */
function refusePlaces(where: string, value: Tensor, variables: readonly Tensor[]): void {
  const reached = new Set<Tensor | Region>([value]);
  const waiting: (Tensor | Region)[] = [value];
  let [place, isReached]: [place: string | undefined, isReached: boolean] = [undefined, false];
  for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) {
    if (item instanceof Tensor && variables.includes(item)) isReached = true;
    if (item instanceof Tensor && item.source.kind === "operation" && /^arg(max|min)$/.test(item.source.primitive))
      place = item.source.primitive;
    for (const input of item instanceof Tensor ? sourcesOf(item.source) : item.inputs) {
      if (reached.has(input)) continue;
      reached.add(input);
      waiting.push(input);
    }
  }
  if (!isReached || place === undefined) return;
  throw new GradientError(`${where}: the function's value depends on its argument only through ${place}, which has no derivative`, {
    hint: `${place} gives a place, which does not change with its operand but jumps: use max or min for the value there, or softmax for a smooth choice`,
  });
}

/** {@link valueAndGrad} under the name of the function that was called. */
export function differentiated<A extends readonly unknown[], R, N extends number>(
  where: string,
  f: (...args: A) => R,
  argnum: N,
  hasAux: boolean,
): (...args: A) => [value: R, gradient: A[N]] {
  return (...args) => {
    if (argnum >= args.length) {
      throw new OptionError(
        `${where}: there is no argument ${argnum} to differentiate by, ${args.length} ${args.length === 1 ? "was" : "were"} passed`,
        {
          hint: "argnum counts from 0",
        },
      );
    }
    const { variables, inner, shape } = variablesOf(args[argnum], where, `argument ${argnum}`);
    const before = differentiations;
    const value = whileTracing(() => f(...(args.map((arg, i) => (i === argnum ? inner : arg)) as unknown as A)));
    if (hasAux && !Array.isArray(value)) throw noTensor(where, value, "[scalar, auxiliary], as hasAux says");
    const loss: unknown = hasAux ? (value as readonly unknown[])[0] : value;
    if (Array.isArray(loss) && loss[0] instanceof Tensor)
      throw new GradientError(`${where}: the function returned ${describe(loss)}, not a tensor`, {
        hint: "valueAndGrad(f, { hasAux: true }) takes [scalar, auxiliary]; vjp takes any tree",
      });
    if (!(loss instanceof Tensor)) throw noTensor(where, loss, "a tensor");
    if (loss.rank !== 0)
      throw new GradientError(`${where}: the function returned ${show(loss.shape)}, not a scalar`, {
        hint: "sum or average it, or use vjp",
      });
    if (!isFloat(loss.dtype)) {
      throw new GradientError(`${where}: the function returned ${loss.dtype}, which has no derivative`, {
        hint: `${madeBy(loss)} does not change with its operand but jumps: return floats, such as the value and not its place`,
      });
    }
    const steps = record([loss], new Set(variables));
    const depends = variables.includes(loss) || steps.at(-1)?.outputs.includes(loss);
    if (!depends && differentiations === before) refusePlaces(where, loss, variables);
    differentiations++;
    const seed = deriving(
      () => ({ of: "the function's value", rule: "ȳ = 1", forward: originOf(loss) }),
      () => ops.onesLike(loss),
    );
    return [value, shape.build(gradients(pullBack(steps, [[loss, seed]], variables), variables)) as A[N]];
  };
}

/**
 * x ↦ [f(x, …), ∂f/∂x]: the value and the gradient by argument `argnum` (default 0), which may be a tree.
 * f returns a float scalar, or `[scalar, auxiliary]` with `hasAux`. A tensor at several places of the tree (tied weights) is one variable:
 * its gradient, the sum over its uses, is one tensor that stands at all of them. Throws GradientError where f returns anything else, and
 * OptionError where there is no argument `argnum`.
 */
export function valueAndGrad<A extends readonly unknown[], R, N extends number = 0>(
  f: (...args: A) => R,
  options: { argnum?: N; hasAux?: boolean } = {},
): (...args: A) => [value: R, gradient: A[N]] {
  checkArgument("valueAndGrad", "f", f, callable);
  checkOptions("valueAndGrad", options, { argnum: optional(integer(0)), hasAux: optional(flag) });
  return differentiated("valueAndGrad", f, (options.argnum ?? 0) as N, options.hasAux ?? false);
}

/** x ↦ ∂f/∂x for a scalar f, by argument `argnum` (default 0). Throws as {@link valueAndGrad} does. */
export function grad<A extends readonly unknown[], R, N extends number = 0>(f: (...args: A) => R, argnum?: N): (...args: A) => A[N] {
  checkArgument("grad", "f", f, callable);
  checkArgument("grad", "argnum", argnum, optional(integer(0)));
  const both = differentiated("grad", f, (argnum ?? 0) as N, false);
  return (...args) => both(...args)[1];
}

const listKind: Kind = { wanted: "a list with one tree for each argument of f", fits: Array.isArray };

/**
 * The tangents with tensors for numbers, and each tangent of a tensor at several places at the first of them alone. Throws unless they
 * have the form, shapes and dtypes of the primals, and one tangent for each tensor.
 */
function checkTangents<T>(where: string, names: readonly [string, string], primals: T, tangents: T, isList = false): T {
  const given = sameForm(where, names, primals, tangents);
  const flat = flattenTree(primals);
  const { leaves, paths, shape } = flat;
  const first = firstPlaces(flat, isList);
  return shape.build(
    leaves.map((leaf, i) => {
      const like = typeof leaf === "number" ? ops.zeros([]) : leaf;
      // What cannot be differentiated by is refused with the primals.
      if (!(like instanceof Tensor) || !isFloat(like.dtype)) return leaf;
      const place = first[i] as number;
      if (place < i && given[place] !== given[i]) {
        throw new GradientError(`${where}: ${names[0]} has one tensor at ${paths[place]} and ${paths[i]}, and ${names[1]} two`, {
          hint: "one tensor has one tangent: give the same one at both places, as mapTensors does",
        });
      }
      if (place < i) return ops.zerosLike(like);
      return matching({ where, path: paths[i] as string, names, like, given: given[i] });
    }),
  ) as T;
}

function pushForward<A extends readonly unknown[], R>(where: string, f: (...primals: A) => R, primals: A, tangents: A): [R, R] {
  const [value, pullback] = linearized(where, f, primals);
  const flat = flattenTree(value);
  const { leaves, shape } = flat;
  const zero = shape.build(leaves.map((leaf) => (leaf instanceof Tensor ? (isFloat(leaf.dtype) ? ops.zerosLike(leaf) : null) : leaf))) as R;
  const [, transposed] = linearized(where, (cotangent: R) => pullback(cotangent), [zero]);
  const { leaves: found } = flattenTree((transposed as unknown as (v: A) => [R])(tangents)[0]);
  return [value, shape.build(firstPlaces(flat, false).map((place) => found[place])) as R];
}

/**
 * f's value and its directional derivative ∂f/∂x · v: the transpose of the (linear) map u ↦ uᵀ·∂f/∂x, applied to v.
 * `primals` and `tangents` are lists of trees of one form, shapes and dtypes; outputs that are no floats have null for a tangent.
 * Throws GradientError or UsageError that names the path where the tangents do not fit.
 */
export function jvp<A extends readonly unknown[], R>(f: (...primals: A) => R, primals: A, tangents: A): [value: R, tangent: R] {
  checkArgument("jvp", "f", f, callable);
  checkArgument("jvp", "primals", primals, listKind);
  checkArgument("jvp", "tangents", tangents, listKind);
  return pushForward("jvp", f, primals, checkTangents("jvp", ["the list of primals", "the list of tangents"], primals, tangents, true));
}

/** The product of the Hessian of a scalar f at x with v (a tree like x): the derivative of ∂f/∂x along v. */
export function hvp<T>(f: (x: T) => Tensor, x: T, v: T): T {
  checkArgument("hvp", "f", f, callable);
  const along = checkTangents("hvp", ["x", "v"], x, v);
  const gradient = differentiated<[T], Tensor, 0>("hvp", f, 0, false);
  return pushForward<[T], T>("hvp", (at) => gradient(at)[1], [x], [along])[1];
}

import { callable, checkArgument, checkOptions, flag, integer, type Kind, optional } from "../arguments.js";
import { GradientError } from "../errors.js";
import { isFloat } from "./dtype.js";
import * as ops from "./operations.js";
import type { PrimitiveName, PrimitiveParams } from "./primitives.js";
import { sameShape, show } from "./shape.js";
import { apply, Tensor } from "./tensor.js";
import { whileTracing } from "./tracing.js";
import { flattenTree, type Tree, type TreeShape } from "./tree.js";
import { vjpRule } from "./vjp.js";

/** One step of a computation as differentiation needs it, kept apart from the tensor so that realising cannot remove it. */
interface Step {
  readonly y: Tensor;
  readonly primitive: PrimitiveName;
  readonly inputs: readonly Tensor[];
  readonly params: PrimitiveParams[PrimitiveName];
  /** Which inputs depend on a variable. */
  readonly needs: readonly boolean[];
}

/** The steps between `variables` and `outputs` in the order in which they compute. */
function record(outputs: readonly Tensor[], variables: ReadonlySet<Tensor>): Step[] {
  const depends = new Map<Tensor, boolean>();
  const steps: Step[] = [];
  const stack: { tensor: Tensor; next: number }[] = outputs.map((tensor) => ({ tensor, next: 0 }));
  while (stack.length > 0) {
    const top = stack[stack.length - 1] as { tensor: Tensor; next: number };
    const { tensor } = top;
    const { source } = tensor;
    if (depends.has(tensor)) {
      stack.pop();
    } else if (variables.has(tensor)) {
      depends.set(tensor, true);
      stack.pop();
    } else if (source.kind !== "operation") {
      depends.set(tensor, false);
      stack.pop();
    } else if (top.next < source.inputs.length) {
      stack.push({ tensor: source.inputs[top.next++] as Tensor, next: 0 });
    } else {
      const needs = source.inputs.map((input) => isFloat(input.dtype) && (depends.get(input) ?? false));
      const through = source.primitive !== "stopGradient" && needs.some(Boolean);
      depends.set(tensor, through);
      if (through) steps.push({ y: tensor, primitive: source.primitive, inputs: source.inputs, params: source.params, needs });
      stack.pop();
    }
  }
  return steps;
}

/** Runs the steps backwards from the cotangents of the outputs to those of the variables. */
function pullBack(steps: readonly Step[], seeds: readonly (readonly [Tensor, Tensor])[], variables: readonly Tensor[]): Tensor[] {
  const cotangents = new Map<Tensor, Tensor>();
  const accumulate = (to: Tensor, ct: Tensor): void => {
    const sofar = cotangents.get(to);
    cotangents.set(to, sofar === undefined ? ct : ops.add(sofar, ct));
  };
  for (const [output, seed] of seeds) accumulate(output, seed);
  for (let i = steps.length - 1; i >= 0; i--) {
    const { y, primitive, inputs, params, needs } = steps[i] as Step;
    const ct = cotangents.get(y);
    if (ct === undefined) continue;
    const parts = vjpRule(primitive)(ct, { inputs, y, params, needs });
    inputs.forEach((input, k) => {
      const part = needs[k] ? parts[k] : null;
      if (part) accumulate(input, part);
    });
  }
  return variables.map((variable) => cotangents.get(variable) ?? ops.zerosLike(variable));
}

/** Fresh variables in place of the leaves of a tree. */
function variablesOf(tree: Tree, name: string, owner: string): { variables: Tensor[]; inner: unknown; shape: TreeShape } {
  const { leaves, paths, shape } = flattenTree(tree, `${name}: ${owner}`);
  const variables: Tensor[] = [];
  const inner = leaves.map((leaf, i) => {
    const value = typeof leaf === "number" ? ops.full([], leaf) : leaf;
    if (!(value instanceof Tensor)) return leaf;
    if (!isFloat(value.dtype)) {
      throw new GradientError(`${name}: cannot differentiate by ${paths[i] || "the argument"}, which is ${value.dtype}`, {
        hint: "differentiate by float tensors only; pass integers as another argument",
      });
    }
    const variable = apply("alias", [value], {});
    variables.push(variable);
    return variable;
  });
  // Leaves that are no numbers keep their place, so that the gradient has the tree of the argument.
  let next = 0;
  const places = leaves.map((leaf) => (leaf instanceof Tensor || typeof leaf === "number" ? next++ : -1));
  return {
    variables,
    inner: shape.build(inner),
    shape: {
      ...shape,
      build: (values) => shape.build(leaves.map((leaf, i) => ((places[i] as number) >= 0 ? values[places[i] as number] : leaf))),
    },
  };
}

/**
 * f's value and the function that maps a cotangent of it (a tree like the value) to cotangents of the primals:
 * `[y, v ↦ vᵀ·∂f/∂x]`. Throws GradientError if a primal is no float.
 */
export function vjp<A extends readonly unknown[], R>(f: (...primals: A) => R, ...primals: A): [value: R, pullback: (cotangent: R) => A] {
  checkArgument("vjp", "f", f, callable);
  const { variables, inner, shape } = variablesOf([...primals], "vjp", "the list of primals");
  const value = whileTracing(() => f(...(inner as unknown as A)));
  const outputs = flattenTree(value).leaves.filter((leaf): leaf is Tensor => leaf instanceof Tensor);
  const steps = record(outputs, new Set(variables));
  const pullback = (cotangent: R): A => {
    const seeds = flattenTree(cotangent).leaves.filter((leaf): leaf is Tensor => leaf instanceof Tensor);
    if (seeds.length !== outputs.length) throw new GradientError(`vjp: ${seeds.length} cotangents for ${outputs.length} outputs`);
    const pairs = outputs.map((output, i): [Tensor, Tensor] => {
      const seed = seeds[i] as Tensor;
      if (!sameShape(seed.shape, output.shape))
        throw new GradientError(`vjp: a cotangent of ${show(seed.shape)} for an output of ${show(output.shape)}`);
      return [output, seed];
    });
    return shape.build(pullBack(steps, pairs, variables)) as A;
  };
  return [value, pullback];
}

/**
 * x ↦ [f(x, …), ∂f/∂x]: the value and the gradient by argument `argnum` (default 0), which may be a tree.
 * f returns a float scalar, or `[scalar, auxiliary]` with `hasAux`. Throws GradientError otherwise.
 */
export function valueAndGrad<A extends readonly unknown[], R, N extends number = 0>(
  f: (...args: A) => R,
  options: { argnum?: N; hasAux?: boolean } = {},
): (...args: A) => [value: R, gradient: A[N]] {
  checkArgument("valueAndGrad", "f", f, callable);
  checkOptions("valueAndGrad", options, { argnum: optional(integer(0)), hasAux: optional(flag) });
  const argnum = options.argnum ?? 0;
  return (...args) => {
    const { variables, inner, shape } = variablesOf(args[argnum], "grad", `argument ${argnum}`);
    const value = whileTracing(() => f(...(args.map((arg, i) => (i === argnum ? inner : arg)) as unknown as A)));
    const loss: unknown = options.hasAux ? (value as readonly unknown[])[0] : value;
    if (!(loss instanceof Tensor)) throw new GradientError("grad: the function did not return a tensor");
    if (loss.rank !== 0)
      throw new GradientError(`grad: the function returned ${show(loss.shape)}, not a scalar`, { hint: "sum or average it, or use vjp" });
    if (!isFloat(loss.dtype)) throw new GradientError(`grad: the function returned ${loss.dtype}, which has no derivative`);
    const steps = record([loss], new Set(variables));
    return [value, shape.build(pullBack(steps, [[loss, ops.onesLike(loss)]], variables)) as A[N]];
  };
}

/** x ↦ ∂f/∂x for a scalar f, by argument `argnum` (default 0). */
export function grad<A extends readonly unknown[], R, N extends number = 0>(f: (...args: A) => R, argnum?: N): (...args: A) => A[N] {
  checkArgument("grad", "f", f, callable);
  checkArgument("grad", "argnum", argnum, optional(integer(0)));
  const both = valueAndGrad(f, argnum === undefined ? {} : { argnum });
  return (...args) => both(...args)[1] as A[N];
}

const listKind: Kind = { wanted: "a list with one tree for each argument of f", fits: Array.isArray };

/**
 * f's value and its directional derivative ∂f/∂x · v: the transpose of the (linear) map u ↦ uᵀ·∂f/∂x, applied to v.
 * `primals` and `tangents` are lists of trees of one form.
 */
export function jvp<A extends readonly unknown[], R>(f: (...primals: A) => R, primals: A, tangents: A): [value: R, tangent: R] {
  checkArgument("jvp", "f", f, callable);
  checkArgument("jvp", "primals", primals, listKind);
  checkArgument("jvp", "tangents", tangents, listKind);
  const [value, pullback] = vjp(f, ...primals);
  const { leaves, shape } = flattenTree(value);
  const zero = shape.build(leaves.map((leaf) => (leaf instanceof Tensor ? ops.zerosLike(leaf) : leaf))) as R;
  const [, transposed] = vjp((cotangent: R) => pullback(cotangent), zero);
  return [value, (transposed as unknown as (v: A) => [R])(tangents)[0]];
}

/** The product of the Hessian of a scalar f at x with v: the derivative of ∂f/∂x along v. */
export function hvp<T>(f: (x: T) => Tensor, x: T, v: T): T {
  checkArgument("hvp", "f", f, callable);
  return jvp<[T], T>((at) => grad(f)(at) as T, [x], [v])[1];
}

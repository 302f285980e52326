import { callable, checkArgument, describe } from "../arguments.js";
import { GradientError } from "../errors.js";
import { isFloat } from "../ir/dtype.js";
import type { Graph } from "../ir/graph.js";
import { sameShape, show } from "../ir/shape.js";
import { add, zerosLike } from "./operations.js";
import { pullThrough } from "./pullback.js";
import { callOf, evaluate, extend, makeCall, type TracedBody, traceBody } from "./region.js";
import { type TensorsOfTree, tensorArguments, tensorResults } from "./region-trees.js";
import { apply, type Call, type CallPullback, Tensor } from "./tensor.js";
import { flattenTree, sameForm } from "./tree.js";

/**
 * f with a derivative of one's own: as it stands where nobody differentiates, and otherwise as `forward(...args)` =
 * `[value, residuals]`, whose residuals (any tree) are what `backward(residuals, cotangent)` gets beside the cotangent of the value (a
 * tree like it; null at places that are no floats). `backward` returns a list with one cotangent for each argument, each a tree like
 * the argument with null, or null as a whole, for a zero. After Bradbury et al. 2018 (JAX's custom_vjp).
 *
 *   const safeLog = customVjp(
 *     (x) => x.log(),
 *     (x) => [x.log(), x],
 *     (x, ct) => [ct.div(x.maximum(1e-6))],
 *   );
 *
 * Inside of a scan or a checkpoint `backward` runs after the step is over: of what the step computes it has its residuals and nothing else.
 * Second derivatives are those of `forward` and `backward`. Throws GradientError where cotangents do not fit the arguments, and where
 * a derivative is asked for by something that f closes over: pass it as an argument.
 */
export function customVjp<A extends readonly unknown[], R, S>(
  f: (...args: A) => R,
  forward: (...args: A) => readonly [value: R, residuals: S],
  backward: (residuals: S, cotangent: R) => readonly unknown[],
): (...args: A) => R {
  for (const [name, value] of Object.entries({ f, forward, backward })) checkArgument("customVjp", name, value, callable);
  return (...args) => {
    const given = tensorArguments(args, "customVjp: the list of arguments");
    const primal = traceTrees(given.tensors, (placeholders) => {
      const value = tensorResults(f(...given.rebuild(placeholders)), "customVjp");
      return { value, outputs: value.tensors };
    });
    const { value } = primal.trees;
    const values = value.tensors.length;
    const fwd = traceTrees(given.tensors, (placeholders) => {
      const [its, residuals] = checkForward<R, S>(forward(...given.rebuild(placeholders)), value);
      return { residuals, outputs: [...its.tensors, ...residuals.tensors] };
    });
    const { residuals } = fwd.trees;
    // Both bodies take the same inputs, those that either of them closes over at the end.
    const inputs = [...given.tensors, ...primal.captured, ...fwd.captured];
    const forwardBody = renumbered(fwd.body, given.tensors.length, primal.captured.length);
    /** Calls that compute what forward does: those that were differentiated. */
    const extended = new WeakSet<Call>();

    const pullback: CallPullback = (call, cts, needs) => {
      if (needs.some((need, i) => need && i >= given.tensors.length))
        throw new GradientError("customVjp: a derivative by a tensor that the function closes over is asked for", {
          hint: "pass the tensor as an argument, or wrap it in stopGradient",
        });
      if (!extended.has(call)) extend(call, forwardBody, call.inputs);
      extended.add(call);
      const ofValue = cts.slice(0, values);
      const found = ofValue.some((ct) => ct !== null) ? pullValue(call.results.slice(values), ofValue) : needs.map(() => null);
      // The residuals are data for backward; where they are differentiated, forward is.
      const ofResiduals = call.results.map((_, i) => (i < values ? null : (cts[i] ?? null)));
      if (ofResiduals.every((ct) => ct === null)) return found;
      const variables = call.inputs.map((input) => apply("alias", [input], {}));
      const through = pullThrough(evaluate(call.body, variables), variables, ofResiduals, needs);
      return through.map((part, i) => {
        const other = found[i];
        return part && other ? add(part, other) : (part ?? other ?? null);
      });
    };

    /** The cotangents of the arguments as a call of backward. */
    function pullValue(saved: readonly Tensor[], cts: readonly (Tensor | null)[]): (Tensor | null)[] {
      const cotangents = value.tensors.map((tensor, i) => (isFloat(tensor.dtype) ? (cts[i] ?? zerosLike(tensor)) : null));
      const floats = cotangents.filter((ct) => ct !== null);
      /** For each tensor among the arguments, its place among the results. */
      let places: (number | null)[] = [];
      const { results } = callOf("customVjp backward", {}, [...saved, ...floats], (placeholders) => {
        const rest = placeholders.slice(saved.length)[Symbol.iterator]();
        const ct = value.rebuild(cotangents.map((each) => (each === null ? null : rest.next().value)) as Tensor[]);
        const parts = cotangentsOf(args, backward(residuals.rebuild(placeholders.slice(0, saved.length)), ct));
        const outputs: Tensor[] = [];
        places = parts.map((part) => (part === null ? null : outputs.push(part) - 1));
        return outputs;
      });
      return places.map((place) => (place === null ? null : (results[place] as Tensor)));
    }

    const { results } = makeCall({ name: "customVjp", params: {}, body: { ...primal.body, inputCount: inputs.length }, inputs, pullback });
    return value.rebuild(results);
  };
}

/** Traces a function whose trees are wanted as well as its outputs. */
function traceTrees<T extends { outputs: readonly Tensor[] }>(
  types: readonly Tensor[],
  f: (placeholders: Tensor[]) => T,
): TracedBody & { trees: T } {
  let trees: T | undefined;
  const traced = traceBody(types, (placeholders) => {
    trees = f(placeholders);
    return trees.outputs;
  });
  return { ...traced, trees: trees as T };
}

/** Value and residuals that forward returned. Throws GradientError unless the value is like that of f. */
function checkForward<R, S>(pair: unknown, like: TensorsOfTree<R>): [TensorsOfTree<R>, TensorsOfTree<S>] {
  if (!Array.isArray(pair) || pair.length !== 2)
    throw new GradientError(`customVjp: forward returned ${describe(pair)}, not [value, residuals]`, {
      hint: "return the value of f and what backward needs",
    });
  const value = tensorResults(pair[0] as R, "customVjp: forward");
  if (value.key !== like.key || !value.tensors.every((tensor, i) => alike(tensor, like.tensors[i] as Tensor)))
    throw new GradientError("customVjp: the value of forward differs from that of f in form, shape or dtype", {
      hint: "forward returns [the value of f, residuals]",
    });
  return [value, tensorArguments(pair[1] as S, "customVjp: the residuals")];
}

/** A body whose inputs from number `from` on are further along by `by`. */
function renumbered(body: Graph, from: number, by: number): Graph {
  const nodes = body.nodes.map((node) => (node.kind === "input" && node.input >= from ? { ...node, input: node.input + by } : node));
  return { ...body, nodes, inputCount: body.inputCount + by };
}

const alike = (a: Tensor, b: Tensor): boolean => sameShape(a.shape, b.shape) && a.dtype === b.dtype;

/** What backward returned, one cotangent for each tensor among the arguments; null for a zero. */
function cotangentsOf(args: readonly unknown[], found: unknown): (Tensor | null)[] {
  if (!Array.isArray(found) || found.length !== args.length)
    throw new GradientError(`customVjp: backward returned ${describe(found)}, and the function has ${args.length} arguments`, {
      hint: "return a list with one cotangent for each argument, null for a zero",
    });
  return args.flatMap((arg, position) => {
    const { tensors, paths } = tensorArguments(arg, `customVjp: argument ${position}`);
    const ct: unknown = found[position];
    if (ct === null || ct === undefined) return tensors.map(() => null);
    const names = [`argument ${position}`, `what backward returned for argument ${position}`] as const;
    const all = sameForm("customVjp", names, arg, ct);
    const { paths: allPaths } = flattenTree(arg);
    return tensors.map((tensor, i) => {
      const path = paths[i] as string;
      const part = all[allPaths.indexOf(path)];
      if (part === null || part === undefined) return null;
      if (part instanceof Tensor && alike(part, tensor)) return part;
      const what = part instanceof Tensor ? `${part.dtype}${show(part.shape)}` : describe(part);
      throw new GradientError(
        `customVjp: backward returned ${what} for argument ${position}${path === "" ? "" : ` at ${path}`}, which is ${tensor.dtype}${show(tensor.shape)}`,
        { hint: "a cotangent has the shape and dtype of what it belongs to" },
      );
    });
  });
}

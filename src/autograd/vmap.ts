import { callable, checkArgument, checkOptions, type Kind, plainObject } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { type AttentionParams, attentionInputs, isAttention } from "../ir/attention.js";
import type { CallNode, Graph, GraphNode, LoopNode } from "../ir/graph.js";
import { inheriting, originOfNode } from "../ir/origin.js";
import type { Abstract } from "../ir/primitives.js";
import { normalizeAxis } from "../ir/shape.js";
import { batchingRule, type Lane, stacked } from "./batching.js";
import * as ops from "./operations.js";
import { barrier, makeCall, makeLoop, traceBody } from "./region.js";
import { type TensorsOfTree, tensorArguments, tensorResults } from "./region-trees.js";
import { apply, type CallPullback, type Tensor } from "./tensor.js";
import { pullbackOf } from "./trace.js";

/**
 * Which axis of a tensor counts the examples: a number, negative ones from the end; null where all examples share the tensor; or a tree of
 * those, of which each entry holds for all tensors below it.
 */
export type BatchAxes = number | null | readonly BatchAxes[] | { readonly [field: string]: BatchAxes };

export interface VmapOptions {
  /** The axes of the arguments: one for all of them, or a list with an entry for each. Default 0. */
  readonly inAxes?: BatchAxes;
  /** Where the examples lie in the results: one axis for all of them, or a tree; null for a result that is the same for all. Default 0. */
  readonly outAxes?: BatchAxes;
}

/**
 * f over B examples at once (JAX's vmap): f is written for one example, and `vmap(f)` takes and gives stacks of them.
 *
 *   vmap(f)(x, y)[b] = f(x[b], y[b])
 *
 * f is traced once, with tensors that lack the axis of the examples, and every operation is replaced by the one that computes all of them:
 * products with a shared matrix are one product, calls with kernels stay calls, loops stay loops. Composes with `grad`, `vjp`, `jvp`, `compile`,
 * `scan`, `checkpoint`, `customVjp` and itself in any order. Gradients of every example:
 *
 *   vmap(grad(loss), { inAxes: [null, 0] })(model, examples)      // a tree like model, each tensor [B, …]
 *
 * Arguments and results are trees. Numbers and other leaves are shared; tensors that f closes over are, too, random keys among them: split
 * a key, and pass one to each example, where they shall differ. Throws OptionError for axes that do not fit the trees, ShapeError where the
 * tensors have different numbers of examples or none has any.
 */
export function vmap<A extends readonly unknown[], R>(f: (...args: A) => R, options: VmapOptions = {}): (...args: A) => R {
  checkArgument("vmap", "f", f, callable);
  checkOptions("vmap", options, { inAxes: axesKind, outAxes: axesKind });
  const { inAxes = 0, outAxes = 0 } = options;
  return (...args) => {
    if (Array.isArray(inAxes) && inAxes.length !== args.length) {
      throw new OptionError(`vmap: inAxes has ${inAxes.length} entries for ${args.length} arguments`, {
        hint: "give one entry for each argument, or one number for all",
      });
    }
    const inputs = tensorArguments(args, "vmap: the list of arguments");
    const lanes = inputs.tensors.map((x, i): Lane => {
      const path = inputs.paths[i] as string;
      const axis = axisAt(inAxes, path, "inAxes");
      if (axis === null) return { x, batched: false };
      if (x.rank === 0)
        throw new ShapeError(`vmap: argument ${path} is a scalar, which has no axis of examples`, { hint: "give it null in inAxes" });
      return { x: moveAxis(x, normalizeAxis(axis, x.rank, "vmap"), 0), batched: true };
    });
    const size = examplesOf(lanes, inputs.paths);
    let value: TensorsOfTree<R> | undefined;
    const { body, captured } = traceBody(lanes.map(ofOne), (placeholders) => {
      value = tensorResults(f(...inputs.rebuild(placeholders)), "vmap");
      return value.tensors;
    });
    const results = value as TensorsOfTree<R>;
    const found = batchGraph(body, [...lanes, ...captured.map((x) => ({ x, batched: false }))], size);
    return results.rebuild(
      found.map((lane, i) => {
        const path = results.paths[i] as string;
        const axis = axisAt(outAxes, path, "outAxes");
        if (axis !== null) return moveAxis(stacked(lane, size), 0, normalizeAxis(axis, (results.tensors[i] as Tensor).rank + 1, "vmap"));
        if (!lane.batched) return lane.x;
        throw new OptionError(
          `vmap: the result${path === "" ? "" : ` at ${path}`} differs from example to example, and outAxes is null there`,
          {
            hint: "give the axis at which the examples shall lie, for example 0",
          },
        );
      }),
    );
  };
}

const isAxes = (value: unknown): boolean =>
  value === null ||
  Number.isInteger(value) ||
  ((Array.isArray(value) || plainObject.fits(value)) && Object.values(value as object).every(isAxes));

const axesKind: Kind = { wanted: "an axis, null, or a tree of them", fits: (value) => value === undefined || isAxes(value) };

/** The entry of a tree of axes that a path leads to. */
function axisAt(axes: BatchAxes, path: string, option: "inAxes" | "outAxes"): number | null {
  let entry: BatchAxes | undefined = axes;
  let rest = path;
  while (entry !== undefined && entry !== null && typeof entry !== "number") {
    const branch: Readonly<Record<string, BatchAxes>> = entry as Readonly<Record<string, BatchAxes>>;
    const name = Object.keys(branch).find((key) => rest === key || rest.startsWith(`${key}.`));
    entry = name === undefined ? undefined : branch[name];
    rest = rest.slice((name ?? "").length + 1);
  }
  if (entry !== undefined) return entry;
  throw new OptionError(`vmap: ${option} has no axis for the tensor at ${path || "the root"}`, {
    hint: "a tree of axes has the fields of what it is for; a number or null holds for everything below it",
  });
}

/** The tensor with one axis at another place. */
function moveAxis(x: Tensor, from: number, to: number): Tensor {
  const order = x.shape.map((_, i) => i).filter((i) => i !== from);
  order.splice(to, 0, from);
  return ops.permute(x, order);
}

/** B, which all lanes that have examples agree on. */
function examplesOf(lanes: readonly Lane[], paths: readonly string[]): number {
  const first = lanes.findIndex(({ batched }) => batched);
  if (first < 0)
    throw new ShapeError("vmap: no tensor among the arguments has an axis of examples", { hint: "give an axis for at least one of them" });
  const size = lanes[first]?.x.shape[0] as number;
  lanes.forEach(({ x, batched }, i) => {
    if (!batched || x.shape[0] === size) return;
    throw new ShapeError(`vmap: argument ${paths[first]} has ${size} examples, and argument ${paths[i]} ${x.shape[0]}`, {
      hint: "stacks of examples have one length; null in inAxes shares a tensor among all of them",
    });
  });
  return size;
}

/** What a lane is for one example. */
const ofOne = ({ x, batched }: Lane): Abstract => ({ shape: batched ? x.shape.slice(1) : x.shape, dtype: x.dtype });
const ofNode = ({ shape, dtype }: GraphNode): Abstract => ({ shape, dtype });

/** A graph for one example, computed for all of them. What depends on no lane that is batched is computed once. */
function batchGraph(graph: Graph, inputs: readonly Lane[], size: number): Lane[] {
  const values: (Lane | readonly Lane[])[] = [];
  for (const node of graph.nodes) {
    if (node.kind === "input") {
      values.push(inputs[node.input] as Lane);
      continue;
    }
    if (node.kind === "scalar") throw new Error("a body has no scalars");
    if (node.kind === "result") {
      values.push((values[node.inputs[0] as number] as readonly Lane[])[node.index] as Lane);
      continue;
    }
    const lanes = node.inputs.map((input) => values[input] as Lane);
    const xs = lanes.map(({ x }) => x);
    const batched = lanes.some((lane) => lane.batched);
    const made = (): Lane | readonly Lane[] => {
      switch (node.kind) {
        case "operation": {
          const { primitive, params } = node;
          return { x: batched ? batchingRule(primitive)(lanes, { params: params as never, size }) : apply(primitive, xs, params), batched };
        }
        case "barrier":
          return { x: barrier(xs[0] as Tensor, xs.slice(1)), batched: lanes[0]?.batched as boolean };
        case "call":
          return batched ? batchCall(node, lanes, size) : shared(node, xs);
        case "loop":
          return batched ? batchLoop(node, lanes, size) : shared(node, xs);
      }
    };
    values.push(inheriting(originOfNode(node), made));
  }
  return graph.outputs.map((output) => values[output] as Lane);
}

/** The results of a call or a loop that is the same for all examples. */
function shared(node: CallNode | LoopNode, inputs: readonly Tensor[]): Lane[] {
  const { results } =
    node.kind === "call"
      ? makeCall({ name: node.name, params: node.params, body: node.body, inputs, pullback: pullbackOf(node) })
      : makeLoop({ body: node.body, count: node.count, reverse: node.reverse, carried: node.carried, sliced: node.sliced, inputs });
  return results.map((x) => ({ x, batched: false }));
}

/**
 * A loop over examples side by side. A carried value that depends on the example in any step is a stack from the first one on (the smallest
 * fixed point). The steps stay the first axis of what is cut and stacked.
 */
function batchLoop({ body, count, reverse, carried, sliced, inputs: { length } }: LoopNode, lanes: readonly Lane[], size: number): Lane[] {
  const is = lanes.map(({ batched }) => batched);
  const types = (): Abstract[] =>
    lanes.map((lane, i) => {
      const { shape, dtype } = ofOne(lane);
      const one = i >= carried && i < carried + sliced ? shape.slice(1) : shape;
      return { shape: is[i] ? [size, ...one] : one, dtype };
    });
  const traced = () => {
    let flags: boolean[] = [];
    const { body: step, captured } = traceBody(types(), (placeholders) => {
      const found = batchGraph(
        body,
        placeholders.map((x, i) => ({ x, batched: is[i] as boolean })),
        size,
      );
      flags = found.map(({ batched }) => batched);
      return found.map((lane, i) => (i < carried && is[i] ? stacked(lane, size) : lane.x));
    });
    return { step, captured, flags };
  };
  let { step, captured, flags } = traced();
  while (flags.some((flag, i) => i < carried && flag && !is[i])) {
    for (let i = 0; i < carried; i++) is[i] ||= flags[i] as boolean;
    ({ step, captured, flags } = traced());
  }
  const inputs = lanes.map((lane, i) => {
    if (i < carried) return is[i] ? stacked(lane, size) : lane.x;
    return i < carried + sliced && lane.batched ? moveAxis(lane.x, 0, 1) : lane.x;
  });
  if (inputs.length !== length) throw new Error("a loop lost an input");
  const { results } = makeLoop({ body: step, count, reverse, carried, sliced, inputs: [...inputs, ...captured] });
  return results.map((x, i) => {
    const batched = (i < carried ? is[i] : flags[i]) as boolean;
    return { x: batched && i >= carried ? moveAxis(x, 0, 1) : x, batched };
  });
}

/**
 * A call as a call. Attention takes examples as further entries of its batch, so that its kernels serve it; the body of any other is
 * computed for all examples, under a name that no kernel is known for. A rule for its derivative becomes one for all examples.
 */
function batchCall(node: CallNode, lanes: readonly Lane[], size: number): Lane[] {
  const { body, params } = node;
  const folds = foldsExamples(node, lanes);
  const is = lanes.map(({ batched }) => batched);
  const inputs = lanes.map((lane, i) => (folds?.(i) ? joinBatch(stacked(lane, size)) : lane.x));
  const { body: whole, captured } = traceBody(inputs, (placeholders) => {
    const own = placeholders.map(
      (x, i): Lane => (folds?.(i) ? { x: splitBatch(x, size), batched: true } : { x, batched: is[i] as boolean }),
    );
    return batchGraph(body, own, size).map((lane) => (folds ? joinBatch(stacked(lane, size)) : stacked(lane, size)));
  });
  const rule = pullbackOf(node);
  const { results } = makeCall({
    name: folds ? node.name : `${node.name} of examples`,
    params,
    body: whole,
    inputs: [...inputs, ...captured],
    pullback: rule && batchPullback(node, rule, { size, inputs: lanes.map(ofOne), is, folds }),
  });
  return results.map((x) => ({ x: folds ? splitBatch(x, size) : x, batched: true }));
}

type Folds = ((input: number) => boolean) | undefined;

/**
 * For attention whose examples are more of its batch: which inputs have a batch. Not where examples differ in what all entries of a batch
 * share, and not where a score reads the number of its entry.
 */
function foldsExamples(node: CallNode, lanes: readonly Lane[]): Folds {
  if (!isAttention(node) || (node.params as AttentionParams).score !== null) return undefined;
  const own = attentionInputs[node.name];
  const shares = (input: number): boolean => input === 3 || input === 4 || input >= own;
  return lanes.some(({ batched }, i) => batched && shares(i)) ? undefined : (input) => !shares(input);
}

/** [B, b, …] ↔ [B·b, …] */
const joinBatch = (x: Tensor): Tensor => ops.reshape(x, [(x.shape[0] as number) * (x.shape[1] as number), ...x.shape.slice(2)]);
const splitBatch = (x: Tensor, size: number): Tensor =>
  ops.reshape(x, [size, size === 0 ? 0 : (x.shape[0] as number) / size, ...x.shape.slice(1)]);

interface BatchedCall {
  readonly size: number;
  /** The inputs for one example, and which of them are stacks. */
  readonly inputs: readonly Abstract[];
  readonly is: readonly boolean[];
  readonly folds: Folds;
}

/** The rule of a call for one example, traced and computed for all of them; what they share has the sum of their cotangents. */
function batchPullback({ name, params, body }: CallNode, original: CallPullback, { size, inputs, is, folds }: BatchedCall): CallPullback {
  const own = inputs.length;
  const outputs = body.outputs.map((output) => ofNode(body.nodes[output] as GraphNode));
  return (call, cts, needs) => {
    const asked = outputs.flatMap((_, i) => (cts[i] ? [i] : []));
    let places: number[] = [];
    const types = [...inputs, ...asked.map((i) => outputs[i] as Abstract)];
    const { body: rule, captured } = traceBody(types, (placeholders) => {
      const one = makeCall({ name, params, body, inputs: placeholders.slice(0, own), pullback: original });
      const given = outputs.map((_, i) => (asked.includes(i) ? (placeholders[own + asked.indexOf(i)] as Tensor) : null));
      const parts = original(one, given, needs.slice(0, own));
      places = parts.flatMap((part, i) => (part && needs[i] ? [i] : []));
      return places.map((i) => parts[i] as Tensor);
    });
    const split = (x: Tensor): Tensor => (folds ? splitBatch(x, size) : x);
    const lanes = [
      ...inputs.map(
        (_, i): Lane =>
          folds?.(i) ? { x: split(call.inputs[i] as Tensor), batched: true } : { x: call.inputs[i] as Tensor, batched: is[i] as boolean },
      ),
      ...asked.map((i): Lane => ({ x: split(cts[i] as Tensor), batched: true })),
      ...captured.map((x): Lane => ({ x, batched: false })),
    ];
    const found = batchGraph(rule, lanes, size);
    const results: (Tensor | null)[] = needs.map(() => null);
    places.forEach((place, k) => {
      const all = stacked(found[k] as Lane, size);
      results[place] = folds?.(place) ? joinBatch(all) : is[place] ? all : ops.sum(all, 0);
    });
    return results;
  };
}

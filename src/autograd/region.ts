import type { Graph, InnerNode } from "../ir/graph.js";
import { inheriting, originOfNode } from "../ir/origin.js";
import type { Abstract } from "../ir/primitives.js";
import { apply, type Call, type CallPullback, type Loop, type Region, Tensor, tensorsMade } from "./tensor.js";
import { linearize, pullbackOf, structural } from "./trace.js";
import { whileTracing } from "./tracing.js";

/*
 * Calls and loops: how they are made of functions.
 *
 * What a function computes inside of a region is traced with placeholders for its arguments. Tensors from outside that it closes over
 * become further inputs (closure conversion): they are those that existed before the trace began, leaves, and plain numbers, so that
 * bodies which differ in numbers alone are one.
 */

/** A function of tensors as a graph. `captured` are the inputs after those of the placeholders. */
export interface TracedBody {
  readonly body: Graph;
  readonly captured: readonly Tensor[];
}

/** Whether a tensor is a number that programs are handed (see {@link structural}): one body serves all of them. */
const isNumber = ({ source, shape }: Tensor): boolean =>
  source.kind === "operation" &&
  source.primitive === "const" &&
  shape.length === 0 &&
  !structural((source.params as { value: number }).value);

/** Traces f with placeholders of the given shapes and dtypes. */
export function traceBody(types: readonly Abstract[], f: (placeholders: Tensor[]) => readonly Tensor[]): TracedBody {
  const token = {};
  const before = tensorsMade();
  const placeholders = types.map(({ shape, dtype }, position) => new Tensor(shape, dtype, { kind: "argument", trace: token, position }));
  const outputs = whileTracing(() => f(placeholders));
  const captured: Tensor[] = [];
  const graph = linearize(outputs, (tensor) => {
    const { source, shape, dtype } = tensor;
    if (source.kind === "argument" && source.trace === token) return { kind: "input", input: source.position, shape, dtype };
    // Results that a region was given later are made where the region was.
    const made = source.kind === "result" ? (source.region.results[0] as Tensor).id : tensor.id;
    const inside =
      made >= before && (source.kind === "operation" || source.kind === "result" || source.kind === "barrier") && !isNumber(tensor);
    return inside ? undefined : { kind: "input", input: types.length + captured.push(tensor) - 1, shape, dtype };
  });
  return { body: { ...graph, inputCount: types.length + captured.length, scalarCount: 0 }, captured };
}

/** The tensors that stand for the results of a region, from number `from` on. */
function resultsOf(region: Region, from = 0): Tensor[] {
  const { body } = region;
  return body.outputs.slice(from).map((output, i) => {
    const { shape, dtype } = body.nodes[output] as Abstract;
    const index = from + i;
    const stacked = region.kind === "loop" && index >= region.carried;
    return new Tensor(stacked ? [region.count, ...shape] : shape, dtype, { kind: "result", region, index });
  });
}

/** A region with its results. */
function complete<R extends Region>(region: R): R {
  region.results = resultsOf(region);
  return region;
}

/** A call of a body. */
export const makeCall = (fields: Omit<Call, "kind" | "results">): Call => complete({ kind: "call", ...fields, results: [] });

/** A loop of a body. */
export const makeLoop = (fields: Omit<Loop, "kind" | "results">): Loop => complete({ kind: "loop", ...fields, results: [] });

/** Makes a call of f, traced; `name` and `params` tell backends what it is. */
export function callOf(
  name: string,
  params: object,
  inputs: readonly Tensor[],
  f: (inputs: Tensor[]) => readonly Tensor[],
  pullback?: CallPullback,
): Call {
  const { body, captured } = traceBody(inputs, f);
  return makeCall({ name, params, body, inputs: [...inputs, ...captured], pullback });
}

/**
 * Gives a region a body that computes more: the results so far in their places, and others after them. Tensors that stand for the
 * results so far are from now on those of the new body, so nothing is computed twice.
 */
export function extend(region: Region, body: Graph, inputs: readonly Tensor[]): void {
  region.body = body;
  region.inputs = inputs;
  region.results = [...region.results, ...resultsOf(region, region.results.length)];
}

/** x, as a value that is computed from `x` after the tensors of `after` and shared with nothing. */
export const barrier = (x: Tensor, after: readonly Tensor[]): Tensor =>
  new Tensor(x.shape, x.dtype, { kind: "barrier", inputs: [x, ...after] });

/**
 * The tensors that a graph without scalars computes from inputs: the graph once more, as part of a larger one. With `calls: "inlined"`
 * the bodies of its calls take their places.
 */
export function evaluate(graph: Graph, inputs: readonly Tensor[], { calls = "kept" }: { calls?: "kept" | "inlined" } = {}): Tensor[] {
  const values: (Tensor | Pick<Region, "results">)[] = [];
  for (const node of graph.nodes) {
    if (node.kind === "input") {
      values.push(inputs[node.input] as Tensor);
      continue;
    }
    if (node.kind === "scalar") throw new Error("a body has no scalars");
    const read = node.inputs.map((input) => values[input]) as Tensor[];
    values.push(inheriting(originOfNode(node), () => computedBy(node, read, calls)));
  }
  return graph.outputs.map((output) => values[output] as Tensor);
}

/** What a node computes from what it reads: a tensor, or the results of a region. */
function computedBy(node: InnerNode, read: readonly Tensor[], calls: "kept" | "inlined"): Tensor | Pick<Region, "results"> {
  switch (node.kind) {
    case "operation":
      return apply(node.primitive, read, node.params);
    case "barrier":
      return barrier(read[0] as Tensor, read.slice(1));
    case "call": {
      const { name, params, body } = node;
      if (calls === "inlined") return { results: evaluate(body, read, { calls }) };
      return makeCall({ name, params, body, inputs: read, pullback: pullbackOf(node) });
    }
    case "loop": {
      const { body, count, reverse, carried, sliced } = node;
      return makeLoop({ body, count, reverse, carried, sliced, inputs: read });
    }
    case "result":
      return (read[0] as unknown as Pick<Region, "results">).results[node.index] as Tensor;
  }
}

import type { Backend, DeviceBuffer } from "../backend/backend.js";
import { UsageError } from "../errors.js";
import type { CallNode, Graph, GraphNode } from "../ir/graph.js";
import { noteOrigin, originOfNode } from "../ir/origin.js";
import { sizeOf } from "../ir/shape.js";
import { checkSameBackend, shareBuffers } from "./runtime.js";
import { type CallPullback, inputsOf, originOf, type Region, type Source, Storage, Tensor } from "./tensor.js";

/** A graph and where its inputs come from. */
export interface Traced {
  readonly graph: Graph;
  /** For each input buffer: a realised tensor, or the position of an argument. */
  readonly buffers: readonly (Tensor | number)[];
  /** For each scalar. */
  readonly scalars: readonly ScalarOrigin[];
}

/** A number, or the position of an argument that is one, with what the host makes of it. */
export type ScalarOrigin =
  | { readonly value: number }
  | { readonly argument: number; readonly map: ((value: number) => number) | undefined };

export interface TraceOptions {
  /** The function call whose arguments may appear. */
  readonly trace?: object;
  /** Makes scalars of the numbers that appear in the graph. */
  readonly liftConstants?: boolean;
  /** Whether the argument at a position is a plain number, which becomes a scalar. Every tensor, of rank 0 too, is an input buffer. */
  readonly isNumber?: (position: number) => boolean;
  /** Positions of arguments that are inputs of the program whether it reads them or not. */
  readonly taken?: readonly number[];
}

/** Constants that stay in the graph, because simplification may profit from knowing them. */
export const structural = (value: number): boolean =>
  value === 0 || Math.abs(value) === 1 || Math.abs(value) === 2 || Math.abs(value) === 0.5 || !Number.isFinite(value);

/**
 * The graph of `outputs`, down to realised tensors and to the arguments of `trace`. With `liftConstants`, numbers that
 * appear in the graph become scalars, so that graphs which differ in such numbers alone share a program.
 */
export function traceGraph(outputs: readonly Tensor[], options: TraceOptions = {}): Traced {
  const buffers: (Tensor | number)[] = [];
  const scalars: ScalarOrigin[] = [];
  /** Scalars of numbers that appear in the graph. */
  const lifted = new Map<string, number>();

  const scalar = ({ dtype }: Tensor, origin: ScalarOrigin): GraphNode => ({
    kind: "scalar",
    scalar: scalars.push(origin) - 1,
    shape: [],
    dtype,
  });
  const input = ({ shape, dtype }: Tensor, origin: Tensor | number): GraphNode => ({
    kind: "input",
    input: buffers.push(origin) - 1,
    shape,
    dtype,
  });

  const graph = linearize(outputs, (tensor) => {
    const { source, shape, dtype } = tensor;
    if (source.kind === "argument") {
      if (source.trace !== options.trace) {
        throw new UsageError("a tensor that stands for an argument of a function that was traced was used outside of it", {
          hint:
            "return it from the function (compiled, checkpointed, or the step of a scan) instead of storing it elsewhere; what the " +
            "backward of a customVjp needs goes through its residuals",
        });
      }
      const { position, map } = source;
      return options.isNumber?.(position) ? scalar(tensor, { argument: position, map }) : input(tensor, position);
    }
    if (source.kind === "host" || source.kind === "device") return input(tensor, tensor);
    if (options.liftConstants && source.kind === "operation" && source.primitive === "const" && shape.length === 0) {
      const { value } = source.params as { value: number };
      if (!structural(value)) {
        // One scalar for each number, so that the steps of a loop are the same kernels.
        const key = `${dtype} ${value}`;
        const scalar = lifted.get(key) ?? scalars.push({ value }) - 1;
        lifted.set(key, scalar);
        return { kind: "scalar", scalar, shape, dtype };
      }
    }
    return undefined;
  });
  for (const position of options.taken ?? []) if (!buffers.includes(position)) buffers.push(position);
  return { graph: { ...withoutRules(graph), inputCount: buffers.length, scalarCount: scalars.length }, buffers, scalars };
}

/** Bodies without the rules of their calls. */
const plain = new WeakMap<Graph, Graph>();

/**
 * A graph for a program, which is kept: the rules of calls hold tensors of the trace, and nobody differentiates a program.
 */
function withoutRules(graph: Pick<Graph, "nodes" | "outputs">): Pick<Graph, "nodes" | "outputs"> {
  if (!graph.nodes.some((node) => "body" in node)) return graph;
  const bare = (body: Graph): Graph => {
    let known = plain.get(body);
    if (known === undefined) {
      known = { ...body, ...withoutRules(body) };
      plain.set(body, known);
    }
    return known;
  };
  return {
    ...graph,
    nodes: graph.nodes.map((node) => ("body" in node ? noteOrigin({ ...node, body: bare(node.body) }, originOfNode(node)) : node)),
  };
}

/** How the cotangents of calls that became nodes are pulled back. */
const pullbacks = new WeakMap<CallNode, CallPullback | undefined>();

/** The rule of a call that became a node of a body. */
export const pullbackOf = (node: CallNode): CallPullback | undefined => pullbacks.get(node);

/**
 * The nodes of a computation in topological order, by depth-first search without recursion. `leaf` gives the node of a tensor that the
 * search does not look behind, and undefined for others.
 */
export function linearize(outputs: readonly Tensor[], leaf: (tensor: Tensor) => GraphNode | undefined): Pick<Graph, "nodes" | "outputs"> {
  const nodes: GraphNode[] = [];
  // Maps of numbers take a third of the time of maps of objects.
  const places = new Map<number, number>();
  const regions = new Map<Region, number>();
  const placeOf = (item: Tensor | Region): number | undefined => (item instanceof Tensor ? places.get(item.id) : regions.get(item));
  const at = (item: Tensor | Region): number => placeOf(item) as number;

  const emit = (item: Tensor | Region): GraphNode => {
    if (item instanceof Tensor) {
      const { source, shape, dtype } = item;
      const inputs = inputsOf(source).map(at);
      if (source.kind !== "operation") return { ...nodeFields(source), inputs, shape, dtype } as unknown as GraphNode;
      const { primitive, params } = source;
      return { kind: "operation", primitive, inputs, params, shape, dtype } as unknown as GraphNode;
    }
    const { body, inputs } = item;
    const { shape, dtype } = body.nodes[body.outputs[0] as number] as GraphNode;
    if (item.kind === "loop") {
      const { count, reverse, carried, sliced } = item;
      return { kind: "loop", body, count, reverse, carried, sliced, inputs: inputs.map(at), shape, dtype };
    }
    const node: CallNode = { kind: "call", name: item.name, params: item.params, body, inputs: inputs.map(at), shape, dtype };
    pullbacks.set(node, item.pullback);
    return node;
  };
  const place = (item: Tensor | Region, node: GraphNode): void => {
    const position = nodes.push(node) - 1;
    if (item instanceof Tensor) places.set(item.id, position);
    else regions.set(item, position);
  };

  const stack: { readonly item: Tensor | Region; readonly inputs: readonly (Tensor | Region)[]; next: number }[] = [];
  const enter = (item: Tensor | Region): void => {
    if (placeOf(item) !== undefined) return;
    const end = item instanceof Tensor ? leaf(item) : undefined;
    if (end !== undefined) place(item, item instanceof Tensor ? noteOrigin(end, originOf(item)) : end);
    else stack.push({ item, inputs: item instanceof Tensor ? inputsOf(item.source) : item.inputs, next: 0 });
  };
  for (const output of outputs) {
    enter(output);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (top.next < top.inputs.length) enter(top.inputs[top.next++] as Tensor | Region);
      else {
        stack.pop();
        if (placeOf(top.item) === undefined) place(top.item, noteOrigin(emit(top.item), originOf(top.item)));
      }
    }
  }
  return { nodes, outputs: outputs.map(at) };
}

/** What a node that is made of others says beside its inputs and type. */
function nodeFields(source: Source): object {
  switch (source.kind) {
    case "operation":
      return { kind: "operation", primitive: source.primitive, params: source.params };
    case "result":
      return { kind: "result", index: source.index };
    case "barrier":
      return { kind: "barrier" };
    default:
      throw new Error(`a tensor of kind ${source.kind} is made of no others`);
  }
}

/**
 * The device buffer of a realised tensor. Host data is uploaded: into a buffer for this run alone at first (`transient`), into one that
 * stays when it is used again, or at once with `keep`.
 */
export function deviceBuffer(tensor: Tensor, backend: Backend, keep: boolean): { buffer: DeviceBuffer; transient: boolean } {
  const { source } = tensor;
  if (source.kind === "device") {
    checkSameBackend(source.storage.backend, backend);
    return { buffer: source.storage.buffer, transient: false };
  }
  if (source.kind !== "host") throw new UsageError(`${tensor} has no numbers yet`);
  if (source.copy?.live && shareBuffers(source.copy.backend, backend)) return { buffer: source.copy.buffer, transient: false };
  const buffer = backend.alloc(tensor.dtype, sizeOf(tensor.shape), "value");
  backend.write(buffer, tensor.dtype, source.data);
  source.uses++;
  if (!keep && source.uses < 2) return { buffer, transient: true };
  source.copy = new Storage(backend, buffer);
  return { buffer, transient: false };
}

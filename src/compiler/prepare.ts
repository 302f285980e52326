import { isFloat, isHalf } from "../ir/dtype.js";
import { type CallNode, type Graph, type GraphNode, type LoopNode, type OperationNode, withInputs } from "../ir/graph.js";
import { sizeOf } from "../ir/shape.js";
import { operandsOfCall } from "./call-operands.js";
import { cast, type Making, placeProduct, placeReduction } from "./long-sums.js";
import { prune } from "./simplify.js";

export interface PrepareOptions {
  /** Rows under which a reduction does not fill the device. */
  readonly minRows: number;
  /** Operands that one concat may have. */
  readonly maxOperands: number;
  /** Write scatterAdd as a masked sum, which is what it means, instead of leaving it to a kernel of its own. */
  readonly expandScatter: boolean;
}

/**
 * Legalization: rewrites what no kernel can do, or none can do well, into what kernels can, node by node. After it
 *
 *   no kernel reads a tensor without elements          sum(x), x: [0, 3]        →   const 0
 *   every result has a buffer of its own               return x, x              →   return reshape(x), reshape(x)
 *   no concat reads more buffers than a kernel may     concat(a, …, i)          →   concat(concat(a, …, d), concat(e, …, h), i)
 *   long sums have work for all threads                sum(x), x: [2²⁰]         →   sum(sum(reshape(x, [2¹⁰, 2¹⁰]), axis 1))  (long-sums.ts)
 *   a loop overwrites nothing but its own              loop carries x           →   loop carries reshape(x)
 *   halves are summed in f32                           scatterAdd(x, index)     →   cast(scatterAdd(cast(x, f32), index), f16)
 *   scatters are sums, where they are asked to be      scatterAdd(x, index)     →   sum(where(eq(index, iota), x, 0))
 */
export function prepare(graph: Graph, options: PrepareOptions): Graph {
  const nodes: GraphNode[] = [];
  const moved: number[] = [];
  const place = (node: GraphNode): number => nodes.push(node) - 1;
  const making: Making = { nodes, place };

  for (const node of graph.nodes) {
    if (node.kind !== "operation") {
      const here = withInputs(node, (input) => moved[input] as number);
      moved.push(place(here.kind === "loop" ? readyLoop(here, making, options) : here.kind === "call" ? readyCall(here, making) : here));
      continue;
    }
    const here = readingSomething({ ...node, inputs: node.inputs.map((input) => moved[input] as number) }, nodes);
    if (here.primitive === "concat" && here.inputs.length > options.maxOperands)
      moved.push(concatTree(here as OperationNode<"concat">, nodes, place, options.maxOperands));
    else if (isReduction(here) && (here.params as { axes: readonly number[] }).axes.length === 0) moved.push(place(overNothing(here)));
    else if (here.primitive === "scatterAdd") moved.push(placeScatter(here as OperationNode<"scatterAdd">, making, options));
    else if (here.primitive === "sum" || here.primitive === "maxReduce" || here.primitive === "minReduce")
      moved.push(placeReduction(here as OperationNode<"sum">, making, options.minRows));
    else if (here.primitive === "dot") moved.push(placeProduct(here as OperationNode<"dot">, making, options.minRows));
    else moved.push(place(here));
  }

  const taken = new Set<number>();
  const outputs = graph.outputs.map((output) => {
    const position = moved[output] as number;
    const node = nodes[position] as GraphNode;
    if ((node.kind === "operation" || node.kind === "barrier" || node.kind === "result") && !taken.has(position)) {
      taken.add(position);
      return position;
    }
    return copy(making, position);
  });
  // What read nothing is a constant now, and its operands may have no reader left.
  return prune({ ...graph, nodes, outputs });
}

/** A node of its own with the same content. */
function copy({ nodes, place }: Making, position: number): number {
  const { shape, dtype } = nodes[position] as GraphNode;
  return place({ kind: "operation", primitive: "reshape", inputs: [position], params: { shape }, shape, dtype });
}

/** A loop whose carried values begin in buffers of their own, which it overwrites, whose other inputs have buffers, and whose body is ready. */
function readyLoop(loop: LoopNode, making: Making, options: PrepareOptions): LoopNode {
  const inputs = loop.inputs.map((input, i) => (i < loop.carried || isBufferless(input, making) ? copy(making, input) : input));
  return { ...loop, inputs, body: prepare(loop.body, options) };
}

/** A call with a kernel whose inputs have buffers, where it does not compute them itself. */
function readyCall(call: CallNode, making: Making): CallNode {
  const operands = operandsOfCall({ nodes: making.nodes }, call);
  const inputs = call.inputs.map((input, i) =>
    (operands[i]?.kind === "linear" || operands[i]?.kind === "whole") && isBufferless(input, making) ? copy(making, input) : input,
  );
  return { ...call, inputs };
}

/** Whether something is computed from nothing, or is a scalar, and so has no buffer. */
function isBufferless(input: number, { nodes }: Making): boolean {
  let node = nodes[input] as GraphNode;
  while (node.kind === "barrier") node = nodes[node.inputs[0] as number] as GraphNode;
  return node.kind === "scalar" || (node.kind === "operation" && (node.primitive === "const" || node.primitive === "iota"));
}

function concatTree(node: OperationNode<"concat">, nodes: readonly GraphNode[], place: (node: GraphNode) => number, limit: number): number {
  let parts = [...node.inputs];
  const { axis } = node.params;
  while (parts.length > limit) {
    const next: number[] = [];
    for (let i = 0; i < parts.length; i += limit) {
      const group = parts.slice(i, i + limit);
      const extent = group.reduce((n, part) => n + ((nodes[part] as GraphNode).shape[axis] as number), 0);
      next.push(
        group.length === 1
          ? (group[0] as number)
          : place({ ...node, kind: "operation", inputs: group, shape: node.shape.map((n, k) => (k === axis ? extent : n)) }),
      );
    }
    parts = next;
  }
  return place({ ...node, inputs: parts });
}

const isReduction = (node: GraphNode): boolean => node.kind === "operation" && "axes" in node.params && node.primitive !== "flip";

/**
 * A node that does not read tensors without elements: what has none itself, and what is made of nothing, is a constant, and a concat
 * has the other operands. So no kernel ever has a loop over nothing, or a place in it.
 */
function readingSomething(node: OperationNode, nodes: readonly GraphNode[]): GraphNode & OperationNode {
  const { shape, dtype } = node;
  const hasElements = (position: number): boolean => sizeOf((nodes[position] as GraphNode).shape) > 0;
  if (sizeOf(shape) > 0 && node.inputs.every(hasElements)) return node as GraphNode & OperationNode;
  if (sizeOf(shape) > 0 && node.primitive === "concat") {
    return { ...(node as OperationNode<"concat">), inputs: node.inputs.filter(hasElements) };
  }
  let value = 0;
  if (node.primitive === "pad") value = (node as OperationNode<"pad">).params.value;
  // Every index is outside of a table without rows.
  else if (node.primitive === "gather" && isFloat(dtype)) value = Number.NaN;
  return { kind: "operation", primitive: "const", inputs: [], params: { value, shape, dtype }, shape, dtype };
}

/** A reduction over no axes: the operand itself, or position 0. */
function overNothing(node: OperationNode): GraphNode {
  const { shape, dtype } = node;
  return node.primitive === "argmax" || node.primitive === "argmin"
    ? { kind: "operation", primitive: "const", inputs: [], params: { value: 0, shape, dtype }, shape, dtype }
    : { kind: "operation", primitive: "reshape", inputs: node.inputs, params: { shape }, shape, dtype };
}

/** Places a scatter, in f32 where it sums halves: bins grow in memory, where each addition to a half would be rounded. */
function placeScatter(node: OperationNode<"scatterAdd">, making: Making, options: PrepareOptions): number {
  if (isHalf(node.dtype)) {
    const [x, index] = node.inputs as [number, number];
    const wide = placeScatter({ ...node, inputs: [cast(making, x, "f32"), index], dtype: "f32" }, making, options);
    return cast(making, wide, node.dtype);
  }
  return options.expandScatter ? maskedSum(node, making, options.minRows) : making.place(node);
}

/** y[s, r] = Σᵢ (index[i] = s ? x[i, r] : 0). */
function maskedSum(node: OperationNode<"scatterAdd">, making: Making, minRows: number): number {
  const { nodes, place } = making;
  const [x, index] = node.inputs as [number, number];
  const { shape: indexShape, dtype: indexType } = nodes[index] as GraphNode;
  const entries = sizeOf(indexShape);
  const columns = sizeOf(node.shape.slice(1));
  const full = [entries, node.params.size, columns];
  const view = (input: number, shape: readonly number[], dtype: GraphNode["dtype"]): number =>
    place({ kind: "operation", primitive: "reshape", inputs: [input], params: { shape }, shape, dtype });
  const spread = (input: number, dtype: GraphNode["dtype"]): number =>
    place({ kind: "operation", primitive: "expand", inputs: [input], params: { shape: full }, shape: full, dtype });
  const wanted = spread(view(index, [entries, 1, 1], indexType), indexType);
  const bins = place({
    kind: "operation",
    primitive: "iota",
    inputs: [],
    params: { shape: full, axis: 1, dtype: indexType },
    shape: full,
    dtype: indexType,
  });
  const hit = place({ kind: "operation", primitive: "eq", inputs: [wanted, bins], params: {}, shape: full, dtype: "bool" });
  const zero = place({
    kind: "operation",
    primitive: "const",
    inputs: [],
    params: { value: 0, shape: full, dtype: node.dtype },
    shape: full,
    dtype: node.dtype,
  });
  const values = spread(view(x, [entries, 1, columns], node.dtype), node.dtype);
  const masked = place({ kind: "operation", primitive: "where", inputs: [hit, values, zero], params: {}, shape: full, dtype: node.dtype });
  const sums = [node.params.size, columns];
  const sum = { kind: "operation", primitive: "sum", inputs: [masked], params: { axes: [0] }, shape: sums, dtype: node.dtype } as const;
  return view(placeReduction(sum, making, minRows), node.shape, node.dtype);
}

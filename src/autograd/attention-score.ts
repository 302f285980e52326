import { OptionError } from "../errors.js";
import { scoreInputs } from "../ir/attention.js";
import type { Graph, GraphNode, OperationNode } from "../ir/graph.js";
import { dynamicIndex, type IndexExpression, variable } from "../ir/index-expression.js";
import { operandAccesses } from "../ir/operand-accesses.js";
import { primitiveRecord } from "../ir/primitives.js";
import { type Shape, sizeOf } from "../ir/shape.js";
import { type AttentionScore, type AttentionTables, isSeen, pulledRaw, scored } from "./attention-definition.js";
import * as ops from "./operations.js";
import { evaluate } from "./region.js";
import { inputsOf, type Region, Tensor, tensorsMade } from "./tensor.js";
import { linearize } from "./trace.js";
import { whileTracing } from "./tracing.js";

/**
 * The score of one pair as a graph, for kernels that compute it where they need it. It is traced for one query, [B, H, 1, S]; what it
 * computes from other tensors alone becomes a tensor that it closes over.
 */
export interface TracedScore {
  /** As in `AttentionParams`. */
  readonly graph: Graph;
  readonly captured: readonly Tensor[];
}

/** Traces what becomes of a raw score. Throws OptionError for a function that is not elementwise. */
export function traceScore(
  [B, H, S]: readonly [number, number, number],
  dtype: Tensor["dtype"],
  score: AttentionScore | undefined,
  { bias, mask }: AttentionTables,
): TracedScore {
  const trace = {};
  const before = tensorsMade();
  const placeholder = (input: number, shape: readonly number[], type: Tensor["dtype"]): Tensor =>
    new Tensor(shape, type, { kind: "argument", trace, position: input });
  const raw = placeholder(scoreInputs.raw, [B, H, 1, S], dtype);
  const cotangent = placeholder(scoreInputs.cotangent, [B, H, 1, S], dtype);
  const batch = placeholder(scoreInputs.batch, [B, 1, 1, 1], "i32");
  const head = placeholder(scoreInputs.head, [1, H, 1, 1], "i32");
  const query = placeholder(scoreInputs.query, [1, 1, 1, 1], "i32");
  const key = placeholder(scoreInputs.key, [1, 1, 1, S], "i32");
  const row = ops.reshape(query, [1]);
  /** The row of a table that belongs to the query. */
  const rowOf = (table: Tensor | undefined): Tensor | undefined =>
    table === undefined || table.shape[2] === 1 ? table : ops.gather(table, row, 2);
  const traced = whileTracing(() => {
    const found = scored(raw, { batch, head, query, key }, score, rowOf(bias));
    const isShown = score === undefined && bias === undefined ? undefined : isSeen(found);
    const rowOfMask = rowOf(mask);
    const counts = isShown === undefined ? rowOfMask : rowOfMask === undefined ? isShown : ops.and(isShown, rowOfMask);
    const visible = ops.broadcastTo(counts as Tensor, raw.shape);
    return [found, visible, pulledRaw(raw, found, cotangent)];
  });
  const isOwn = dependsOn(trace);
  const graphOf = (outputs: readonly Tensor[]): TracedScore => {
    const captured: Tensor[] = [];
    const graph = linearize(outputs, (tensor) => {
      const { source, shape, dtype: type } = tensor;
      if (source.kind === "argument" && source.trace === trace) return { kind: "input", input: source.position, shape, dtype: type };
      const isCounted = source.kind === "operation" && source.inputs.length === 0;
      if (isCounted || isOwn(tensor)) return undefined;
      if (drawsForAll(tensor, before, B * H * S)) {
        throw new OptionError("attention: score draws a random number for each score that it is given, and it is not given all at once", {
          hint: "draw them before, for all pairs, and read them by the coordinates",
        });
      }
      return { kind: "input", input: scoreInputs.captures + captured.push(tensor) - 1, shape, dtype: type };
    });
    return { graph: { ...graph, inputCount: scoreInputs.captures + captured.length, scalarCount: 0 }, captured };
  };
  // Functions such as the sigmoid are calls; what is printed into a kernel are the primitives in them.
  const withCalls = graphOf(traced);
  const inputs = [raw, batch, head, query, key, cotangent, ...withCalls.captured];
  const { graph, captured } = graphOf(whileTracing(() => evaluate(withCalls.graph, inputs, { calls: "inlined" })));
  checkElementwise(graph);
  return { graph, captured };
}

/** Whether a tensor is computed from random numbers, one for each score, that operations made since tensor number `before` draw. */
function drawsForAll(tensor: Tensor, before: number, scores: number): boolean {
  const { id, source, shape } = tensor;
  if (id < before || source.kind !== "operation") return false;
  const draws = source.primitive === "randomBits" && sizeOf(shape) > 0 && sizeOf(shape) % scores === 0;
  return draws || source.inputs.some((input) => drawsForAll(input, before, scores));
}

/** Whether a tensor is computed from the placeholders of a trace. */
function dependsOn(trace: object): (tensor: Tensor) => boolean {
  const known = new Map<Tensor | Region, boolean>();
  return (tensor) => {
    const stack: (Tensor | Region)[] = [tensor];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const inputs = top instanceof Tensor ? inputsOf(top.source) : top.inputs;
      const waiting = known.has(top) ? [] : inputs.filter((input) => !known.has(input));
      if (waiting.length > 0) stack.push(...waiting);
      else {
        stack.pop();
        const isPlaceholder = top instanceof Tensor && top.source.kind === "argument" && top.source.trace === trace;
        if (!known.has(top)) known.set(top, isPlaceholder || inputs.some((input) => known.get(input)));
      }
    }
    return known.get(tensor) === true;
  };
}

/**
 * Refuses a score that depends on other pairs than its own: each output, at the coordinates of a pair, may read raw scores, cotangents and
 * coordinates at those alone. Tensors that the score closes over are read anywhere.
 */
function checkElementwise({ nodes, outputs }: Pick<Graph, "nodes" | "outputs">): void {
  const pair = (shape: Shape): IndexExpression[] => shape.map((extent, axis) => variable(`axis ${axis}`, extent));
  const known = new Set<string>();
  const check = (position: number, at: readonly IndexExpression[]): void => {
    const key = `${position} at ${at.map((index) => index.key).join()}`;
    if (known.has(key)) return;
    known.add(key);
    const node = nodes[position] as GraphNode;
    if (node.kind === "input") {
      const own = pair(node.shape);
      const isElsewhere = at.some((index, axis) => index.key !== own[axis]?.key);
      if (node.input < scoreInputs.captures && isElsewhere) throw notElementwise("it reads other pairs than its own");
      return;
    }
    if (node.kind !== "operation" || !isComputedByElement(node)) {
      throw notElementwise(`it uses ${node.kind === "operation" ? node.primitive : node.kind} on scores`);
    }
    const shapeOf = (operand: number): Shape => (nodes[node.inputs[operand] as number] as GraphNode).shape;
    const accesses = operandAccesses(node, at, shapeOf, (_, extent) => dynamicIndex(position, extent));
    for (const { operand, coordinates } of accesses) check(node.inputs[operand] as number, coordinates);
  };
  for (const output of outputs) check(output, pair((nodes[output] as GraphNode).shape));
}

/** Whether an element of a node is computed from single elements of its operands, whatever the shape of the node is. */
function isComputedByElement({ primitive }: OperationNode): boolean {
  if (primitive === "gather" || primitive === "const" || primitive === "iota") return true;
  const { tag } = primitiveRecord(primitive);
  return tag === "elementwise" || tag === "movement" || tag === "identity";
}

const notElementwise = (why: string): OptionError =>
  new OptionError(`attention: score is no elementwise function: ${why}`, {
    hint: "a score depends on nothing but itself, its coordinates and tensors that are read by them",
  });

import { OptionError } from "../errors.js";
import { scoreInputs } from "../ir/attention.js";
import type { Graph, GraphNode } from "../ir/graph.js";
import { primitiveRecord } from "../ir/primitives.js";
import { type AttentionScore, type AttentionTables, isFinitelyLow, pulledRaw, scored } from "./attention-definition.js";
import * as ops from "./operations.js";
import { inputsOf, type Region, Tensor } from "./tensor.js";
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
  const outputs = whileTracing(() => {
    const found = scored(raw, { batch, head, query, key }, score, rowOf(bias));
    const isShown = score === undefined && bias === undefined ? undefined : isFinitelyLow(found);
    const rowOfMask = rowOf(mask);
    const counts = isShown === undefined ? rowOfMask : rowOfMask === undefined ? isShown : ops.and(isShown, rowOfMask);
    const visible = ops.broadcastTo(counts as Tensor, raw.shape);
    return [found, visible, pulledRaw(raw, found, cotangent)];
  });
  const captured: Tensor[] = [];
  const isOwn = dependsOn(trace);
  const graph = linearize(outputs, (tensor) => {
    const { source, shape, dtype: type } = tensor;
    if (source.kind === "argument" && source.trace === trace) return { kind: "input", input: source.position, shape, dtype: type };
    const isCounted = source.kind === "operation" && source.inputs.length === 0;
    if (isCounted || isOwn(tensor)) return undefined;
    return { kind: "input", input: scoreInputs.captures + captured.push(tensor) - 1, shape, dtype: type };
  });
  for (const node of graph.nodes) checkElementwise(node);
  return { graph: { ...graph, inputCount: scoreInputs.captures + captured.length, scalarCount: 0 }, captured };
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

const elementwise = new Set(["elementwise", "movement", "index"]);
const notElementwise = new Set(["scatterAdd", "sort", "cumsum"]);

function checkElementwise(node: GraphNode): void {
  if (node.kind === "input") return;
  const name = node.kind === "operation" ? node.primitive : node.kind;
  if (node.kind === "operation" && elementwise.has(primitiveRecord(node.primitive).tag) && !notElementwise.has(name)) return;
  throw new OptionError(`attention: score is no elementwise function: it uses ${name} on scores`, {
    hint: "a score depends on nothing but itself, its coordinates and tensors that are read by them",
  });
}

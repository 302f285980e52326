import { type AttentionNode, attentionBackwardCall, isAttention } from "../ir/attention.js";
import type { CallNode, Graph, GraphNode } from "../ir/graph.js";
import { type IndexExpression, unflatten, variable } from "../ir/index-expression.js";
import { isRowUpdate } from "../ir/row-update.js";
import { sizeOf } from "../ir/shape.js";
import { outerLoop } from "./domain.js";
import type { AttentionLoops } from "./program.js";

/**
 * How the kernels of calls read what the calls are given: attention its queries, keys and values where they lie, through views, as
 * products do; rows that are written into a tensor are computed where they are written.
 */

/** Whether a call can be lowered at all: it is known here, and nothing that it reads is empty or wider than kernels compute. */
export const isLowered = (call: CallNode, operands: readonly GraphNode[]): boolean =>
  (isAttention(call) || isRowUpdate(call)) && operands.every(({ shape, dtype }) => sizeOf(shape) > 0 && dtype !== "f64");

/** How a kernel reads an operand. */
export type CallOperand =
  /** At coordinates of its loops, linear in those named. */
  | { readonly kind: "linear"; readonly coordinates: readonly IndexExpression[]; readonly loops: readonly string[] }
  /** One number, which it computes where it needs it. */
  | { readonly kind: "number" }
  /** Element by element at coordinates of its loops, computed there from what is materialized. */
  | { readonly kind: "elements"; readonly coordinates: readonly IndexExpression[] }
  /** Anywhere, row-major. */
  | { readonly kind: "whole" };

/** How the kernel of a call reads its operands, in order. */
export function operandsOfCall({ nodes }: Pick<Graph, "nodes">, call: CallNode): readonly CallOperand[] {
  if (isRowUpdate(call)) {
    const elements = (input: number): CallOperand => {
      const { shape } = nodes[input] as GraphNode;
      return { kind: "elements", coordinates: unflatten(variable(outerLoop, sizeOf(shape)), shape) };
    };
    const [x, rows] = call.inputs as [number, number];
    return [elements(x), elements(rows), { kind: "number" }];
  }
  if (!isAttention(call)) throw new Error(`the call ${call.name} has no kernel`);
  const { batch, head, keyHead, query, key, channel, valueChannel } = variablesOf(attentionLoops(nodes, call));
  const linear = (loops: readonly string[], ...coordinates: readonly IndexExpression[]): CallOperand => ({
    kind: "linear",
    coordinates,
    loops,
  });
  const operands: CallOperand[] = [
    linear(["query", "channel"], batch, head, query, channel),
    linear(["key", "channel"], batch, keyHead, key, channel),
    linear(["key", "valueChannel"], batch, keyHead, key, valueChannel),
    { kind: "number" },
    { kind: "number" },
  ];
  if (call.name === attentionBackwardCall) {
    const perQuery = linear(["query"], batch, head, query);
    operands.push(perQuery, linear(["query", "valueChannel"], batch, head, query, valueChannel), perQuery);
  }
  const isNumber = (input: number): boolean => (nodes[input] as GraphNode).shape.length === 0;
  return call.inputs.map((input, i) => operands[i] ?? { kind: isNumber(input) ? "number" : "whole" });
}

/** The loops of attention. */
export function attentionLoops(nodes: readonly GraphNode[], { inputs }: AttentionNode): AttentionLoops {
  const [q, k, v] = inputs.slice(0, 3).map((input) => (nodes[input] as GraphNode).shape) as [Shape4, Shape4, Shape4];
  const loop = (name: string, extent: number): { name: string; extent: number } => ({ name, extent });
  return {
    batch: loop("batch", q[0]),
    head: loop("head", q[1]),
    keyHead: loop("keyHead", k[1]),
    query: loop("query", q[2]),
    key: loop("key", k[2]),
    channel: loop("channel", q[3]),
    valueChannel: loop("valueChannel", v[3]),
  };
}

type Shape4 = readonly [number, number, number, number];
/** An index expression for each loop. */
export type Variables = { readonly [L in keyof AttentionLoops]: IndexExpression };

/** The index expressions of loops. */
export const variablesOf = (loops: AttentionLoops): Variables =>
  Object.fromEntries(Object.entries(loops).map(([name, loop]) => [name, variable(loop.name, loop.extent)])) as unknown as Variables;

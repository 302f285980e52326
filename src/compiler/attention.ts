import {
  type AttentionCallName,
  type AttentionNode,
  attentionBackwardCall,
  attentionInputs,
  scoreInputs,
  scoreOutputs,
} from "../ir/attention.js";
import type { Graph, GraphNode, ResultNode } from "../ir/graph.js";
import { flatten, type IndexExpression, literal } from "../ir/index-expression.js";
import type { Access, AccessMaps } from "./access.js";
import { attentionLoops, type Variables, variablesOf } from "./call-operands.js";
import type { AttentionBackwardKernel, AttentionKernel, Store, Value } from "./program.js";
import { type InnerInput, Scalars } from "./scalars.js";
import { simplify } from "./simplify.js";

/**
 * Attention calls as kernels. Operands are read where they lie, through views, as those of products are; the graph of the score becomes
 * the scalar computation of one pair.
 *
 *   call attention(q, k, v, offset, scale, slopes)         attention: q at batch, head, query, channel; …
 *     score: sub(raw, mul(take(slopes, head), key))    →     %3 = load slopes[head]    %5 = mul(%3, key)    %6 = sub(register 0, %5)
 */

/** The kernel of a call; its results that `isRead` are stored in buffers numbered like their nodes. */
export function attentionKernel(
  graph: Graph,
  accesses: AccessMaps,
  members: readonly number[],
  isRead: (node: number) => boolean,
): AttentionKernel | AttentionBackwardKernel {
  const { nodes } = graph;
  const [position, ...resultNodes] = members as [number, ...number[]];
  const call = nodes[position] as AttentionNode;
  const name: AttentionCallName = call.name;
  const loops = attentionLoops(nodes, call);
  const at = variablesOf(loops);
  const scalars = new Scalars(graph, accesses.materialized, new Set(members));
  const { operands } = accesses.ofCall(position);
  const read = (operand: number): Access => operands[operand] as Access;
  const load = (operand: number): Value & { readonly kind: "load" } => {
    const { node, index } = read(operand);
    return scalars.load(node, index, (nodes[node] as GraphNode).dtype);
  };
  const number = (operand: number): Value => scalars.at(call.inputs[operand] as number, []);
  const raw = scalars.register(position, "f32");
  const scoreCotangent = scalars.register(-1, "f32");
  const captures = call.inputs.flatMap((_, i): InnerInput[] => {
    if (i < attentionInputs[name]) return [];
    return [operands[i] === undefined ? number(i) : { buffer: read(i).node }];
  });
  const made = scoreValues(call.params.score, { scalars, at, raw, scoreCotangent, captures });
  const base = {
    label: name,
    loops,
    q: load(0),
    k: load(1),
    v: load(2),
    offset: number(3),
    scale: number(4),
    causal: call.params.causal,
    window: call.params.window,
    raw,
    score: made.score,
    visible: made.visible,
  };
  const stored = resultNodes.filter(isRead);
  const results = stored.map((node) => (nodes[node] as ResultNode).index);
  const stores = stored.map((node, i): Store => {
    const index = results[i] as number;
    const places =
      name === attentionBackwardCall
        ? [
            [at.batch, at.head, at.query, at.channel],
            [at.batch, at.keyHead, at.key, at.channel],
            [at.batch, at.keyHead, at.key, at.valueChannel],
          ]
        : [
            [at.batch, at.head, at.query, at.valueChannel],
            [at.batch, at.head, at.query],
          ];
    const value = scalars.register(node, "f32");
    return { buffer: node, index: flatten(places[index] as IndexExpression[], (nodes[node] as GraphNode).shape), value, inner: false };
  });
  if (name === attentionBackwardCall) {
    const own = { lse: load(5), cotangent: load(6), delta: load(7), scoreCotangent, pulled: made.pulled };
    return { kind: "attentionBackward", ...base, ...own, values: scalars.values, stores, results };
  }
  return { kind: "attention", ...base, values: scalars.values, stores, results };
}

interface ScoreSurroundings {
  readonly scalars: Scalars;
  readonly at: Variables;
  readonly raw: Value;
  readonly scoreCotangent: Value;
  readonly captures: readonly InnerInput[];
}

/** The score of one pair, whether it counts, and the cotangent of its raw score. */
function scoreValues(
  score: Graph | null,
  { scalars, at, raw, scoreCotangent, captures }: ScoreSurroundings,
): { readonly score: Value; readonly visible: Value | undefined; readonly pulled: Value } {
  if (score === null) return { score: raw, visible: undefined, pulled: scoreCotangent };
  const graph = simplify(score);
  const given: Value[] = [];
  given[scoreInputs.raw] = raw;
  for (const name of ["batch", "head", "query", "key"] as const) given[scoreInputs[name]] = scalars.index(at[name]);
  given[scoreInputs.cotangent] = scoreCotangent;
  const inputs: InnerInput[] = [...given, ...captures];
  const inside = scalars.within(graph, inputs);
  const coordinates = [at.batch, at.head, literal(0), at.key];
  const value = (output: keyof typeof scoreOutputs): Value => inside.at(graph.outputs[scoreOutputs[output]] as number, coordinates);
  const visible = value("visible");
  return { score: value("score"), visible: visible.kind === "const" && visible.value !== 0 ? undefined : visible, pulled: value("pulled") };
}

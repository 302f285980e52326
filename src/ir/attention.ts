import type { CallNode, Graph, GraphNode } from "./graph.js";

/**
 * The calls that attention is made of, as those who make them and those who know kernels for them agree on. What they mean is in their
 * bodies.
 *
 *   o, lse  = attention          (q, k, v, offset, scale, …captures)
 *   q̄, k̄, v̄ = attentionBackward  (q, k, v, offset, scale, lse, ō, delta, …captures)
 *
 *   q: [B, H, T, D]   k: [B, Hkv, S, D]   v: [B, Hkv, S, Dv]   o, ō: [B, H, T, Dv]   lse, delta: [B, H, T]   offset: i32 []   scale: f32 []
 */
export const attentionCall = "attention";
export const attentionBackwardCall = "attentionBackward";

/** How many inputs come before the captures. */
export const attentionInputs = { [attentionCall]: 5, [attentionBackwardCall]: 8 } as const;

export interface AttentionParams {
  /** Query i sees key j only where j ≤ i + offset. */
  readonly causal: boolean;
  /** Query i sees key j only where |i + offset − j| < window; 0 for no window. */
  readonly window: number;
  /**
   * What becomes of a raw score, elementwise, beyond `causal` and `window`; null where nothing does. Inputs: raw [B, H, 1, S]; batch
   * [B, 1, 1, 1], head [1, H, 1, 1], query [1, 1, 1, 1] and key [1, 1, 1, S], i32; the cotangent of the score [B, H, 1, S]; the
   * captures. Outputs: the score, whether the pair counts (bool), and the cotangent of the raw score, [B, H, 1, S] each.
   */
  readonly score: Graph | null;
}

export type AttentionCallName = keyof typeof attentionInputs;

/** A call of attention or of its backward pass. */
export type AttentionNode = CallNode & { readonly name: AttentionCallName; readonly params: AttentionParams };

export const isAttention = (node: GraphNode | undefined): node is AttentionNode => node?.kind === "call" && node.name in attentionInputs;

/** The inputs that a kernel reads: the operands, and the captures of the score. Those after them are the body's alone. */
export const inputsOfKernel = ({ name, inputs, params }: AttentionNode): readonly number[] =>
  inputs.slice(0, attentionInputs[name] + (params.score === null ? 0 : params.score.inputCount - scoreInputs.captures));

/** Inputs of the score's graph before the captures. */
export const scoreInputs = { raw: 0, batch: 1, head: 2, query: 3, key: 4, cotangent: 5, captures: 6 } as const;
/** Its outputs. */
export const scoreOutputs = { score: 0, visible: 1, pulled: 2 } as const;

/** lse of a query that sees no key; a score as low as this hides its key. */
export const hiddenScore = -1e30;

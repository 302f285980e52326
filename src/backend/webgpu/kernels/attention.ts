import type { CallNode } from "../../../ir/graph.js";
import type { Target } from "./source.js";

/** Whether there is a kernel for a call, so that it need not be inlined. */
export function hasAttentionKernel(_call: CallNode, _target: Target): boolean {
  return false;
}

import type { CallNode } from "../../../ir/graph.js";

/** Whether there is a kernel for a call, so that it need not be inlined. */
export function hasAttentionKernel(_call: CallNode): boolean {
  return false;
}

import type { CallNode, GraphNode } from "./graph.js";

/**
 * The call that writes rows into a tensor, as those who make it and those who know kernels for it agree on. What it means is in its body.
 *
 *   y = updateRows(x, rows, start)      y[…, s, d] = rows[…, s − start, d] where 0 ≤ s − start < T, else x[…, s, d]
 *
 *   x, y: […, S, D]   rows: […, T, D]   start: i32 []
 */
export const updateRowsCall = "updateRows";

export type RowUpdateNode = CallNode & { readonly name: typeof updateRowsCall };

export const isRowUpdate = (node: GraphNode | undefined): node is RowUpdateNode => node?.kind === "call" && node.name === updateRowsCall;

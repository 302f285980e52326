import type { RowKernel } from "../../../compiler/program.js";
import type { Context, KernelCode } from "./kernel.js";
import { acrossRows } from "./row-across.js";
import { alongRow } from "./row-along.js";
import { lanesAlongRow } from "./row-parts.js";

/** Reductions with what comes before and after them. Lanes run along the row, or four rows run side by side. */
export function rowKernel(kernel: RowKernel, context: Context): KernelCode {
  return lanesAlongRow(kernel) ? alongRow(kernel, context) : acrossRows(kernel, context);
}

import { isHalf } from "../../../ir/dtype.js";
import type { Half } from "../../../ir/halves.js";
import { type Code, type Expression, i32x4, lane, load, op } from "../assembler.js";
import { bfloatToFloat, halfToFloat } from "../math/halves.js";

/** How products read the elements of their operands: as floats, whatever dtype they have in memory. */

/** The dtypes of operands. */
export type Element = "f32" | Half;
export const elements: readonly Element[] = ["f32", "f16", "bf16"];

/** Numbers of `dtype`, in the lower halves of lanes where they are halves, as floats in a local of their own. */
function widened(code: Code, dtype: Half, lanes: Expression, use: (floats: Expression) => void): void {
  const local = code.local("v128", lanes);
  use((dtype === "f16" ? halfToFloat : bfloatToFloat)(code, local));
  code.release(local);
}

/** Four neighbours in memory as floats, for one use. */
export function readFour(code: Code, dtype: Element, address: Expression, offset: number, use: (floats: Expression) => void): void {
  if (isHalf(dtype)) widened(code, dtype, load("v128.load16x4_u", address, offset), use);
  else use(load("v128.load", address, offset));
}

/** One element as a float, the other lanes zero, for one use. */
export function readLast(code: Code, dtype: Element, address: Expression, offset: number, use: (floats: Expression) => void): void {
  if (isHalf(dtype)) widened(code, dtype, lane("i32x4.replace_lane", 0, i32x4(0), load("i32.load16_u", address, offset)), use);
  else use(load("v128.load32_zero", address, offset));
}

/** Copies one element to a float. */
export function copyOne(code: Code, dtype: Element, from: Expression, to: Expression): void {
  if (!isHalf(dtype)) code.store("i32.store", to, load("i32.load", from));
  else
    widened(code, dtype, op("i32x4.splat", load("i32.load16_u", from)), (floats) => {
      const local = code.local("v128", floats);
      code.storeLane("v128.store32_lane", 0, to, local.get);
      code.release(local);
    });
}

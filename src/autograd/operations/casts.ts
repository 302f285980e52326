import { checkArgument } from "../../arguments.js";
import { type DTypeName, fits, readDType } from "../../ir/dtype.js";
import { tensorKind } from "../kinds.js";
import { apply, type Tensor } from "../tensor.js";
import { ask, WeakScalar } from "../weak-scalar.js";

/** The same values in another dtype. */

/** The values in another dtype. */
export function cast(x: Tensor, dtype: DTypeName): Tensor {
  checkArgument("cast", "x", x, tensorKind);
  const to = readDType("cast", dtype);
  if (x instanceof WeakScalar && (to === "i32" || to === "u32") && ask(x, fitsIn[to])) return x.as(to);
  return x.dtype === to ? x : apply("cast", [x], { dtype: to });
}
/** The same 32 bits read as f32, i32 or u32. */
export function bitcast(x: Tensor, dtype: DTypeName): Tensor {
  checkArgument("bitcast", "x", x, tensorKind);
  const to = readDType("bitcast", dtype);
  return x.dtype === to ? x : apply("bitcast", [x], { dtype: to });
}

/** Whether an integer dtype has a number, as a question to ask of numbers in a trace. */
export const fitsIn = { i32: (value: number) => fits("i32", value), u32: (value: number) => fits("u32", value) } as const;

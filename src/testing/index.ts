/**
 * What this library is tested with, for operations, modules and backends of one's own: `import { checkLaws, tensors } from
 * "dawngrad/testing"`. Needs fast-check.
 */
import "../autograd/methods.js";

export { type CheckGradsOptions, checkGrads, type GradientMode } from "../autograd/check-grads.js";
export {
  axes,
  axisLists,
  broadcastPairs,
  dtypes,
  permutations,
  type ShapeOptions,
  shapes,
  tensors,
  type ValueOptions,
  values,
} from "./arbitraries.js";
export { type Cases, type CheckLawsOptions, checkLaws } from "./check-laws.js";
export { type Examination, type Law, LawError, type LawName, laws } from "./laws.js";

import type { IndexExpression } from "../../../ir/index-expression.js";
import { index } from "../wgsl.js";

/** Whether a place is always the first of a vector of four in memory. */
export const aligned = (x: IndexExpression): boolean => x.constant % 4 === 0 && x.terms.every(({ factor }) => factor % 4 === 0);

/** The vector of four that an aligned place begins. */
export const quarter = (x: IndexExpression): string =>
  index({ ...x, constant: x.constant / 4, terms: x.terms.map(({ factor, atom }) => ({ factor: factor / 4, atom })) });

import { isFloat } from "../../ir/dtype.js";
import { sizeOf } from "../../ir/shape.js";
import type { Data, Value } from "./values.js";

/** y[i…, r…] = x[index[i…], r…]; NaN (floats) or 0 (others) where the index is outside of x. */
export function gather(y: Data, x: Value, index: Value): void {
  const rows = x.shape[0] as number;
  const width = sizeOf(x.shape.slice(1));
  const missing = isFloat(x.dtype) ? Number.NaN : 0;
  index.data.forEach((row, i) => {
    const inside = row >= 0 && row < rows;
    for (let r = 0; r < width; r++) y[i * width + r] = inside ? (x.data[row * width + r] as number) : missing;
  });
}

/** y[s, r…] = Σ of x[i…, r…] over the i… with index[i…] = s, in row-major order of i…; other indices add nothing. */
export function scatterAdd(y: Data, x: Value, index: Value, size: number): void {
  const width = sizeOf(x.shape.slice(index.shape.length));
  index.data.forEach((row, i) => {
    if (row < 0 || row >= size) return;
    for (let r = 0; r < width; r++) y[row * width + r] = (y[row * width + r] as number) + (x.data[i * width + r] as number);
  });
}

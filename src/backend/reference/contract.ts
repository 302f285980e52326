import { sizeOf } from "../../ir/shape.js";
import type { Data, Value } from "./values.js";

/** c[…, m, n] = Σₖ a[…, m, k] · b[…, k, n], each sum in the order of k. */
export function dot(c: Data, a: Value, b: Value): void {
  const [m, k] = a.shape.slice(-2) as [number, number];
  const n = b.shape[b.shape.length - 1] as number;
  const batches = sizeOf(a.shape.slice(0, -2));
  for (let batch = 0; batch < batches; batch++) {
    multiply(
      (c as Float64Array).subarray(batch * m * n, (batch + 1) * m * n),
      (a.data as Float64Array).subarray(batch * m * k, (batch + 1) * m * k),
      (b.data as Float64Array).subarray(batch * k * n, (batch + 1) * k * n),
      { m, k, n },
    );
  }
}

/** One matrix product; rows of `b` and `c` are walked in memory order. `c` begins as zeros. */
function multiply(c: Float64Array, a: Float64Array, b: Float64Array, { m, k, n }: { m: number; k: number; n: number }): void {
  for (let i = 0; i < m; i++) {
    const row = i * n;
    for (let l = 0; l < k; l++) {
      const factor = a[i * k + l] as number;
      const other = l * n;
      for (let j = 0; j < n; j++) c[row + j] = (c[row + j] as number) + factor * (b[other + j] as number);
    }
  }
}

import type { HostTensor } from "./graphs.js";
import type { Tolerance } from "./tolerances.js";

/** What each element may differ by; NaN and infinities must agree whatever this says. */
export type Allowance = (expected: number, index: number) => number;

export const allow =
  ({ relative, absolute }: Tolerance): Allowance =>
  (expected) =>
    absolute + relative * Math.abs(expected);

/** A sentence about the first element of `found` that is out of tolerance, or undefined where all are within. */
export function difference(found: HostTensor, expected: HostTensor, allowance: Allowance): string | undefined {
  const type = (t: HostTensor): string => `${t.dtype}[${t.shape.join(", ")}] of ${t.data.length}`;
  if (type(found) !== type(expected)) return `found ${type(found)}, expected ${type(expected)}`;
  for (let i = 0; i < expected.data.length; i++) {
    const [x, y] = [found.data[i] as number, expected.data[i] as number];
    const allowed = allowance(y, i);
    const close = Number.isFinite(y) && Number.isFinite(x) ? Math.abs(x - y) <= allowed : Object.is(x, y);
    if (!close) return `element ${i} of ${type(expected)}: found ${x}, expected ${y}, allowed difference ${allowed}`;
  }
  return undefined;
}

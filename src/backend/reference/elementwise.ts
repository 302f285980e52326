import { type DType, isFloat } from "../../ir/dtype.js";
import type { Data, Value } from "./values.js";

/** y[i] = f(x[i]) */
export function map(y: Data, x: Value, f: (x: number) => number): void {
  for (let i = 0; i < y.length; i++) y[i] = f(x.data[i] as number);
}

/** y[i] = f(a[i], b[i]) */
export function zip(y: Data, a: Value, b: Value, f: (a: number, b: number) => number): void {
  for (let i = 0; i < y.length; i++) y[i] = f(a.data[i] as number, b.data[i] as number);
}

/** The power as in IEEE 754, where 1 has no other power than 1, and −1 to that of ±∞ is 1; `**` gives NaN there. */
export function power(a: number, b: number): number {
  return a === 1 || (a === -1 && Math.abs(b) === Number.POSITIVE_INFINITY) ? 1 : a ** b;
}

/** The remainder that has the sign of the divisor. `%` is exact, where a − b·⌊a/b⌋ would round twice. */
export function modulo(a: number, b: number): number {
  const remainder = a % b;
  return remainder !== 0 && remainder < 0 !== b < 0 ? remainder + b : remainder;
}

const integerRange: Partial<Record<DType, readonly [number, number]>> = { i32: [-(2 ** 31), 2 ** 31 - 1], u32: [0, 2 ** 32 - 1] };

/** What `cast` makes of one element. NaN becomes 0 as an integer and true as a bool. */
export function caster(from: DType, to: DType): (x: number) => number {
  if (to === "bool") return (x) => (x !== 0 ? 1 : 0);
  const range = integerRange[to];
  if (range === undefined || !isFloat(from)) return (x) => x;
  const [low, high] = range;
  return (x) => (Number.isNaN(x) ? 0 : Math.min(high, Math.max(low, Math.trunc(x))));
}

/** y = the 32 bits of x under another dtype; f32 is rounded to its 32 bits first, a NaN keeps no payload. */
export function reinterpret(y: Data, x: Value, dtype: DType): void {
  const bits = new ArrayBuffer(4);
  const views: Partial<Record<DType, Float32Array | Int32Array | Uint32Array>> = {
    f32: new Float32Array(bits),
    i32: new Int32Array(bits),
    u32: new Uint32Array(bits),
  };
  const source = views[x.dtype] as Float32Array;
  const target = views[dtype] as Float32Array;
  map(y, x, (value) => {
    source[0] = value;
    return target[0] as number;
  });
}

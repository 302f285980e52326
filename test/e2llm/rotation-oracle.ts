import { ropeTables } from "../../src/e2llm/tables.js";

/** Which two channels form pair j of D: (j, j + D/2) or (2j, 2j + 1). */
export type Layout = "split" | "adjacent";

/** cos and sin of one position, D/2 values each. */
export interface Rotation {
  readonly cos: ArrayLike<number>;
  readonly sin: ArrayLike<number>;
}

const plain = (value: number): number => value;

/** θ_j = theta^(−2j/D) with attention factor 1, written apart from the library. */
export function plainFrequencies(headDim: number, theta = 10_000): { invFreq: Float64Array; attentionFactor: number } {
  const invFreq = new Float64Array(headDim / 2);
  for (let j = 0; j < headDim / 2; j++) invFreq[j] = Math.exp((-2 * j * Math.log(theta)) / headDim);
  return { invFreq, attentionFactor: 1 };
}

/** The library's table of the single position numerator/denominator. */
export function rotationAt(
  numerator: number,
  denominator: number,
  frequencies: { invFreq: Float64Array; attentionFactor: number },
  dtype: "f32" | "f64" = "f32",
): Rotation {
  const positions = { numerators: Int32Array.of(numerator), denominators: Int32Array.of(denominator), rows: 1 };
  return dtype === "f32" ? ropeTables(positions, frequencies) : ropeTables(positions, frequencies, { dtype });
}

/** R(p) x, every product and sum rounded to f32, or in f64. */
export function rotate(
  x: ArrayLike<number>,
  { cos, sin }: Rotation,
  { layout = "split", dtype = "f32" }: { layout?: Layout; dtype?: "f32" | "f64" } = {},
): Float64Array {
  const round = dtype === "f32" ? Math.fround : plain;
  const half = x.length / 2;
  const rotated = new Float64Array(x.length);
  for (let j = 0; j < half; j++) {
    const [first, second] = pair(j, half, layout);
    const [a, b, c, s] = [x[first] ?? 0, x[second] ?? 0, cos[j] ?? Number.NaN, sin[j] ?? Number.NaN];
    rotated[first] = round(round(a * c) - round(b * s));
    rotated[second] = round(round(a * s) + round(b * c));
  }
  return rotated;
}

/** R(p)ᵀ = R(−p). */
export function inverse({ cos, sin }: Rotation): Rotation {
  return { cos, sin: Array.from(sin, (value) => -value) };
}

/** Channels of an adjacent-pair vector in split-half order. */
export function splitOrder(x: ArrayLike<number>): Float64Array {
  const half = x.length / 2;
  return Float64Array.from({ length: x.length }, (_, i) => x[i < half ? 2 * i : 2 * (i - half) + 1] ?? 0);
}

/** h_j = (q_pair)·conj(k_pair) as complex numbers, so that a(s) = Re Σ_j h_j e^{isθ_j}. */
export function products(q: ArrayLike<number>, k: ArrayLike<number>, layout: Layout = "split"): { re: number; im: number }[] {
  const half = q.length / 2;
  return Array.from({ length: half }, (_, j) => {
    const [first, second] = pair(j, half, layout);
    const [a, b, c, d] = [q[first] ?? 0, q[second] ?? 0, k[first] ?? 0, k[second] ?? 0];
    return { re: a * c + b * d, im: b * c - a * d };
  });
}

/** a(s) = Re Σ_j h_j e^{isθ_j} in f64. */
export function scoreAt(s: number, h: readonly { re: number; im: number }[], invFreq: Float64Array): number {
  return h.reduce((sum, { re, im }, j) => {
    const angle = s * (invFreq[j] ?? 0);
    return sum + re * Math.cos(angle) - im * Math.sin(angle);
  }, 0);
}

export function dot(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] ?? 0) * (y[i] ?? 0);
  return sum;
}

export function norm(x: ArrayLike<number>): number {
  return Math.sqrt(dot(x, x));
}

/** The pair of channels that turns by θ_j. */
export function pair(j: number, half: number, layout: Layout): [number, number] {
  return layout === "split" ? [j, j + half] : [2 * j, 2 * j + 1];
}

import { type Applied, CHUNK } from "./vectors.js";

/** The same memory read as single-precision numbers. */
export const asFloats = (bits: Int32Array<ArrayBuffer>): Float32Array<ArrayBuffer> =>
  new Float32Array(bits.buffer, bits.byteOffset, bits.length);

const scratch = new Float32Array(1);
const scratchBits = new Int32Array(scratch.buffer);

/** The bits of a single-precision number, signed. */
export function bitsOf(x: number): number {
  scratch[0] = x;
  return scratchBits[0] as number;
}

/** The number of 32 bits. */
export function floatOf(bits: number): number {
  scratchBits[0] = bits;
  return scratch[0] as number;
}

const wide = new Float64Array(1);
const wideBits = new Int32Array(wide.buffer);
const spacings = Float64Array.from({ length: 254 }, (_, i) => 2 ** (i - 149));

/** The distance of neighbouring single-precision numbers around |x|, as if they went on beyond the largest. */
function spacing(x: number): number {
  wide[0] = x;
  const exponent = (((wideBits[1] as number) >>> 20) & 0x7ff) - 1023;
  return spacings[Math.min(127, Math.max(-126, exponent)) + 126] as number;
}

/** ∞ counts as the number after the largest finite one. */
const bounded = (x: number): number => Math.min(2 ** 128, Math.max(-(2 ** 128), x));

/** |result − exact| in units of the last place of the exact value; ∞ if only one of them is NaN. */
export function ulps(result: number, exact: number): number {
  if (Number.isNaN(result) || Number.isNaN(exact)) return Number.isNaN(result) && Number.isNaN(exact) ? 0 : Infinity;
  return Math.abs(bounded(result) - bounded(exact)) / spacing(exact);
}

export interface Worst {
  error: number;
  at: number[];
}

/** The largest error over operands that `fill` writes; it gives the number of lanes, 0 at the end. */
export function worstError(f: Applied, exact: (...x: number[]) => number, fill: (chunk: number) => number): Worst {
  const worst: Worst = { error: 0, at: [] };
  const [a, b] = f.inputs.map(asFloats) as [Float32Array, Float32Array | undefined];
  const output = asFloats(f.output);
  for (let chunk = 0; ; chunk++) {
    const count = fill(chunk);
    if (count === 0) return worst;
    f.run(count);
    for (let i = 0; i < count; i++) {
      const x = a[i] as number;
      const y = b ? (b[i] as number) : 0;
      const error = ulps(output[i] as number, exact(x, y));
      if (error > worst.error) {
        worst.error = error;
        worst.at = b ? [x, y] : [x];
      }
    }
  }
}

/** Writes the bit patterns from, from + step, … below `to` as the operand, a chunk at a time. */
export const everyBits =
  (f: Applied, from: number, to: number, step: number) =>
  (chunk: number): number => {
    const first = from + chunk * CHUNK * step;
    const count = Math.max(0, Math.min(CHUNK, Math.ceil((to - first) / step)));
    const target = f.inputs[0] as Int32Array;
    for (let i = 0; i < count; i++) target[i] = first + i * step;
    return count;
  };

/** The results for single numbers. */
export function valuesAt(f: Applied, ...operands: readonly (readonly number[])[]): number[] {
  operands.forEach((values, i) => asFloats(f.inputs[i] as Int32Array<ArrayBuffer>).set(values));
  const count = (operands[0] as readonly number[]).length;
  f.run(count);
  return [...asFloats(f.output).subarray(0, count)];
}

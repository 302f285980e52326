/**
 * Floats of 16 bits on the host: the one definition of how they lie in memory, shared by files, uploads and roundings.
 *
 *   f16   sign 1, exponent 5 (bias 15), fraction 10: IEEE 754 binary16
 *   bf16  sign 1, exponent 8 (bias 127), fraction 7: the upper half of a binary32
 *
 * Loops fill arrays here: `from` with a callback takes 34 times as long as a loop on hundreds of millions of numbers.
 */

/** The dtypes that store a float in 16 bits. */
export type Half = "f16" | "bf16";

/** The bits of the numbers of `dtype` next to `values`, ties to even. NaN stays NaN. */
export function toHalves(dtype: Half, values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const singles = new Float32Array(values);
  const bits = new Uint32Array(singles.buffer);
  const halves = new Uint16Array(values.length);
  if (dtype === "f16") for (let i = 0; i < halves.length; i++) halves[i] = halfOf(bits[i] as number, singles[i] as number);
  else for (let i = 0; i < halves.length; i++) halves[i] = bfloatOf(bits[i] as number);
  return halves;
}

/** The numbers that halves of `dtype` are, exactly. Payloads of NaN are kept. */
export function fromHalves(dtype: Half, halves: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(halves.length);
  const bits = new Uint32Array(values.buffer);
  if (dtype === "f16") for (let i = 0; i < halves.length; i++) readHalf(halves[i] as number, values, bits, i);
  else for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] as number) << 16;
  return values;
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** The number of `dtype` next to x, ties to even. */
export function toNearestHalf(dtype: Half, x: number): number {
  single[0] = x;
  if (dtype === "f16") readHalf(halfOf(singleBits[0] as number, single[0]), single, singleBits, 0);
  else singleBits[0] = bfloatOf(singleBits[0] as number) << 16;
  return single[0];
}

/** The half nearest to x, whose bits as a single are given. */
function halfOf(bits: number, x: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below the smallest normal half: count units of 2⁻²⁴.
    const units = Math.abs(x) * 2 ** 24;
    const floor = Math.floor(units);
    const rest = units - floor;
    return sign | (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0));
  }
  const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1);
  return sign | (rounded >>> 13);
}

/** Writes the number of a half to place i of `values`, whose words are `bits`. */
function readHalf(half: number, values: Float32Array, bits: Uint32Array, i: number): void {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) {
    values[i] = fraction * 2 ** -24; // subnormal halves are normal singles
    bits[i] = (bits[i] as number) | sign;
  } else bits[i] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
}

/** The bfloat16 nearest to a single of these bits. The bit that makes a NaN quiet keeps it from becoming ∞. */
const bfloatOf = (bits: number): number =>
  (bits & 0x7fffffff) > 0x7f800000 ? (bits >>> 16) | 0x40 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;

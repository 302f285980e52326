import { type DType, type HostArray, hostArray } from "../ir/dtype.js";

// Loops fill arrays here: `from` with a callback takes 34 times as long as a loop on hundreds of millions of numbers.

/** The bits of half precision numbers, rounded to nearest even. */
function toHalf(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const singles = new Float32Array(values);
  const bits = new Uint32Array(singles.buffer);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < halves.length; i++) halves[i] = halfOf(bits[i] as number, singles[i] as number);
  return halves;
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

function fromHalf(bits: Uint16Array): Float32Array {
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i] as number;
    const sign = x & 0x8000 ? -1 : 1;
    const exponent = (x >>> 10) & 31;
    const fraction = x & 1023;
    if (exponent === 31) values[i] = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    else values[i] = sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
  }
  return values;
}

/** The bits of bfloat16 numbers, rounded to nearest even: the upper halves of those of f32. */
function toBfloat(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(new Float32Array(values).buffer);
  const halves = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i] as number;
    // The bit that makes a NaN quiet keeps it from becoming ∞.
    halves[i] = (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return halves;
}

function fromBfloat(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = (bits[i] as number) << 16;
  return new Float32Array(words.buffer);
}

function wordsOf(data: ArrayLike<number>): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(data.length);
  for (let i = 0; i < words.length; i++) words[i] = data[i] ? 1 : 0;
  return words;
}

/** Host numbers as they lie on the device: bools as words, halves as 16 bits. */
export function encode(dtype: DType, data: HostArray): ArrayBufferView<ArrayBuffer> {
  switch (dtype) {
    case "f16":
      return toHalf(data);
    case "bf16":
      return toBfloat(data);
    case "bool":
      return wordsOf(data);
    case "i32":
      return data instanceof Int32Array ? (data as Int32Array<ArrayBuffer>) : new Int32Array(data);
    case "u32":
      return data instanceof Uint32Array ? (data as Uint32Array<ArrayBuffer>) : new Uint32Array(data);
    default:
      return data instanceof Float32Array ? (data as Float32Array<ArrayBuffer>) : new Float32Array(data);
  }
}

/** Device bytes as host numbers. */
export function decode(dtype: DType, bytes: ArrayBuffer, length: number): HostArray {
  switch (dtype) {
    case "f16":
      return fromHalf(new Uint16Array(bytes, 0, length));
    case "bf16":
      return fromBfloat(new Uint16Array(bytes, 0, length));
    case "bool": {
      const values = hostArray("bool", length);
      const words = new Uint32Array(bytes, 0, length);
      for (let i = 0; i < length; i++) values[i] = words[i] === 0 ? 0 : 1;
      return values;
    }
    case "i32":
      return new Int32Array(bytes, 0, length);
    case "u32":
      return new Uint32Array(bytes, 0, length);
    default:
      return new Float32Array(bytes, 0, length);
  }
}

/** Scalars as the words of a uniform buffer. */
export function encodeScalars(values: readonly number[], dtypes: readonly DType[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(values.length / 4) * 4);
  const floats = new Float32Array(words.buffer);
  values.forEach((value, i) => {
    const dtype = dtypes[i];
    if (dtype === "i32" || dtype === "u32") words[i] = value;
    else if (dtype === "bool") words[i] = value ? 1 : 0;
    else floats[i] = value;
  });
  return words;
}

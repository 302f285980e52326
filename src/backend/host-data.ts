import { UsageError } from "../errors.js";
import { type DeviceData, type DType, type HostArray, hostArray, isHalf } from "../ir/dtype.js";
import { fromHalves, toHalves } from "../ir/halves.js";
import type { DeviceBuffer } from "./backend.js";

function wordsOf(data: ArrayLike<number>): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(data.length);
  for (let i = 0; i < words.length; i++) words[i] = data[i] ? 1 : 0;
  return words;
}

type Encoded = (Float32Array | Int32Array | Uint32Array | Uint16Array) & ArrayBufferView<ArrayBuffer>;

/** Host numbers as they lie on the device: bools as words, halves as 16 bits. */
export function encode(dtype: DType, data: DeviceData): Encoded {
  if (data instanceof Uint16Array) {
    if (isHalf(dtype)) return data as Uint16Array<ArrayBuffer>;
    throw new UsageError(`bits of halves were written to a buffer of ${dtype}`);
  }
  switch (dtype) {
    case "f16":
    case "bf16":
      return toHalves(dtype, data);
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

/** The byte at which a part begins that is written to a buffer of `bytes` bytes. Throws UsageError where it does not fit, or cuts a word in two. */
export function partOffset(buffer: DeviceBuffer, part: Encoded, begin: number): number {
  const offset = begin * part.BYTES_PER_ELEMENT;
  const end = offset + part.byteLength;
  const words = offset % 4 === 0 && (end % 4 === 0 || end + 2 >= buffer.bytes);
  if (Number.isSafeInteger(begin) && begin >= 0 && end <= buffer.bytes && words) return offset;
  throw new UsageError(`${part.byteLength} bytes from byte ${offset} on are no part of buffer ${buffer.id}, which holds ${buffer.bytes}`, {
    hint: "a part lies within the buffer, begins at a whole word of 4 bytes and ends at one unless it ends the buffer",
  });
}

/** Device bytes as host numbers. */
export function decode(dtype: DType, bytes: ArrayBuffer, length: number): HostArray {
  switch (dtype) {
    case "f16":
    case "bf16":
      return fromHalves(dtype, new Uint16Array(bytes, 0, length));
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

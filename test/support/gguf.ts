/** GGUF files byte by byte, as the format's description has them and without the library's writer. */

type Integer = number | bigint;

/** A value with its type: `u32(3)`, `string("llama")`, `array("string", […])`. */
export interface Encoded {
  readonly type: number;
  readonly bytes: Uint8Array;
}

const TYPES = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"] as const;
export type TypeName = (typeof TYPES)[number];

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const fixed = (bytes: number, set: (view: DataView) => void): Uint8Array => {
  const view = new DataView(new ArrayBuffer(bytes));
  set(view);
  return new Uint8Array(view.buffer);
};
export const bytesOfU32 = (value: number): Uint8Array => fixed(4, (view) => view.setUint32(0, value, true));
export const bytesOfU64 = (value: Integer): Uint8Array => fixed(8, (view) => view.setBigUint64(0, BigInt(value), true));
export const bytesOfString = (text: string | Uint8Array): Uint8Array => {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  return join(bytesOfU64(bytes.length), bytes);
};

export function bytesOf(type: TypeName, value: unknown): Uint8Array {
  const number = value as number;
  switch (type) {
    case "u8":
    case "i8":
      return Uint8Array.of(number);
    case "u16":
    case "i16":
      return fixed(2, (view) => view.setInt16(0, number, true));
    case "u32":
    case "i32":
      return bytesOfU32(number);
    case "f32":
      return fixed(4, (view) => view.setFloat32(0, number, true));
    case "bool":
      return Uint8Array.of(Number(value));
    case "string":
      return bytesOfString(value as string);
    case "u64":
    case "i64":
      return bytesOfU64(value as Integer);
    case "f64":
      return fixed(8, (view) => view.setFloat64(0, number, true));
    case "array": {
      const { items, values } = value as { items: TypeName; values: readonly unknown[] };
      return join(bytesOfU32(TYPES.indexOf(items)), bytesOfU64(values.length), ...values.map((item) => bytesOf(items, item)));
    }
  }
}

export interface RawTensor {
  readonly name: string;
  /** As the file has them: the fastest first. */
  readonly extents: readonly Integer[];
  readonly type: number;
  readonly data: Uint8Array;
  /** Default: where the tensor before it ends, padded. */
  readonly offset?: Integer;
}

export type RawKey = readonly [name: string, type: TypeName | number, value: unknown];

export interface RawGguf {
  readonly version?: number;
  readonly keys?: readonly RawKey[];
  readonly tensors?: readonly RawTensor[];
  readonly alignment?: number;
  readonly tensorCount?: Integer;
  readonly keyCount?: Integer;
}

/** A file of these keys and tensors; counts and offsets may be set to what they are not. */
export function rawGguf({ version = 3, keys = [], tensors = [], alignment = 32, tensorCount, keyCount }: RawGguf): Uint8Array {
  const padded = (count: number): number => Math.ceil(count / alignment) * alignment;
  const header: Uint8Array[] = [new TextEncoder().encode("GGUF"), bytesOfU32(version)];
  header.push(bytesOfU64(tensorCount ?? tensors.length), bytesOfU64(keyCount ?? keys.length));
  for (const [name, type, value] of keys) {
    const number = typeof type === "number" ? type : TYPES.indexOf(type);
    header.push(bytesOfString(name), bytesOfU32(number), value instanceof Uint8Array ? value : bytesOf(type as TypeName, value));
  }
  let end = 0;
  for (const { name, extents, type, data, offset = end } of tensors) {
    header.push(bytesOfString(name), bytesOfU32(extents.length), ...extents.map(bytesOfU64), bytesOfU32(type), bytesOfU64(offset));
    end = padded(end + data.length);
  }
  const bytes = join(...header);
  const data = tensors.map((tensor) => join(tensor.data, new Uint8Array(padded(tensor.data.length) - tensor.data.length)));
  const padding = tensors.length === 0 ? 0 : padded(bytes.length) - bytes.length;
  return join(bytes, new Uint8Array(padding), ...data);
}

export const array = (items: TypeName, values: readonly unknown[]): { items: TypeName; values: readonly unknown[] } => ({ items, values });
export const f32Data = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

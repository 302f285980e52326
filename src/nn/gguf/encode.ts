/** The header of a GGUF file as bytes. */
import type { ElementType } from "./element-types.js";
import { type GgufKeys, type GgufScalar, type GgufScalarType, VALUE_TYPES } from "./values.js";

export const ALIGNMENT = 32;
const VERSION = 3;

/** Where the next tensor may begin. */
export const aligned = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

export interface TensorEntry {
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  readonly type: ElementType;
  /** From the beginning of the data. */
  readonly offset: number;
}

/** All bytes in front of the data of the tensors. */
export function encodeHeader(keys: GgufKeys, tensors: readonly TensorEntry[]): Uint8Array {
  const out = new Bytes();
  out.raw(new TextEncoder().encode("GGUF"));
  out.scalar("u32", VERSION);
  out.scalar("u64", tensors.length);
  out.scalar("u64", keys.size);
  for (const [name, { type, value }] of keys) {
    out.scalar("string", name);
    out.scalar("u32", numberOf(type));
    if (type !== "array") out.scalar(type, value);
    else {
      out.scalar("u32", numberOf(value.items));
      out.scalar("u64", value.length);
      for (const item of value.values()) out.scalar(value.items, item);
    }
  }
  for (const { name, shape, type, offset } of tensors) {
    out.scalar("string", name);
    out.scalar("u32", shape.length);
    for (const extent of [...shape].reverse()) out.scalar("u64", extent);
    out.scalar("u32", type.number);
    out.scalar("u64", offset);
  }
  out.raw(new Uint8Array(aligned(out.length) - out.length));
  return out.finish();
}

const numberOf = (type: (typeof VALUE_TYPES)[number][0]): number => VALUE_TYPES.findIndex(([name]) => name === type);

/** Bytes that grow. */
class Bytes {
  length = 0;
  private bytes = new Uint8Array(2 ** 16);
  private view = new DataView(this.bytes.buffer);
  private readonly utf8 = new TextEncoder();

  raw(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  scalar(type: GgufScalarType, value: GgufScalar): void {
    this.room(8);
    const { view, length: at } = this;
    const number = Number(value);
    switch (type) {
      case "u8":
      case "i8":
      case "bool":
        view.setUint8(at, number);
        this.length += 1;
        break;
      case "u16":
      case "i16":
        view.setUint16(at, number, true);
        this.length += 2;
        break;
      case "u32":
      case "i32":
        view.setUint32(at, number, true);
        this.length += 4;
        break;
      case "f32":
        view.setFloat32(at, number, true);
        this.length += 4;
        break;
      case "f64":
        view.setFloat64(at, number, true);
        this.length += 8;
        break;
      case "u64":
      case "i64":
        view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
        this.length += 8;
        break;
      case "string":
        this.text(String(value));
    }
  }

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  private text(text: string): void {
    // A unit of UTF-16 takes three bytes at most.
    this.room(8 + 3 * text.length);
    const { written } = this.utf8.encodeInto(text, this.bytes.subarray(this.length + 8));
    this.view.setBigUint64(this.length, BigInt(written), true);
    this.length += 8 + written;
  }

  private room(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(2 * this.bytes.length, this.length + count));
    grown.set(this.bytes);
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }
}

import type { DType } from "./dtype.js";

/** Bytes that an element takes in the memory of a device. */
export const elementBytes: Readonly<Record<DType, number>> = { f64: 8, f32: 4, f16: 2, bf16: 2, i32: 4, u32: 4, bool: 4 };

const units = ["B", "kB", "MB", "GB", "TB"] as const;

/** Bytes to three digits: "2.10 MB". */
export function bytesInWords(bytes: number): string {
  const power = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${power === 0 ? value : value.toPrecision(3)} ${units[power]}`;
}

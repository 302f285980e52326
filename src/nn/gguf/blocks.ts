/**
 * Blocks of quantised elements as numbers (the layouts are ggml's, `ggml-common.h`). d and m are scales and offsets of a block, in f16; q are
 * integers of some bits. Every product is exact in f32 but that of Q6_K, so the numbers are those of ggml bit by bit.
 *
 * Loops over plain bytes: this runs once for every weight of a model.
 */
import { fromHalves, toHalves } from "../../ir/halves.js";

/** Numbers of whole blocks: `out` has as many elements as the blocks of `bytes`. */
export type Dequantize = (bytes: Uint8Array, out: Float32Array) => void;

let halves: Float32Array | undefined;
/** Every half by its bits: a look-up is faster than taking bits apart. */
const halfTable = (): Float32Array => {
  halves ??= fromHalves(
    "f16",
    Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits),
  );
  return halves;
};

/** Calls `block` with the number of every block's first element and its first byte. */
const blocksOf =
  (
    elements: number,
    size: number,
    block: (bytes: Uint8Array, at: number, out: Float32Array, to: number, half: Float32Array) => void,
  ): Dequantize =>
  (bytes, out) => {
    const half = halfTable();
    for (let to = 0, at = 0; to < out.length; to += elements, at += size) block(bytes, at, out, to, half);
  };

const u16 = (bytes: Uint8Array, at: number): number => (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
const u32 = (bytes: Uint8Array, at: number): number => u16(bytes, at) | (u16(bytes, at + 2) << 16);
const f16 = (half: Float32Array, bytes: Uint8Array, at: number): number => half[u16(bytes, at)] as number;
const i8 = (bytes: Uint8Array, at: number): number => ((bytes[at] as number) << 24) >> 24;

/** d · 16 bytes of two nibbles: elements 0–15 are the low ones, 16–31 the high ones. d·(q − 8) */
const q4_0 = blocksOf(32, 18, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at);
  for (let i = 0; i < 16; i++) {
    const q = bytes[at + 2 + i] as number;
    out[to + i] = d * ((q & 15) - 8);
    out[to + 16 + i] = d * ((q >> 4) - 8);
  }
});

/** d · m · nibbles. d·q + m */
const q4_1 = blocksOf(32, 20, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at);
  const m = f16(half, bytes, at + 2);
  for (let i = 0; i < 16; i++) {
    const q = bytes[at + 4 + i] as number;
    out[to + i] = d * (q & 15) + m;
    out[to + 16 + i] = d * (q >> 4) + m;
  }
});

/** d · the fifth bits as a u32 · nibbles. d·(q − 16) */
const q5_0 = blocksOf(32, 22, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at);
  const fifth = u32(bytes, at + 2);
  for (let i = 0; i < 16; i++) {
    const q = bytes[at + 6 + i] as number;
    out[to + i] = d * (((q & 15) | (((fifth >>> i) & 1) << 4)) - 16);
    out[to + 16 + i] = d * (((q >> 4) | (((fifth >>> (i + 16)) & 1) << 4)) - 16);
  }
});

/** d · m · fifth bits · nibbles. d·q + m */
const q5_1 = blocksOf(32, 24, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at);
  const m = f16(half, bytes, at + 2);
  const fifth = u32(bytes, at + 4);
  for (let i = 0; i < 16; i++) {
    const q = bytes[at + 8 + i] as number;
    out[to + i] = d * ((q & 15) | (((fifth >>> i) & 1) << 4)) + m;
    out[to + 16 + i] = d * ((q >> 4) | (((fifth >>> (i + 16)) & 1) << 4)) + m;
  }
});

/** d · 32 signed bytes. d·q */
const q8_0 = blocksOf(32, 34, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * i8(bytes, at + 2 + i);
});

/** 16 bytes of a scale and an offset in 4 bits each · 64 bytes of 2 bits · d · dmin. d·s·q − dmin·m, 16 elements for each s and m */
const q2_k = blocksOf(256, 84, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at + 80);
  const dmin = f16(half, bytes, at + 82);
  for (let part = 0; part < 16; part++) {
    const scale = bytes[at + part] as number;
    const s = d * (scale & 15);
    const m = dmin * (scale >> 4);
    const [from, shift] = quarters(part);
    for (let i = 0; i < 16; i++) out[to + 16 * part + i] = s * (((bytes[at + 16 + from + i] as number) >> shift) & 3) - m;
  }
});

/** Where the 2 bits of 16 elements lie: 32 bytes hold 128 elements, 32 by each pair of bits. */
const quarters = (part: number): readonly [from: number, shift: number] => [(part >> 3) * 32 + (part & 1) * 16, part & 6];

/** 32 bytes of third bits · 64 bytes of 2 bits · 12 bytes of sixteen 6-bit scales · d. d·(s − 32)·(q − 4) */
const q3_k = blocksOf(256, 110, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at + 108);
  for (let part = 0; part < 16; part++) {
    // Low four bits of scales 0–7 and 8–15 are the nibbles of bytes 0–7; their upper two lie in bytes 8–11, for every fourth scale.
    const low = ((bytes[at + 96 + (part & 7)] as number) >> (part < 8 ? 0 : 4)) & 15;
    const high = ((bytes[at + 104 + (part & 3)] as number) >> (2 * (part >> 2))) & 3;
    const s = d * ((low | (high << 4)) - 32);
    const [from, shift] = quarters(part);
    for (let i = 0; i < 16; i++) {
      const third = ((bytes[at + (part & 1) * 16 + i] as number) >> (part >> 1)) & 1;
      out[to + 16 * part + i] = s * ((((bytes[at + 32 + from + i] as number) >> shift) & 3) + 4 * third - 4);
    }
  }
});

/** The 6-bit scale and offset of sub-block j from twelve bytes: the lower four of each are whole bytes, whose upper two bits the others share. */
const scaleOf = (bytes: Uint8Array, at: number, j: number): number =>
  j < 4 ? (bytes[at + j] as number) & 63 : ((bytes[at + j + 4] as number) & 15) | (((bytes[at + j - 4] as number) >> 6) << 4);
const offsetOf = (bytes: Uint8Array, at: number, j: number): number =>
  j < 4 ? (bytes[at + j + 4] as number) & 63 : ((bytes[at + j + 4] as number) >> 4) | (((bytes[at + j] as number) >> 6) << 4);

/** d · dmin · 12 bytes of scales · 128 bytes of nibbles: of every 32, the low ones are one sub-block and the high ones the next. d·s·q − dmin·m */
const q4_k = blocksOf(256, 144, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at);
  const dmin = f16(half, bytes, at + 2);
  for (let j = 0; j < 8; j++) {
    const s = d * scaleOf(bytes, at + 4, j);
    const m = dmin * offsetOf(bytes, at + 4, j);
    const from = at + 16 + (j >> 1) * 32;
    const shift = (j & 1) * 4;
    for (let i = 0; i < 32; i++) out[to + 32 * j + i] = s * (((bytes[from + i] as number) >> shift) & 15) - m;
  }
});

/** As Q4_K, with 32 bytes before the nibbles: bit j of byte i is the fifth bit of element i of sub-block j. */
const q5_k = blocksOf(256, 176, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at);
  const dmin = f16(half, bytes, at + 2);
  for (let j = 0; j < 8; j++) {
    const s = d * scaleOf(bytes, at + 4, j);
    const m = dmin * offsetOf(bytes, at + 4, j);
    const from = at + 48 + (j >> 1) * 32;
    const shift = (j & 1) * 4;
    for (let i = 0; i < 32; i++) {
      const fifth = ((bytes[at + 16 + i] as number) >> j) & 1;
      out[to + 32 * j + i] = s * ((((bytes[from + i] as number) >> shift) & 15) + 16 * fifth) - m;
    }
  }
});

/** 128 bytes of low nibbles · 64 bytes of upper two bits · sixteen signed scales · d. d·s·(q − 32), by halves of 128 elements in four parts of 32 */
const q6_k = blocksOf(256, 210, (bytes, at, out, to, half) => {
  const d = f16(half, bytes, at + 208);
  for (let part = 0; part < 8; part++) {
    const [side, quarter] = [part >> 2, part & 3];
    const low = at + 64 * side + (quarter & 1) * 32;
    const high = at + 128 + 32 * side;
    const scales = at + 192 + 2 * part;
    const nibble = (quarter >> 1) * 4;
    for (let i = 0; i < 32; i++) {
      const q = (((bytes[low + i] as number) >> nibble) & 15) | ((((bytes[high + i] as number) >> (2 * quarter)) & 3) << 4);
      out[to + 32 * part + i] = d * i8(bytes, scales + (i >> 4)) * (q - 32);
    }
  }
});

/** By ggml's names. */
export const dequantizers: Readonly<Record<string, Dequantize>> = {
  Q4_0: q4_0,
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q8_0: q8_0,
  Q2_K: q2_k,
  Q3_K: q3_k,
  Q4_K: q4_k,
  Q5_K: q5_k,
  Q6_K: q6_k,
};

/**
 * Q8_0 blocks of numbers: d = max |x| / 127, rounded to f16, and q = x / d, rounded to nearest, with the d before its rounding, as ggml's reference
 * does. `values.length` is a multiple of 32.
 */
export function quantizeQ8(values: Float32Array): Uint8Array {
  const blocks = values.length / 32;
  const bytes = new Uint8Array(blocks * 34);
  const scales = new Float32Array(blocks);
  for (let block = 0; block < blocks; block++) {
    let most = 0;
    for (let i = 32 * block; i < 32 * block + 32; i++) most = Math.max(most, Math.abs(values[i] as number));
    scales[block] = most / 127;
    const inverse = most === 0 ? 0 : Math.fround(1 / (scales[block] as number));
    // ggml rounds halves away from zero.
    for (let i = 0; i < 32; i++) {
      const x = Math.fround((values[32 * block + i] as number) * inverse);
      bytes[34 * block + 2 + i] = Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
    }
  }
  const halfScales = toHalves("f16", scales);
  for (let block = 0; block < blocks; block++) {
    const d = halfScales[block] as number;
    bytes[34 * block] = d & 255;
    bytes[34 * block + 1] = d >> 8;
  }
  return bytes;
}

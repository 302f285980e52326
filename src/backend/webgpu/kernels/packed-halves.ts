import type { Half } from "../../../ir/halves.js";

/**
 * Halves where the language has no type for them: two of them lie in a word, the first in its lower 16 bits. They are read as f32, exactly, and
 * written rounded to nearest, ties to even; both by bits, since a compiler may assume that there are no NaN and no infinities.
 */
export interface Accessor {
  readonly name: string;
  readonly text: string;
  /** The conversion that it calls. */
  readonly needs: Conversion;
}

type Conversion = "f32_of_bf16" | "f32_of_f16" | "bits_of_bf16" | "bits_of_f16";

export const halfConversions: Readonly<Record<Conversion, string>> = {
  f32_of_bf16: "fn f32_of_bf16(half: u32) -> f32 { return bitcast<f32>(half << 16u); }",
  f32_of_f16: `fn f32_of_f16(half: u32) -> f32 {
  let sign = (half & 0x8000u) << 16u;
  let exponent = (half >> 10u) & 0x1fu;
  let fraction = half & 0x3ffu;
  let normal = (select(exponent + 112u, 255u, exponent == 31u) << 23u) | (fraction << 13u);
  let subnormal = bitcast<u32>(f32(fraction) * 5.9604644775390625e-8);
  return bitcast<f32>(sign | select(normal, subnormal, exponent == 0u));
}`,
  bits_of_bf16: `fn bits_of_bf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select((bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u, (bits >> 16u) | 0x40u, (bits & 0x7fffffffu) > 0x7f800000u);
}`,
  bits_of_f16: `fn bits_of_f16(x: f32) -> u32 {
  let size = bitcast<u32>(x) & 0x7fffffffu;
  let normal = (size - 0x38000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u;
  let subnormal = u32(round(bitcast<f32>(min(size, 0x38800000u)) * 16777216.0));
  let finite = select(normal, subnormal, size < 0x38800000u);
  let beyond = select(0x7c00u, 0x7e00u, size > 0x7f800000u);
  return ((bitcast<u32>(x) >> 16u) & 0x8000u) | select(finite, beyond, size >= 0x47800000u);
}`,
};

interface Binding {
  readonly name: string;
  readonly access: "read" | "read_write";
}

/** fn(place) -> f32, or the vector of four elements with that number. What the kernel writes as well is read word by word. */
export function readPacked(half: Half, { name, access }: Binding, width: 1 | 4): Accessor {
  const needs = half === "bf16" ? "f32_of_bf16" : "f32_of_f16";
  const word = (place: string): string => (access === "read" ? `${name}[${place}]` : `atomicLoad(&${name}[${place}])`);
  if (width === 1) {
    const text = `fn ${name}_at(i: u32) -> f32 { return ${needs}((${word("i >> 1u")} >> ((i & 1u) * 16u)) & 0xffffu); }`;
    return { name: `${name}_at`, text, needs };
  }
  const words = access === "read" ? `let words = ${name}[i];` : `let words = vec2<u32>(${word("2u * i")}, ${word("2u * i + 1u")});`;
  const parts = ["words.x & 0xffffu", "words.x >> 16u", "words.y & 0xffffu", "words.y >> 16u"].map((bits) => `${needs}(${bits})`);
  return { name: `${name}_four`, text: `fn ${name}_four(i: u32) -> vec4<f32> { ${words} return vec4<f32>(${parts.join(", ")}); }`, needs };
}

/** fn(place, x): each invocation clears and sets the bits of its own element alone. */
export function writePacked(half: Half, { name }: Binding): Accessor {
  const needs = half === "bf16" ? "bits_of_bf16" : "bits_of_f16";
  const text = `fn ${name}_put(i: u32, x: f32) {
  let shift = (i & 1u) * 16u;
  atomicAnd(&${name}[i >> 1u], ~(0xffffu << shift));
  atomicOr(&${name}[i >> 1u], ${needs}(x) << shift);
}`;
  return { name: `${name}_put`, text, needs };
}

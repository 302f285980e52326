import type { RopeFrequencies } from "./schedules.js";

/** Writes cos and sin of p·θ'_j, j = 0 … D/2 − 1, times the attention factor, from index `at` on. Angles are f64. */
export function writeRotation(
  { cos, sin }: { readonly cos: Float32Array | Float64Array; readonly sin: Float32Array | Float64Array },
  at: number,
  position: number,
  { invFreq, attentionFactor }: RopeFrequencies,
): void {
  for (let j = 0; j < invFreq.length; j++) {
    const angle = position * (invFreq[j] as number);
    cos[at + j] = attentionFactor * Math.cos(angle);
    sin[at + j] = attentionFactor * Math.sin(angle);
  }
}

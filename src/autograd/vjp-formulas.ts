import type { Derivation, Origin } from "../ir/origin.js";
import type { PrimitiveName } from "../ir/primitives.js";
import type { Region, Source } from "./tensor.js";

/**
 * The rules of vjp.ts as they are shown to people: y = f(x) or f(a, b), ȳ is the cotangent of y, x̄ that of x. "0" where the derivative is
 * zero wherever it exists.
 */
export const vjpFormulas: { readonly [P in PrimitiveName]: string } = {
  neg: "x̄ = −ȳ",
  exp: "x̄ = ȳ·eˣ = ȳ·y",
  log: "x̄ = ȳ/x",
  sin: "x̄ = ȳ·cos x",
  cos: "x̄ = −ȳ·sin x",
  tanh: "x̄ = ȳ·(1 − y²)",
  erf: "x̄ = ȳ·2/√π·e^(−x²)",
  sqrt: "x̄ = ȳ/(2y)",
  recip: "x̄ = −ȳ·y²",
  abs: "x̄ = ȳ·sign x",
  sign: "0",
  floor: "0",
  not: "0",
  add: "ā = ȳ, b̄ = ȳ",
  sub: "ā = ȳ, b̄ = −ȳ",
  mul: "ā = ȳ·b, b̄ = ȳ·a",
  div: "ā = ȳ/b, b̄ = −ȳ·y/b",
  pow: "ā = ȳ·b·a^(b−1), with 0 · 0⁻¹ = 0; b̄ = ȳ·y·ln a, with 0 · ln 0 = 0 for b ≥ 0",
  max: "ā = ȳ where a > b, ȳ/2 where a = b",
  min: "ā = ȳ where a < b, ȳ/2 where a = b",
  mod: "y = a − b·⌊a/b⌋: ā = ȳ, b̄ = −ȳ·⌊a/b⌋",
  lt: "0",
  eq: "0",
  and: "0",
  or: "0",
  where: "ā = ȳ where the condition holds, b̄ = ȳ elsewhere",
  cast: "x̄ = ȳ as the dtype of x",
  bitcast: "none",
  sum: "x̄ = ȳ repeated over the axes",
  maxReduce: "x̄ = ȳ/n at the n places of each group with x = y, 0 elsewhere",
  minReduce: "x̄ = ȳ/n at the n places of each group with x = y, 0 elsewhere",
  argmax: "0",
  argmin: "0",
  reshape: "x̄ = ȳ under the old shape",
  permute: "x̄ = ȳ with the inverse order",
  expand: "x̄ = Σ ȳ over the repeated axes",
  slice: "x̄ = ȳ at the places that were taken, 0 elsewhere",
  pad: "x̄ = ȳ without the padding",
  concat: "x̄ᵢ = the part of ȳ that came from xᵢ",
  flip: "x̄ = ȳ flipped back",
  dot: "c = a·b: ā = c̄·bᵀ, b̄ = aᵀ·c̄",
  gather: "x̄[s] = Σ ȳ[i] over index[i] = s",
  scatterAdd: "x̄[i] = ȳ[index[i]], 0 where the index is out of range",
  iota: "0",
  const: "0",
  randomBits: "0",
  alias: "x̄ = ȳ",
  stopGradient: "0",
};

/** What is noted of the values that the pullback of a step makes. */
export function derivationOf(does: Extract<Source, { kind: "operation" }> | "barrier" | Region, forward: Origin | undefined): Derivation {
  if (does === "barrier") return { of: "barrier", rule: "x̄ = ȳ", forward };
  switch (does.kind) {
    case "operation":
      return { of: does.primitive, rule: vjpFormulas[does.primitive], forward };
    case "loop":
      return { of: "loop", rule: "c̄ᵢ, x̄ᵢ, Δw̄ = vjp of step i, from the last to the first; w̄ = Σ Δw̄", forward };
    case "call":
      return { of: does.name, rule: does.pullback ? `the derivative of ${does.name}` : `the vjp of what ${does.name} computes`, forward };
  }
}

import { type Kind, number } from "../arguments.js";
import { Tensor } from "./tensor.js";

/** Kinds of arguments that hold tensors, shapes and dtypes; see `arguments.ts`. */

export const tensorKind: Kind = {
  wanted: "a tensor",
  fits: (value) => value instanceof Tensor,
  hint: (value) => {
    if (typeof value === "number" || Array.isArray(value) || ArrayBuffer.isView(value)) return "make one with tensor(…)";
    return undefined;
  },
};

export const tensorLikeKind: Kind = {
  wanted: "a tensor or a number",
  fits: (value) => value instanceof Tensor || typeof value === "number",
  hint: (value) => (Array.isArray(value) || ArrayBuffer.isView(value) ? "make a tensor of it: tensor(…)" : undefined),
};

/** A tensor of two u32, as `key` and `split` make them. */
export const keyKind: Kind = {
  wanted: "a key (u32 [2])",
  fits: (value) => value instanceof Tensor && value.dtype === "u32" && value.rank === 1 && value.shape[0] === 2,
  hint: (value) => (number.fits(value) ? `make one with key(${String(value)})` : "make one with key(seed)"),
};

/** A number that an f32 can hold, rounded. */
export const finiteSingle: Kind = {
  wanted: "a number that is finite in f32",
  fits: (value) => typeof value === "number" && Number.isFinite(Math.fround(value)),
};

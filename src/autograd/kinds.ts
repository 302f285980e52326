import { type Kind, number, oneOf } from "../arguments.js";
import type { Shape } from "./shape.js";
import { Tensor } from "./tensor.js";

/** Kinds of arguments that hold tensors, shapes and dtypes; see `arguments.ts`. */

const isExtent = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

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

export const shapeKind: Kind = {
  wanted: "a shape: a list of extents",
  fits: (value): value is Shape => Array.isArray(value) && value.every(isExtent),
  hint: (value) => (isExtent(value) ? `write [${String(value)}]` : undefined),
};

export const axisKind: Kind = { wanted: "an axis: an integer", fits: Number.isInteger };

export const axesKind: Kind = {
  wanted: "an axis or a list of axes",
  fits: (value) => value === undefined || Number.isInteger(value) || (Array.isArray(value) && value.every(Number.isInteger)),
  hint: (value) => (typeof value === "object" && value !== null ? "axes come first and by position: x.sum(0, true)" : undefined),
};

export const dtypeKind: Kind = oneOf("f32", "f16", "bf16", "i32", "u32", "bool", "f64");

/** A number that an f32 can hold, rounded. */
export const finiteSingle: Kind = {
  wanted: "a number that is finite in f32",
  fits: (value) => typeof value === "number" && Number.isFinite(Math.fround(value)),
};

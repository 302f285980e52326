/**
 * The primitives as functions that broadcast, promote dtypes and take plain numbers. Everything that users call is made
 * of these; nothing below them broadcasts.
 */

export type { Axes } from "../ir/shape.js";
export { bitcast, cast } from "./operations/casts.js";
export * from "./operations/comparisons.js";
export { arange, type DTypeOption, full, iota, linspace, ones, onesLike, zeros, zerosLike } from "./operations/creation.js";
export * from "./operations/elementwise.js";
export * from "./operations/indexing.js";
export * from "./operations/matrices.js";
export * from "./operations/movement.js";
export type { TensorLike } from "./operations/operands.js";
export * from "./operations/reductions.js";

import { type IndexExpression, mentions } from "../ir/index-expression.js";
import type { Kernel, Loop, Value } from "./program.js";

/** The places in memory, and the numbers made of loop variables, that a kernel's values and stores mention. */
export const placesOf = (kernel: Kernel): IndexExpression[] => [
  ...kernel.values.flatMap((value: Value) =>
    value.kind === "load" || value.kind === "index" || value.kind === "inside"
      ? [value.index]
      : value.kind === "threefry"
        ? [value.counter]
        : [],
  ),
  ...kernel.stores.map(({ index }) => index),
];

/** Whether the place of anything in a kernel changes with a loop around it. */
export const changesWith = (kernel: Kernel, { name }: Loop): boolean => placesOf(kernel).some((place) => mentions(place, name));

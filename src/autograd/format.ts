import type { DType, HostArray } from "../ir/dtype.js";
import type { Shape } from "../ir/shape.js";

/** Entries of an axis that are written out; of a longer one, half of them at either end. */
const shownEntries = 6;

/** Numbers as nested lists, long axes cut in the middle: "[[1, 2, 3], [4, 5, 6]]", "[0, 1, 2, …, 97, 98, 99]". */
export function formatValues(shape: Shape, dtype: DType, data: HostArray): string {
  const list = (axis: number, offset: number): string => {
    if (axis === shape.length) return formatNumber(dtype, data[offset] as number);
    const extent = shape[axis] as number;
    const stride = shape.slice(axis + 1).reduce((product, n) => product * n, 1);
    const at = (i: number): string => list(axis + 1, offset + i * stride);
    const indices = Array.from({ length: Math.min(extent, shownEntries) }, (_, i) =>
      i < shownEntries / 2 || extent <= shownEntries ? i : extent - shownEntries + i,
    );
    const entries = indices.map(at);
    if (extent > shownEntries) entries.splice(shownEntries / 2, 0, "…");
    return `[${entries.join(", ")}]`;
  };
  return list(0, 0);
}

/** Digits that tell two neighbours of a float dtype apart, but for the last one or two. */
const digits: Partial<Record<DType, number>> = { f64: 12, f32: 6, f16: 4, bf16: 3 };

function formatNumber(dtype: DType, value: number): string {
  if (dtype === "bool") return String(value !== 0);
  const precision = digits[dtype];
  return Object.is(value, -0) ? "-0" : String(precision === undefined ? value : Number(value.toPrecision(precision)));
}

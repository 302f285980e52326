/** Tables of cos and sin for RoPE, made on the host in f64 from exact rational positions. */
import { checkArgument, checkOptions, either, listOf, objectWith, oneOf, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import type { RationalPositions } from "./positions/index.js";
import { writeRotation } from "./rotation.js";
import type { RopeFrequencies } from "./schedules.js";

/** cos and sin of every angle, [rows, length, half] row-major, with the attention factor multiplied in. */
export interface RopeTables<Values extends Float32Array | Float64Array = Float32Array> {
  readonly cos: Values;
  readonly sin: Values;
  /** 1 or the batch size. */
  readonly rows: number;
  /** Tokens T. */
  readonly length: number;
  /** D/2. */
  readonly half: number;
}

/** One set of frequencies for all rows, or one for each. */
export type RowFrequencies = RopeFrequencies | readonly RopeFrequencies[];

const frequenciesKind = objectWith("frequencies, as ropeFrequencies(…) makes them", "invFreq", "attentionFactor");

/**
 * cos and sin of p·θ'_j for every position p = numerator/denominator, times the attention factor: [rows, T, D/2].
 *
 * The quotient is taken first, in f64, and only then multiplied by θ'_j. IEEE division is exact where the quotient is
 * representable, so position g·k at scale g gives the very bits of position k at scale 1. Each value is rounded to f32 once,
 * which keeps the error near 3·10⁻⁸ at any position; angles rounded to f32 would be off by 10⁻³ at position 65,536.
 *
 * @param positions exact rational positions, such as a `PositionDraw`
 * @param frequencies θ' and attention factor of a schedule, or a list with those of each row
 * @param options.dtype "f32" (default) for devices, "f64" for computations in double precision
 * @throws ShapeError if the lengths of the arrays do not fit `rows`, OptionError for a denominator below 1
 */
export function ropeTables(positions: RationalPositions, frequencies: RowFrequencies, options?: { readonly dtype?: "f32" }): RopeTables;
export function ropeTables(
  positions: RationalPositions,
  frequencies: RowFrequencies,
  options: { readonly dtype: "f64" },
): RopeTables<Float64Array>;
export function ropeTables(
  positions: RationalPositions,
  frequencies: RowFrequencies,
  options: { readonly dtype?: "f32" | "f64" } = {},
): RopeTables<Float32Array | Float64Array> {
  const place = "ropeTables";
  checkArgument(
    place,
    "positions",
    positions,
    objectWith("positions, as plainPositions(…) makes them", "numerators", "denominators", "rows"),
  );
  checkArgument(place, "frequencies", frequencies, either(frequenciesKind, listOf(frequenciesKind)));
  checkOptions(place, options, { dtype: optional(oneOf("f32", "f64")) });
  const { numerators, denominators, rows } = positions;
  if (!Number.isInteger(rows) || rows < 1 || denominators.length !== rows || numerators.length % rows !== 0) {
    throw new ShapeError(
      `expected numerators [rows, T] and denominators [rows] with rows ≥ 1, found rows ${rows}, ${numerators.length} numerators and ` +
        `${denominators.length} denominators`,
      { hint: "pass what a position source returns" },
    );
  }
  const length = numerators.length / rows;
  const ofRows: readonly RopeFrequencies[] = Array.isArray(frequencies) ? frequencies : [frequencies as RopeFrequencies];
  const half = ofRows[0]?.invFreq.length ?? 0;
  const odd = ofRows.find(({ invFreq }) => invFreq.length !== half);
  if ((ofRows.length !== 1 && ofRows.length !== rows) || odd !== undefined) {
    throw new ShapeError(
      `expected frequencies of one length for all rows or for each of ${rows}, found ${ofRows.length} with lengths ${ofRows.map(({ invFreq }) => invFreq.length).join(", ")}`,
    );
  }
  const size = rows * length * half;
  const cos = options.dtype === "f64" ? new Float64Array(size) : new Float32Array(size);
  const sin = options.dtype === "f64" ? new Float64Array(size) : new Float32Array(size);
  let next = 0;
  for (let row = 0; row < rows; row++) {
    const denominator = denominators[row] as number;
    if (!(denominator >= 1)) {
      throw new OptionError(`the scale of row ${row} must be at least 1, found ${denominator}`, {
        hint: "positions are numerator / scale",
      });
    }
    const ofRow = (ofRows[row] ?? ofRows[0]) as RopeFrequencies;
    for (let i = 0; i < length; i++, next += half) {
      writeRotation({ cos, sin }, next, (numerators[row * length + i] as number) / denominator, ofRow);
    }
  }
  return { cos, sin, rows, length, half };
}

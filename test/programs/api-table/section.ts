/**
 * A function beside its names elsewhere, `none` where there is none; an expression that uses it, and what that gives, numbers to four
 * decimals.
 */
export type Row = readonly [name: string, torch: string, jax: string, tfjs: string, example: string, value: string];

export const none = "–";

/** A section of `docs/api-table.md`. */
export interface Section {
  readonly title: string;
  /** What its examples take for granted. */
  readonly note?: string;
  readonly rows: readonly Row[];
}

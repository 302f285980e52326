/** The χ² test of counts. */

/** Largest plausible χ² with probability 1 − 10⁻⁴ (Wilson and Hilferty's approximation, good to a percent here). */
export function chiSquareLimit(degrees: number): number {
  const spread = 2 / (9 * degrees);
  return degrees * (1 - spread + 3.719 * Math.sqrt(spread)) ** 3;
}

/** Σ (count − expected)² / expected. */
export function chiSquare(counts: readonly number[], expected: readonly number[]): number {
  return counts.reduce((sum, count, i) => sum + (count - (expected[i] ?? 0)) ** 2 / (expected[i] ?? 0), 0);
}

/** How often each value occurs, against what is expected of each; anything else makes the statistic infinite. */
export function chiSquareOf(found: readonly (string | number)[], expected: ReadonlyMap<string | number, number>): number {
  const counts = new Map([...expected.keys()].map((key) => [key, 0]));
  for (const value of found) {
    const count = counts.get(value);
    if (count === undefined) return Number.POSITIVE_INFINITY;
    counts.set(value, count + 1);
  }
  return chiSquare([...counts.values()], [...expected.values()]);
}

/** The Kolmogorov–Smirnov test of draws from a continuous distribution. */

/** √n·max |F_n(x) − F(x)| of n draws. */
export function kolmogorovSmirnov(draws: readonly number[], cdf: (x: number) => number): number {
  const n = draws.length;
  const sorted = [...draws].sort((a, b) => a - b);
  const apart = sorted.map((x, i) => Math.max(Math.abs((i + 1) / n - cdf(x)), Math.abs(cdf(x) - i / n)));
  return Math.sqrt(n) * Math.max(...apart);
}

/** Largest plausible √n·D with probability 1 − 10⁻⁴: √(½·ln(2·10⁴)). */
export const kolmogorovSmirnovLimit = Math.sqrt(Math.log(2e4) / 2);

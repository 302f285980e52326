const twoOverRootPi = 2 / Math.sqrt(Math.PI);

/** Beyond this, 1 − |erf x| is less than half an ulp of 1. */
const saturation = 6;
/** Where the continued fraction starts to need fewer terms than the series. */
const crossover = 2.5;

/** The error function 2/√π ∫₀ˣ e^(−t²) dt, to a few ulp. */
export function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  const magnitude = Math.abs(x);
  if (magnitude >= saturation) return Math.sign(x);
  return magnitude < crossover ? erfSeries(x) : Math.sign(x) * (1 - erfcFraction(magnitude));
}

/**
 * 2/√π e^(−x²) Σₙ 2ⁿ x^(2n+1) / (1·3·5…(2n+1)). All terms have one sign, so nothing cancels.
 * Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.6.
 */
function erfSeries(x: number): number {
  const square = x * x;
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 1e-18; n++) {
    term *= (2 * square) / (2 * n + 1);
    sum += term;
  }
  return twoOverRootPi * Math.exp(-square) * sum;
}

/**
 * 1 − erf x = e^(−x²)/√π · 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + …)))), evaluated from the innermost term outwards.
 * Abramowitz and Stegun, 7.1.14. Sixty terms are exact to an ulp of 1 for x ≥ 2.5.
 */
function erfcFraction(x: number): number {
  let tail = x;
  for (let n = 60; n >= 1; n--) tail = x + n / 2 / tail;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * tail);
}

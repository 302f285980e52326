import { waitingSums } from "../../../compiler/summation.js";

/**
 * Sums of floats in pairs, as text: `sum` is the variable of the block that grows, `blocks` the expression that counts those before it.
 * Sums of earlier blocks wait in an array of the invocation.
 */
export interface PairwiseText {
  readonly declaration: string;
  /** Puts the block away and begins the next one. */
  readonly put: string[];
  /** Adds everything that waits to `sum`, from the smallest on. */
  readonly finish: string[];
}

export function pairwise(sum: string, blocks: string, most: number): PairwiseText {
  const [waiting, levels] = [`waiting_${sum}`, waitingSums(most)];
  const counts = (level: string): string => `((${blocks} >> ${level}) & 1u) == 1u`;
  return {
    declaration: `var ${waiting}: array<f32, ${levels}>;`,
    put: [
      "{",
      "  var level = 0u;",
      `  for (; ${counts("level")}; level++) { ${sum} = ${waiting}[level] + ${sum}; }`,
      `  ${waiting}[level] = ${sum};`,
      `  ${sum} = 0.0;`,
      "}",
    ],
    finish: [
      `for (var level = 0u; level < ${levels}u; level++) {`,
      `  if (${counts("level")}) { ${sum} = ${waiting}[level] + ${sum}; }`,
      "}",
    ],
  };
}

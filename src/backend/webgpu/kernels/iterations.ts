import { changesWith } from "../../../compiler/kernel-places.js";
import type { Kernel, Loop } from "../../../compiler/program.js";

/**
 * A kernel inside of loops is dispatched again and again, and each dispatch has a number: the turn, counted over all loops around it.
 * It comes in digits to the base 256 (turns.ts), and the iterations of the loops are its quotients and remainders.
 */
export const turnDigits = 4;
export const mostTurns = 256 ** turnDigits;

export interface IterationText {
  /** Variables of the module, which all of its functions see. */
  readonly declarations: readonly string[];
  /** What the entry point begins with. */
  readonly lines: readonly string[];
}

/** The text that gives a kernel the iterations of the loops (the outermost first) that it mentions; undefined where it mentions none. */
export function iterationText(kernel: Kernel, loops: readonly Loop[]): IterationText | undefined {
  const mentioned = loops.filter((loop) => changesWith(kernel, loop));
  if (mentioned.length === 0) return undefined;
  const turns = loops.reduce((n, { extent }) => n * extent, 1);
  const digits = Array.from({ length: turnDigits }, (_, digit) => digit).filter((digit) => digit === 0 || turns > 256 ** digit);
  const lines = [`let turn = ${digits.map((digit) => (digit === 0 ? "turn0" : `(turn${digit} << ${8 * digit}u)`)).join(" | ")};`];
  let inner = 1;
  for (const loop of [...loops].reverse()) {
    const { name, extent } = loop;
    if (mentioned.includes(loop)) lines.push(`${name} = (turn / ${inner}u) % ${Math.max(1, extent)}u;`);
    inner *= Math.max(1, extent);
  }
  return {
    declarations: [
      ...digits.map((digit) => `@group(1) @binding(${digit}) var<uniform> turn${digit}: u32;`),
      ...mentioned.map(({ name }) => `var<private> ${name}: u32;`),
    ],
    lines,
  };
}

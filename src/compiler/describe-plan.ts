import { bytesInWords } from "../ir/bytes.js";
import type { Plan } from "./plan.js";
import type { Kernel, Step } from "./program.js";

/**
 * A plan as text: a line for each kernel, numbered, with the bytes of scratch that are alive while it runs, the most marked; for each
 * loop its body, once and indented; and how much scratch is planned, against the least that the order of the kernels takes. `line` says
 * what a kernel is, `summary` what the program comes to.
 *
 *      0    1.05 MB  map      262144       …
 *                    loop × 1000
 *      1 ▸  2.10 MB    row      512 × 512  …
 *   2 kernels, 4 slots
 *   2101248 bytes of scratch for 2097152 that are alive at kernel 1, the least that this order takes
 */
export function describePlan(plan: Plan, line: (kernel: Kernel, position: number) => string, summary: string): string {
  const most = plan.liveBytes.reduce((a, b) => Math.max(a, b), 0);
  const peak = most > 0 ? plan.liveBytes.indexOf(most) : -1;
  let next = 0;
  const visit = (steps: readonly Step[], indent: string): string[] =>
    steps.flatMap((step) => {
      if (step.kind === "loop") return [`${" ".repeat(16)}${indent}loop × ${step.iteration.extent}`, ...visit(step.body, `${indent}  `)];
      const position = next++;
      const live = bytesInWords(plan.liveBytes[position] as number).padStart(8);
      return [`${String(position).padStart(4)} ${position === peak ? "▸" : " "}${live}  ${indent}${line(step, position)}`];
    });
  const lines = visit(plan.steps, "");
  const alive = peak < 0 ? "" : ` for ${most} that are alive at kernel ${peak}, the least that this order takes`;
  return [...lines, `${summary}, ${plan.slots.length} slots`, `${plan.scratchBytes} bytes of scratch${alive}`].join("\n");
}

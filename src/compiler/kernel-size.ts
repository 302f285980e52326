import type { Kernel, Step } from "./program.js";

/** The loops of a kernel, for people. */
export function kernelSize(kernel: Kernel): string {
  switch (kernel.kind) {
    case "map":
      return `${kernel.outer.extent}`;
    case "row":
      return `${kernel.outer.extent} × ${kernel.inner.extent}`;
    case "contract":
      return `${kernel.batch.extent} × (${kernel.m.extent} × ${kernel.k.extent})·(${kernel.k.extent} × ${kernel.n.extent})`;
    case "scatter":
      return `${kernel.entry.extent} × ${kernel.column.extent} → ${kernel.bin.extent}`;
  }
}

/**
 * A line for each kernel, numbered, and for each loop, whose body stands below it once and indented. `line` says what a kernel is.
 *
 *      0  map      4  …
 *         loop × 1000
 *      1    map      8  …
 */
export function describeSteps(steps: readonly Step[], line: (kernel: Kernel, position: number) => string): string[] {
  let next = 0;
  const visit = (inside: readonly Step[], indent: string): string[] =>
    inside.flatMap((step) => {
      if (step.kind === "loop") return [`      ${indent}loop × ${step.iteration.extent}`, ...visit(step.body, `${indent}  `)];
      const position = next++;
      return [`${String(position).padStart(4)}  ${indent}${line(step, position)}`];
    });
  return visit(steps, "");
}

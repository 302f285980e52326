import { describePlan } from "../../compiler/describe-plan.js";
import { kernelSize } from "../../compiler/kernel-size.js";
import type { Kernel } from "../../compiler/program.js";
import type { WasmProgram } from "./program.js";

/** The kernels of a program, one per line. */
export function describeProgram({ plan, steps, kernelSteps, module }: WasmProgram): string {
  const kernels = steps.filter((step) => step.kind === "kernel");
  let next = 0;
  const line = (kernel: Kernel, i: number): string => {
    const own = kernels.slice(next, next + (kernelSteps[i] as number));
    next += own.length;
    const last = own[own.length - 1];
    const written = new Set(kernel.stores.map(({ buffer }) => plan.slotOf.get(buffer)));
    const slots = [...new Set(last?.buffers.map((buffer) => plan.slotOf.get(buffer)))].map((slot) =>
      written.has(slot) ? `→${slot}` : `${slot}`,
    );
    const chunks = Math.ceil((last?.units ?? 0) / (last?.unitsPerChunk ?? 1));
    const how = `${own.map((step) => `k${step.function}`).join("+")} × ${chunks}`;
    return `${kernel.kind.padEnd(8)} ${kernelSize(kernel).padEnd(28)} ${how.padEnd(14)} slots ${slots.join(" ").padEnd(16)} ${kernel.label}`;
  };
  const functions = new Set(kernels.map((step) => step.function)).size;
  return describePlan(plan, line, `${kernelSteps.length} kernels of ${functions} functions (${module.length} bytes)`);
}

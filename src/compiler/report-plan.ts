import { elementBytes } from "../ir/bytes.js";
import type { KernelReport, ProgramReport, ValueReport } from "../ir/program-report.js";
import { kernelSize } from "./kernel-size.js";
import { kernelWork } from "./kernel-work.js";
import { lifetimes, readBuffers, stepNodes } from "./liveness.js";
import type { Plan } from "./plan.js";
import type { BufferInfo, Kernel, Step } from "./program.js";

/** A plan as data: its kernels with what they compute and move, and when its memory holds what. `listing` prints the code of a kernel. */
export function reportPlan(plan: Plan, listing: (kernel: number) => string): ProgramReport {
  const buffers = [...plan.slotOf.keys()];
  const placeOf = new Map(buffers.map((buffer, place) => [buffer, place]));
  const placesOf = (of: Iterable<number>): number[] => [...of].flatMap((buffer) => placeOf.get(buffer) ?? []);
  const info = (buffer: number): BufferInfo => plan.buffers.get(buffer) as BufferInfo;
  const bytesOf = (counts: ReadonlyMap<number, number>): number =>
    [...counts].reduce((sum, [buffer, count]) => sum + count * elementBytes[info(buffer).dtype], 0);

  const kernels: KernelReport[] = [];
  const visit = (steps: readonly Step[], turns: number): void => {
    for (const step of steps) {
      if (step.kind === "loop") visit(step.body, turns * step.iteration.extent);
      else kernels.push(reportOf(step, turns));
    }
  };
  const reportOf = (kernel: Kernel, turns: number): KernelReport => {
    const { flops, read, written } = kernelWork(kernel, info);
    return {
      kind: kernel.kind,
      label: kernel.label,
      size: kernelSize(kernel),
      turns,
      flops: turns * flops,
      bytesRead: turns * bytesOf(read),
      bytesWritten: turns * bytesOf(written),
      reads: placesOf(readBuffers(kernel)),
      writes: placesOf(new Set(kernel.stores.map(({ buffer }) => buffer))),
      liveBytes: plan.liveBytes[kernels.length] ?? 0,
    };
  };
  visit(plan.steps, 1);

  const living = new Map(lifetimes(stepNodes(plan.steps)).map((lifetime) => [lifetime.buffer, lifetime]));
  const last = Math.max(0, kernels.length - 1);
  const values = buffers.map((buffer): ValueReport => {
    const slot = plan.slotOf.get(buffer) as number;
    const { use, bytes } = plan.slots[slot] as Plan["slots"][number];
    const life = living.get(buffer) ?? { first: 0, last: 0 };
    return {
      use: use.kind,
      index: use.kind === "input" ? use.input : use.kind === "output" ? use.output : undefined,
      bytes: use.kind === "scratch" ? Math.min(bytes, info(buffer).length * elementBytes[info(buffer).dtype]) : bytes,
      slot,
      offset: use.kind === "scratch" ? use.offset : 0,
      // Inputs are there before the first kernel, and results after the last.
      first: use.kind === "input" ? 0 : life.first,
      last: use.kind === "scratch" ? life.last : last,
    };
  });
  return { kernels, values, scratchBytes: plan.scratchBytes, listing };
}

import { loopDepth } from "../../compiler/program.js";
import { counterWords, stepWords } from "./control.js";
import { iterationBytes, tableHeader } from "./kernels/kernel.js";
import type { WasmProgram } from "./program.js";

/** Where a program keeps what in the memory that belongs to it, in bytes from the beginning of two blocks. */
export interface Layout {
  /** The block that lives as long as the program: scalars, a table of addresses for each kernel, steps, counters, code for the workers. */
  readonly programBytes: number;
  readonly scalarOffset: number;
  readonly tableOffsets: readonly number[];
  readonly stepsOffset: number;
  readonly countersOffset: number;
  readonly moduleOffset: number;
  /** The blocks of a run: the plan's scratch, and in the last of them the arena of the kernels and `threadBytes` for each thread. */
  readonly runs: readonly number[];
  readonly arenaOffset: number;
  readonly threadOffset: number;
  readonly threadBytes: number;
}

const ceil64 = (n: number): number => Math.ceil(n / 64) * 64;

/** Lays a program out for so many threads; more than one of them have the code in the memory that they share. */
export function layOut({ module, steps, plan, scalars }: WasmProgram, threads: number): Layout {
  const kernels = steps.filter((step) => step.kind === "kernel");
  const most = (bytes: readonly number[]): number => bytes.reduce((a, b) => Math.max(a, b), 0);

  let programBytes = 0;
  const place = (size: number): number => {
    const offset = programBytes;
    programBytes += ceil64(size);
    return offset;
  };
  const scalarOffset = place(4 * scalars.length);
  const tableOffsets = steps.map((step) => (step.kind === "kernel" ? place(4 * (tableHeader.words + step.buffers.length)) : 0));
  const stepsOffset = place(4 * stepWords * steps.length);
  const countersOffset = place(4 * counterWords * steps.length);
  const moduleOffset = place(threads > 1 ? module.length : 0);

  const arenaBytes = ceil64(most(kernels.map((kernel) => kernel.arenaBytes)));
  const iterations = ceil64(iterationBytes(loopDepth(plan.steps) - 1));
  const threadBytes = iterations + ceil64(most(kernels.map(({ scratchBytes }) => scratchBytes)));
  const runs: number[] = [];
  for (let left = plan.scratchBytes; left > 0; left -= plan.blockBytes) runs.push(Math.min(left, plan.blockBytes));
  const ownBytes = arenaBytes + threadBytes * threads;
  const fits = runs.length > 0 && (runs[runs.length - 1] as number) + ownBytes <= plan.blockBytes;
  if (!fits && ownBytes > 0) runs.push(0);
  const arenaOffset = runs[runs.length - 1] ?? 0;
  const threadOffset = iterations + arenaOffset + arenaBytes;
  if (ownBytes > 0) runs[runs.length - 1] = arenaOffset + ownBytes;
  return {
    programBytes,
    scalarOffset,
    tableOffsets,
    stepsOffset,
    countersOffset,
    moduleOffset,
    runs,
    arenaOffset,
    threadOffset,
    threadBytes,
  };
}

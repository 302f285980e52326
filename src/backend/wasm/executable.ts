import { reportPlan } from "../../compiler/report-plan.js";
import type { Graph } from "../../ir/graph.js";
import type { ProgramReport } from "../../ir/program-report.js";
import type { Backend, Executable } from "../backend.js";
import { describeProgram } from "./describe.js";
import { listing } from "./disassemble.js";
import type { Block } from "./heap.js";
import { type Layout, layOut } from "./layout.js";
import type { Placement, WasmProgram } from "./program.js";
import type { KernelEntry } from "./run-steps.js";

/** A program of a backend, and what it has in memory. */
export class WasmExecutable implements Executable {
  /** Made at the first run that has its things in these memories, the one that ran last at the end. */
  readonly loaded = new Map<string, Loaded>();
  /** Where a run has what. */
  readonly layout: Layout;
  /** Blocks of what is loaded. */
  readonly blocks = new Set<Block>();
  released = false;

  constructor(
    readonly backend: Backend,
    readonly graph: Graph,
    readonly label: string,
    readonly program: WasmProgram,
    readonly donated: readonly boolean[],
    threads: number,
  ) {
    this.layout = layOut(program, threads);
  }

  describe(): string {
    return describeProgram(this.program);
  }

  report(): ProgramReport {
    return reportPlan(this.program.plan, (kernel) => listing(this.program, kernel));
  }
}

/** A program in memory: tables of addresses, steps, counters, and the module for the workers. */
export interface Loaded {
  readonly number: number;
  readonly program: WasmProgram;
  readonly kernels: readonly KernelEntry[];
  readonly block: Block;
  readonly scalars: number;
  readonly tables: readonly number[];
  readonly stepsAddress: number;
  readonly countersAddress: number;
  readonly moduleAddress: number;
  readonly moduleBytes: number;
  readonly layout: Layout;
  /** Whether other threads are worth waking. */
  readonly parallel: boolean;
}

/** Placements of one program that are kept ready. */
export const mostPlacements = 4;
/** Everything in the first memory. */
export const home: Placement = { slots: [], run: 0 };
/** Where what takes no memory is. */
export const nowhere = { memory: 0, address: 0 };

/** Placements by what they say; that of a run in the first memory alone is empty. */
export const keyOf = ({ slots, run }: Placement): string =>
  run === 0 && slots.every((memory) => memory === 0) ? "" : `${run} ${slots.join()}`;

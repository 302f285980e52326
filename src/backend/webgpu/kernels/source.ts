import type { BufferInfo, Kernel, Loop } from "../../../compiler/program.js";
import { storageType } from "../wgsl.js";
import { iterationText } from "./iterations.js";

/** What the templates need to know of a device. */
export interface Target {
  /** "software": no workgroup memory, no barriers, operands uniform in a small workgroup. "gpu": tiles and barriers. */
  readonly kernelClass: "software" | "gpu";
  readonly maxWorkgroupsPerDimension: number;
  /** Whether the driver runs on the processor, whichever the class of the kernels. Default: where they are software kernels. */
  readonly softwareDriver?: boolean;
  /** Invocations of every subgroup, where kernels may use subgroups and all have the same size. */
  readonly subgroupSize?: number | undefined;
  /** Whether an invocation can tell its subgroup from the others of its workgroup (the language feature `subgroup_id`). */
  readonly subgroupIds?: boolean;
  /** Bytes of memory that a workgroup may have. Default: the 16 KiB that WebGPU guarantees. */
  readonly workgroupBytes?: number;
}

/** What printing a kernel needs to know of its surroundings. */
export interface Context {
  readonly info: (buffer: number) => BufferInfo;
  readonly slotOf: (buffer: number) => number;
  /** Scalars that the program has. */
  readonly scalars: number;
  readonly target: Target;
  /** The loops around the kernel, the outermost first. */
  readonly loops: readonly Loop[];
}

/** A kernel as text, with what to bind and how many workgroups to start. */
export interface KernelSource {
  readonly label: string;
  readonly wgsl: string;
  /** Slots in the order of their binding numbers; binding 0 is the buffer of scalars if `scalars`. */
  readonly bindings: readonly { readonly slot: number; readonly access: "read" | "read_write" }[];
  readonly scalars: boolean;
  /** Whether group 1 must tell the turn of a dispatch (turns.ts). */
  readonly turns: boolean;
  readonly workgroups: readonly [number, number, number];
}

/** Whether so many scalars fit into the 64 KiB that a uniform binding has on every device; more lie in a storage buffer. */
export const fitUniform = (scalarCount: number): boolean => scalarCount <= 16_384;

/** What a template writes. */
export interface Body {
  readonly width: number;
  readonly workgroups: readonly [number, number, number];
  /** Functions and variables of the module. */
  readonly declarations: readonly string[];
  /** The entry point. */
  readonly lines: readonly string[];
  /** Whether it passes values around in subgroups; `lane` is then the number within one. Default false. */
  readonly subgroups?: boolean;
  /** The size of the subgroups of a workgroup that has several and passes values around in them: `lane` then counts in their order. */
  readonly subgroupSize?: number;
}

/** Hands out bindings for the buffers of one kernel. */
export class Bindings {
  private readonly list: { slot: number; access: "read" | "read_write"; name: string; type: string }[] = [];

  constructor(
    private readonly context: Context,
    private readonly kernel: Kernel,
    storeWidth: 1 | 4 = 1,
  ) {
    // What a kernel writes comes first: a buffer that it also reads then shares the writable binding.
    for (const { buffer } of kernel.stores) this.bind(buffer, "read_write", storeWidth);
  }

  /** The name of a buffer in WGSL, as elements or as vectors of four. */
  name(buffer: number, width: 1 | 4 = 1): string {
    return this.bind(buffer, "read", width);
  }

  private bind(buffer: number, access: "read" | "read_write", width: 1 | 4): string {
    const slot = this.context.slotOf(buffer);
    const scalar = storageType[this.context.info(buffer).dtype];
    const type = width === 4 ? `vec4<${scalar}>` : scalar;
    const existing = this.list.find((entry) => entry.slot === slot && (entry.type === type || entry.access === "read_write"));
    if (existing) return existing.name;
    const name = `buffer${this.list.length}`;
    this.list.push({ slot, access, name, type });
    return name;
  }

  /** The whole text, with the declarations of everything that was named so far. */
  finish({ width, workgroups, declarations, lines, subgroups = false, subgroupSize }: Body): KernelSource {
    const { kernel, context } = this;
    // Part of a computation may need none of its scalars, and what is declared must be used.
    const scalars = [...declarations, ...lines].some((text) => text.includes("scalars["));
    const first = scalars ? 1 : 0;
    const buffers = this.list.map(
      ({ access, name, type }, i) => `@group(0) @binding(${i + first}) var<storage, ${access}> ${name}: array<${type}>;`,
    );
    if (scalars) {
      const space = fitUniform(context.scalars) ? "uniform" : "storage, read";
      buffers.unshift(`@group(0) @binding(0) var<${space}> scalars: array<vec4<u32>, ${Math.ceil(context.scalars / 4)}>;`);
    }
    // A number may be rounded to a half on its way between floats.
    const halves = this.list.some(({ type }) => type.includes("f16")) || kernel.values.some(({ dtype }) => dtype === "f16");
    const iterations = iterationText(kernel, context.loops);
    const several = subgroupSize !== undefined;
    const numbersOfInvocation = several
      ? "@builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane_of_subgroup: u32"
      : `@builtin(${subgroups ? "subgroup_invocation_id" : "local_invocation_index"}) lane: u32`;
    const counted = several ? [`let lane = subgroup * ${subgroupSize}u + lane_of_subgroup;`] : [];
    const wgsl = [
      ...(halves ? ["enable f16;"] : []),
      // Bounds of loops are data that all invocations read alike, which compilers cannot always tell.
      ...(subgroups || subgroupSize !== undefined ? ["enable subgroups;", "diagnostic(off, subgroup_uniformity);"] : []),
      ...buffers,
      ...(iterations?.declarations ?? []),
      ...declarations.filter((text) => text !== ""),
      `@compute @workgroup_size(${width})`,
      `fn main(${entryPoint}, ${numbersOfInvocation}) {`,
      indent([...counted, ...(iterations?.lines ?? []), ...lines]),
      "}",
      "",
    ].join("\n");
    const bindings = this.list.map(({ slot, access }) => ({ slot, access }));
    return { label: kernel.label, wgsl, bindings, scalars, turns: iterations !== undefined, workgroups };
  }
}

/** Workgroups for `count` in one line, folded into two dimensions where one is too short. */
export function fold(count: number, target: Target): [number, number, number] {
  const limit = target.maxWorkgroupsPerDimension;
  if (count <= limit) return [Math.max(1, count), 1, 1];
  return [limit, Math.ceil(count / limit), 1];
}

/**
 * The number of steps of a loop. Software drivers unroll every loop whose length they know, which takes their compilers
 * seconds and wins nothing; there it is multiplied by the number of workgroups along z, which is always one.
 */
export const steps = (count: number, { kernelClass, softwareDriver = kernelClass === "software" }: Target): string =>
  softwareDriver ? `${count}u * groups.z` : `${count}u`;

/** What every entry point is told beside the number of the invocation. */
const entryPoint = "@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>";

/** The number of a workgroup in a folded line. */
export const foldedGroup = (workgroups: readonly [number, number, number]): string =>
  workgroups[1] === 1 ? "group.x" : `(group.x + group.y * ${workgroups[0]}u)`;

/** 0, 1, … */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

export const indented = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);

export const indent = (lines: readonly string[], depth = 1): string => lines.map((line) => "  ".repeat(depth) + line).join("\n");

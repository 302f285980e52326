import type { BufferInfo, Kernel, Loop } from "../../../compiler/program.js";
import { isHalf } from "../../../ir/dtype.js";
import type { Half } from "../../../ir/halves.js";
import { storageType, stored } from "../wgsl.js";
import { iterationText } from "./iterations.js";
import { type Accessor, halfConversions, readPacked, writePacked } from "./packed-halves.js";
import type { Tiling } from "./tiling.js";

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
  /** Whether f16 is a type of the language there (`shader-f16`). Else it is packed by twos into words, as bf16 always is. Default true. */
  readonly nativeHalves?: boolean;
  /** Bytes of memory that a workgroup may have. Default: the 16 KiB that WebGPU guarantees. */
  readonly workgroupBytes?: number;
  /** Storage buffers that a kernel may bind. Default: the 8 that WebGPU guarantees. */
  readonly storageBuffers?: number;
  /** The tiling of all products on GPUs, for tests and measurements. Default: what suits the size of each. */
  readonly tiling?: Tiling | undefined;
}

export const storageBuffersOf = ({ storageBuffers = 8 }: Target): number => storageBuffers;

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

interface Binding {
  readonly slot: number;
  readonly access: "read" | "read_write";
  readonly name: string;
  readonly type: string;
}

/** Hands out bindings for the buffers of one kernel, and says how their elements are read and written. */
export class Bindings {
  private readonly list: Binding[] = [];
  /** What reads and writes packed halves, by the name of the function. */
  private readonly accessors = new Map<string, string>();

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
    return this.bind(buffer, "read", width).name;
  }

  /** The element of a buffer at a place, or the vector of four with that number; halves as f32. */
  read(buffer: number, place: string, width: 1 | 4 = 1): string {
    const binding = this.bind(buffer, "read", width);
    const half = this.packed(buffer);
    if (half === undefined) {
      const read = `${binding.name}[${place}]`;
      return this.context.info(buffer).dtype !== "f16" ? read : width === 4 ? `vec4<f32>(${read})` : `f32(${read})`;
    }
    return `${this.accessor(readPacked(half, binding, width))}(${place})`;
  }

  /** The statement that writes a value to a place of a buffer. */
  write(buffer: number, place: string, value: string): string {
    const binding = this.bind(buffer, "read_write", 1);
    const half = this.packed(buffer);
    if (half === undefined) return `${binding.name}[${place}] = ${stored(value, this.context.info(buffer).dtype)};`;
    return `${this.accessor(writePacked(half, binding))}(${place}, ${value});`;
  }

  /** The dtype of a buffer whose elements lie by twos in words. */
  private packed(buffer: number): Half | undefined {
    const { dtype } = this.context.info(buffer);
    return isHalf(dtype) && !(dtype === "f16" && (this.context.target.nativeHalves ?? true)) ? dtype : undefined;
  }

  private accessor({ name, text, needs }: Accessor): string {
    this.accessors.set(needs, halfConversions[needs]);
    this.accessors.set(name, text);
    return name;
  }

  private bind(buffer: number, access: "read" | "read_write", width: 1 | 4): Binding {
    const slot = this.context.slotOf(buffer);
    const half = this.packed(buffer);
    const scalar = storageType[this.context.info(buffer).dtype];
    // Neighbours of a word may be written by different invocations.
    const word = access === "read" ? "u32" : "atomic<u32>";
    const type = half === undefined ? (width === 4 ? `vec4<${scalar}>` : scalar) : access === "read" && width === 4 ? "vec2<u32>" : word;
    const existing = this.list.find((entry) => entry.slot === slot && (entry.type === type || entry.access === "read_write"));
    if (existing) return existing;
    const binding = { slot, access, name: `buffer${this.list.length}`, type };
    this.list.push(binding);
    return binding;
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
    const halves = this.list.some(({ type }) => type.includes("f16"));
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
      ...this.accessors.values(),
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

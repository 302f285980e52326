import { createHash } from "node:crypto";
import { compileGraph } from "../../src/compiler/compile.js";
import { heirsOf } from "../../src/compiler/heirs.js";
import { lifetimes, liveBytes, scratchOf, stepNodes } from "../../src/compiler/liveness.js";
import { type Plan, type PlanOptions, plan } from "../../src/compiler/plan.js";
import { type BufferInfo, type Kernel, kernelsOf, type Lowered, type Step, type Value } from "../../src/compiler/program.js";
import { schedule } from "../../src/compiler/schedule.js";
import type { Graph } from "../../src/ir/graph.js";

/** How the backends lower graphs and lay out memory. */
export const targets = {
  wasm: { minRows: 64, maxOperands: 8, maxBuffers: 16, epilogues: true, scratch: "block", alignment: 64 },
  "software webgpu": { minRows: 64, maxOperands: 4, maxBuffers: 7, epilogues: false, scratch: "pieces", alignment: 4 },
  "webgpu on a GPU": { minRows: 256, maxOperands: 4, maxBuffers: 7, epilogues: true, scratch: "pieces", alignment: 4 },
} as const;
export type Target = (typeof targets)[keyof typeof targets];

const bytesOf = ({ length }: BufferInfo): number => Math.max(4, 4 * length);

/** A target, with as many buffers to a kernel as one likes. */
type AnyTarget = Omit<Target, "maxBuffers"> & { readonly maxBuffers: number };

export function lowerGraph(graph: Graph, target: AnyTarget, fusing = true): Lowered {
  const { minRows, maxOperands, maxBuffers, epilogues } = target;
  return compileGraph(graph, { simplify: fusing, fuse: fusing, minRows, maxOperands, maxBuffers, epilogues, expandScatter: !fusing });
}

/** Steps in a better order, with a plan of their memory. */
export function planOf(lowered: Lowered, layout: Omit<PlanOptions, "bytesOf">, donated: readonly boolean[] = []): Plan {
  const heirs = heirsOf(lowered, donated);
  return plan(schedule(lowered, heirs, bytesOf), heirs, { bytesOf, ...layout });
}

/** The least scratch that steps need in the order in which they are. */
export function leastScratch(lowered: Lowered): number {
  const scratch = scratchOf(lowered);
  const nodes = stepNodes(lowered.steps);
  const living = lifetimes(nodes).filter(({ buffer }) => scratch.has(buffer));
  return Math.max(0, ...liveBytes(living, kernelsOf(lowered.steps).length, (buffer) => bytesOf(lowered.buffers.get(buffer) as BufferInfo)));
}

/** Everything that a kernel may load, whether or not a store needs it. */
export const loadsOf = (kernel: Kernel): (Value & { kind: "load" })[] =>
  [...kernel.values, ...(kernel.kind === "matmul" ? [kernel.a, kernel.b] : [])].filter((value) => value.kind === "load");

/** Where a buffer lies: memory of its own, or part of the scratch. */
interface Region {
  readonly owner: string;
  readonly begin: number;
  readonly end: number;
}

/** Whether the scratch can be cut into blocks: no slot is larger than one. */
export const isInBlocks = ({ slots, blockBytes }: Plan): boolean =>
  slots.every(({ use, bytes }) => use.kind !== "scratch" || bytes <= blockBytes);

/**
 * Runs steps with texts in the place of numbers: what a kernel writes is the text of the kernel and of what it reads, or where it copies
 * the text that it copies, and loops run twice. Returns the texts of the outputs and of the inputs that stay. Without a plan each buffer has memory of its own.
 */
export function symbolically(lowered: Lowered, planned?: Plan, donated: readonly boolean[] = []): string[] {
  const regionOf = (buffer: number): Region => {
    const slot = planned?.slotOf.get(buffer);
    if (planned === undefined || slot === undefined) return { owner: `buffer ${buffer}`, begin: 0, end: 1 };
    const { use, bytes } = planned.slots[slot] as Plan["slots"][number];
    if (bytes < bytesOf(lowered.buffers.get(buffer) as BufferInfo)) throw new Error(`buffer ${buffer} is larger than its slot`);
    if (use.kind !== "scratch") return { owner: `slot ${slot}`, begin: 0, end: bytes };
    if (use.offset + bytes > planned.scratchBytes) throw new Error(`slot ${slot} reaches beyond the scratch`);
    if (isInBlocks(planned) && (use.offset % planned.blockBytes) + bytes > planned.blockBytes)
      throw new Error(`slot ${slot} reaches beyond its block`);
    return { owner: "scratch", begin: use.offset, end: use.offset + bytes };
  };
  const regions = new Map([...lowered.buffers.keys()].map((buffer) => [buffer, regionOf(buffer)]));
  const region = (buffer: number): Region => regions.get(buffer) as Region;
  const overlap = (a: Region, b: Region): boolean => a.owner === b.owner && a.begin < b.end && b.begin < a.end;
  const isEmpty = (buffer: number): boolean => lowered.buffers.get(buffer)?.length === 0;

  const content = new Map<number, string>();
  /** Texts grow with depth, so a hash stands for each. */
  const name = (text: string): string => createHash("sha1").update(text).digest("base64");
  /** A buffer that nothing was written to is what lies in its place: a plan drops copies of what is there already. */
  const lyingThere = (buffer: number): string | undefined => {
    const { owner, begin, end } = region(buffer);
    const other = [...content.keys()].find((each) => {
      const place = region(each);
      return place.owner === owner && place.begin === begin && place.end === end;
    });
    return other === undefined ? undefined : content.get(other);
  };
  const read = (buffer: number): string => (isEmpty(buffer) ? "nothing" : (content.get(buffer) ?? lyingThere(buffer) ?? `lost ${buffer}`));
  const kernel = (step: Kernel): void => {
    // What nobody needs is computed by nobody: a kernel without stores may read what it likes.
    if (step.stores.length === 0) return;
    const loads = loadsOf(step);
    const texts = loads.map(({ buffer, index }) => `${read(buffer)}[${index.key}]`);
    const written = new Set(step.stores.map(({ buffer }) => buffer).filter((buffer) => !isEmpty(buffer)));
    for (const { buffer, index, inner } of step.stores) {
      const inPlace = step.kind === "map" || (step.kind === "row" && inner) || step.kind === "matmul";
      const here = (other: number): boolean => !isEmpty(other) && overlap(region(other), region(buffer));
      const read = loads.find((load) => here(load.buffer) && (!inPlace || load.index.key !== index.key));
      const other = [...written].find((each) => each !== buffer && here(each));
      if (read !== undefined) throw new Error(`a kernel writes ${buffer} over ${read.buffer} while it reads it`);
      if (other !== undefined) throw new Error(`a kernel writes ${buffer} and ${other} to one place`);
    }
    const copies = new Map(step.stores.map(({ buffer, value }) => [buffer, value.kind === "load" ? read(value.buffer) : ""]));
    for (const buffer of written) {
      for (const other of content.keys()) if (overlap(region(other), region(buffer))) content.delete(other);
    }
    const isCopy = step.kind === "map" && step.stores.every(({ index, value }) => value.kind === "load" && value.index.key === index.key);
    for (const buffer of written) {
      content.set(buffer, isCopy ? (copies.get(buffer) as string) : name(`${step.label} → ${buffer}: ${texts.join(", ")}`));
    }
  };
  const run = (steps: readonly Step[]): void => {
    for (const step of steps) {
      if (step.kind !== "loop") kernel(step);
      else for (let i = 0; i < 2; i++) run(step.body);
    }
  };

  for (const [i, buffer] of lowered.inputs.entries()) if (buffer !== undefined) content.set(buffer, `input ${i}`);
  run((planned ?? lowered).steps);
  if (planned !== undefined) {
    if (new Set(planned.outputs).size !== planned.outputs.length) throw new Error("two outputs share a slot");
    for (const [i, buffer] of lowered.outputs.entries()) {
      if (planned.outputs[i] !== planned.slotOf.get(buffer)) throw new Error(`output ${i} is said to be elsewhere`);
    }
  }
  const kept = lowered.inputs.filter((buffer, i): buffer is number => buffer !== undefined && !donated[i]);
  return [...lowered.outputs, ...kept].map(read);
}

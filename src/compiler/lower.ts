import { isHalf, summableDtype } from "../ir/dtype.js";
import type { Graph, GraphNode, LoopNode, OperationNode, ResultNode } from "../ir/graph.js";
import { add, flatten, type IndexExpression, literal, variable, zero } from "../ir/index-expression.js";
import type { PrimitivesWithTag } from "../ir/primitives.js";
import { isRowUpdate } from "../ir/row-update.js";
import { sizeOf } from "../ir/shape.js";
import type { AccessMaps } from "./access.js";
import { attentionKernel } from "./attention.js";
import { coordinatesIn, innerLoop, isPerRow, isReduction, outerLoop } from "./domain.js";
import type { Fused } from "./fuse.js";
import type { CallGroup, FusionGroup, LoopGroup, MapGroup, MatmulGroup, RowGroup, ScatterGroup } from "./groups.js";
import { loopStep, relocate } from "./loop-steps.js";
import {
  argumentsOf,
  type BinsKernel,
  type BufferInfo,
  type Kernel,
  kernelsOf,
  type Lowered,
  type Reducer,
  type Reduction,
  type ScatterKernel,
  type Step,
  type Store,
  type Value,
} from "./program.js";
import { rowUpdateKernels } from "./row-update.js";
import { Scalars } from "./scalars.js";

/**
 * Lowering: each fusion group becomes one kernel, loops with a scalar computation inside (scalars.ts). A member is stored where another
 * kernel or the caller reads it; who does is known when all kernels have been drafted.
 *
 *   group: m = mul(s, 1/n), d = sub(x, expand(m))        row: for o < 4
 *   over o < 4, r < 6; s = sum(x)                   →      sum over r < 6 of load x[6·o + r]       register 0
 *   d is the result                                        for r < 6: store d[6·o + r] = x[6·o + r] − register 0 · 1/n
 *
 * Buffers are numbered like the nodes that they hold.
 */
export function lower(graph: Graph, { accesses, groups }: Fused, lowerBody: LowerBody = noLoops, depth = 0): Lowered {
  const { nodes } = graph;
  const node = (position: number): GraphNode => nodes[position] as GraphNode;
  const readOutside = new Set(graph.outputs);
  const home = new Map<number, FusionGroup>();
  for (const group of groups) for (const member of group.members) home.set(member, group);
  /** The first number of the two lists by which each sum into bins finds its entries. */
  const lists = new Map<FusionGroup, number>();
  let free = nodes.length;
  for (const group of groups) {
    if (group.kind !== "scatter") continue;
    lists.set(group, free);
    free += 2;
  }
  const drafts = groups.flatMap((group) =>
    group.kind === "loop" || group.kind === "call" ? [] : [draft(graph, accesses, group, lists.get(group))],
  );
  for (const made of drafts) {
    const { group } = made;
    for (const value of "bins" in made ? [...made.values, ...made.bins.values] : made.values)
      if (value.kind === "load" && home.get(value.buffer) !== group) readOutside.add(value.buffer);
  }
  for (const group of groups) {
    if (group.kind === "call") for (const read of accesses.ofCall(group.members[0] as number).nodes) readOutside.add(read);
    if (group.kind !== "loop") continue;
    const [loop, ...results] = group.members as [number, ...number[]];
    for (const read of [...accesses.ofLoop(loop).nodes, ...results]) readOutside.add(read);
  }

  const stepOf = new Map<FusionGroup, Step>();
  /** What runs before the step of a group, for it. */
  const before = new Map<FusionGroup, Kernel>();
  const buffers = new Map<number, BufferInfo>();
  const after = new Map<Kernel, readonly number[]>();
  for (const made of drafts) {
    const { members } = made.group;
    if (members.length === 1 && sizeOf(node(members[0] as number).shape) === 0) continue;
    stepOf.set(made.group, finish(graph, made, readOutside));
    if (!("bins" in made)) continue;
    const { bins } = made;
    before.set(made.group, bins);
    const [starts, order] = bins.stores as readonly [Store, Store];
    buffers.set(starts.buffer, { dtype: "i32", length: bins.bin.extent + 2 });
    buffers.set(order.buffer, { dtype: "i32", length: bins.entry.extent });
  }
  for (const group of groups) {
    if (group.kind !== "call") continue;
    if (isRowUpdate(node(group.members[0] as number))) {
      const [copy, update] = rowUpdateKernels(graph, accesses, group.members);
      if (copy !== undefined) before.set(group, copy);
      if (update !== undefined) stepOf.set(group, update);
      continue;
    }
    stepOf.set(
      group,
      attentionKernel(graph, accesses, group.members, (result) => readOutside.has(result)),
    );
  }
  nodes.forEach((each, i) => {
    if (each.kind === "input" || readOutside.has(i)) buffers.set(i, { dtype: each.dtype, length: sizeOf(each.shape) });
  });
  /** The buffers in which loops begin with what they carry, and those of the results that these become. */
  const becomes = new Map<number, number>();
  for (const group of groups) {
    if (group.kind !== "loop") continue;
    const [position, ...members] = group.members as [number, ...number[]];
    const loop = node(position) as LoopNode;
    const results: (number | undefined)[] = [];
    for (const member of members) results[(node(member) as ResultNode).index] = member;
    const inputs = accesses.ofLoop(position).nodes.map((input, k) => {
      const result = k < loop.carried ? results[k] : undefined;
      if (result === undefined) return input;
      becomes.set(input, result);
      buffers.delete(input);
      return result;
    });
    const lowered = loopStep(loop, lowerBody(loop.body, depth + 1), { inputs, results, free, depth });
    for (const [buffer, info] of lowered.buffers) {
      buffers.set(buffer, info);
      free = Math.max(free, buffer + 1);
    }
    for (const [kernel, earlier] of lowered.after) after.set(kernel, earlier);
    if (lowered.step !== undefined) stepOf.set(group, lowered.step);
  }

  const inputs: (number | undefined)[] = new Array(graph.inputCount).fill(undefined);
  nodes.forEach((each, i) => {
    if (each.kind === "input") inputs[each.input] = i;
  });
  for (const group of groups) {
    const step = stepOf.get(group);
    const [kernel] = step === undefined ? [] : kernelsOf([step]);
    if (kernel === undefined || group.after.length === 0) continue;
    // A node that only its own kernel reads has no buffer, but something that this kernel stores has.
    const written = group.after.flatMap((earlier) => {
      const from = stepOf.get(home.get(earlier) as FusionGroup);
      if (from === undefined || from.kind === "loop") return from === undefined ? [] : [earlier];
      return (from.stores.find(({ buffer }) => buffer === earlier) ?? from.stores[0])?.buffer ?? [];
    });
    if (written.length === 0) continue;
    after.set(kernel, [...new Set([...(after.get(kernel) ?? []), ...written])]);
    const first = before.get(group);
    if (first !== undefined) after.set(first, written);
  }
  const steps = groups.flatMap((group): Step[] => [before.get(group) ?? [], stepOf.get(group) ?? []].flat());
  return renamed({ steps, buffers, inputs, outputs: graph.outputs, after }, becomes);
}

/** Lowers the body of a loop that `depth` loops are around, itself included. */
export type LowerBody = (body: Graph, depth: number) => Lowered;

const noLoops: LowerBody = () => {
  throw new Error("the body of a loop is lowered by compileGraph");
};

/** A program with other numbers for some of its buffers. */
function renamed(lowered: Lowered, numbers: ReadonlyMap<number, number>): Lowered {
  if (numbers.size === 0) return lowered;
  const numberOf = (buffer: number): number => numbers.get(buffer) ?? buffer;
  const after = new Map<Kernel, readonly number[]>();
  const steps = relocate(
    lowered.steps,
    (buffer) => ({ buffer: numberOf(buffer), offset: zero }),
    (from, to) => {
      const earlier = lowered.after?.get(from);
      if (earlier !== undefined) after.set(to, earlier.map(numberOf));
    },
  );
  return { ...lowered, steps, after };
}

/** What a member comes to, and its row-major place. */
interface Result {
  readonly member: number;
  readonly value: Value;
  readonly index: IndexExpression;
  /** Whether the inner loop computes it. */
  readonly inner: boolean;
}

/** A kernel of which all is known but what of it is stored. */
type Draft = { readonly values: readonly Value[]; readonly results: readonly Result[] } & (
  | { readonly group: MapGroup | RowGroup; readonly reductions: readonly Reduction[] }
  | { readonly group: MatmulGroup; readonly operands: readonly [a: Load, b: Load] }
  | (Pick<ScatterKernel, "from" | "to" | "order" | "value"> & { readonly group: ScatterGroup; readonly bins: BinsKernel })
);

type Load = Value & { kind: "load" };

function draft(graph: Graph, accesses: AccessMaps, group: Exclude<FusionGroup, LoopGroup | CallGroup>, lists = 0): Draft {
  const scalars = new Scalars(graph, accesses.materialized, new Set(group.members));
  switch (group.kind) {
    case "map":
    case "row":
      return draftLoops(graph, group, scalars);
    case "matmul":
      return draftMatmul(graph, accesses, group, scalars);
    case "scatter":
      return draftScatter(graph, group, scalars, draftBins(graph, accesses, group, lists));
  }
}

const reducers: { readonly [P in PrimitivesWithTag<"reduce">]: Reducer } = {
  sum: "sum",
  maxReduce: "max",
  minReduce: "min",
  argmax: "argmax",
  argmin: "argmin",
};

function draftLoops(graph: Graph, group: MapGroup | RowGroup, scalars: Scalars): Draft {
  const { domain } = group;
  const reductions: Reduction[] = [];
  const results = group.members.map((member): Result => {
    const node = graph.nodes[member] as GraphNode;
    const perRow = isPerRow(node, domain);
    const index = perRow ? domain.row : domain.full;
    if (node.kind === "operation" && isReduction(node)) {
      const input = node.inputs[0] as number;
      const value = scalars.at(input, coordinatesIn(domain, (graph.nodes[input] as GraphNode).shape, false));
      const register = scalars.register(member, node.dtype);
      reductions.push({ register: register.register, reducer: reducers[node.primitive], value, dtype: value.dtype });
      return { member, value: register, index, inner: false };
    }
    const value = scalars.compute(member, coordinatesIn(domain, node.shape, perRow));
    scalars.define(member, value);
    return { member, value, index, inner: group.kind === "row" && !perRow };
  });
  return { group, values: scalars.values, results, reductions };
}

function draftMatmul(graph: Graph, accesses: AccessMaps, group: MatmulGroup, scalars: Scalars): Draft {
  const [product, ...epilogue] = group.members as [number, ...number[]];
  const load = ({ node, index }: { node: number; index: IndexExpression }): Load =>
    scalars.load(node, index, (graph.nodes[node] as GraphNode).dtype);
  const operands = accesses.ofMatmul(product, group.loops).accesses.map(load) as [Load, Load];
  const { shape, dtype } = graph.nodes[product] as GraphNode;
  const coordinates = group.loops.result;
  const index = flatten(coordinates, shape);
  const domain = { ...group.domain, coordinates, full: index };
  // Sums of halves are rounded once, whether what follows is computed here or elsewhere.
  const sum = scalars.register(product, summableDtype(dtype));
  const value = isHalf(dtype) ? scalars.operation("cast", [sum], dtype) : sum;
  scalars.define(product, value);
  const results: Result[] = [{ member: product, value, index, inner: false }];
  for (const member of epilogue) {
    const value = scalars.compute(member, coordinatesIn(domain, (graph.nodes[member] as GraphNode).shape, false));
    scalars.define(member, value);
    results.push({ member, value, index, inner: false });
  }
  return { group, values: scalars.values, results, operands };
}

/** The counting sort for a sum into bins, whose lists are buffers `starts` and the one after it. */
function draftBins(graph: Graph, { materialized }: AccessMaps, { members, loops }: ScatterGroup, starts: number): BinsKernel {
  const scalars = new Scalars(graph, materialized, new Set(members));
  const node = graph.nodes[members[0] as number] as OperationNode<"scatterAdd">;
  const bin = scalars.at(node.inputs[1] as number, loops.index);
  const target = bin.dtype === "i32" ? bin : scalars.operation("cast", [bin], "i32");
  const list = (buffer: number): Store => ({ buffer, index: zero, value: target, inner: false });
  const stores = [list(starts), list(starts + 1)];
  return { kind: "bins", label: "order by bins", values: scalars.values, stores, bin: loops.bin, entry: loops.entry, target };
}

function draftScatter(graph: Graph, group: ScatterGroup, scalars: Scalars, bins: BinsKernel): Draft {
  const [member] = group.members as [number];
  const node = graph.nodes[member] as OperationNode<"scatterAdd">;
  const { bin, place, values, result } = group.loops;
  const [starts, order] = bins.stores as readonly [Store, Store];
  const start = variable(bin.name, bin.extent);
  const results = [{ member, value: scalars.register(member, node.dtype), index: result, inner: false }];
  const from = scalars.load(starts.buffer, start, "i32");
  const to = scalars.load(starts.buffer, add(start, literal(1)), "i32");
  const at = scalars.load(order.buffer, variable(place.name, place.extent), "i32");
  const value = scalars.at(node.inputs[0] as number, values);
  return { group, values: scalars.values, results, bins, from, to, order: at, value };
}

function finish(graph: Graph, made: Draft, readOutside: ReadonlySet<number>): Kernel {
  const { group, values, results } = made;
  const stores: Store[] = results
    .filter(({ member }) => readOutside.has(member))
    .map(({ member, value, index, inner }) => ({ buffer: member, index, value, inner }));
  const base = { label: group.members.map((member) => nameOf(graph.nodes[member] as GraphNode)).join(" "), values, stores };
  if ("operands" in made) {
    const { batch, m, n, k } = made.group.loops;
    const [a, b] = made.operands;
    return { kind: "matmul", ...base, a, b, batch, m, n, k };
  }
  if ("bins" in made) {
    const { bin, column, entry, place } = made.group.loops;
    const { from, to, order, value } = made;
    return { kind: "scatter", ...base, bin, column, entry, place, from, to, order, value };
  }
  const { domain } = made.group;
  const outer = { name: outerLoop, extent: domain.outer };
  if (made.group.kind === "map") return { kind: "map", ...base, outer };
  const inner = { name: innerLoop, extent: domain.inner };
  return { kind: "row", ...base, outer, inner, stages: stagesOf(values, made.reductions) };
}

const nameOf = (node: GraphNode): string => (node.kind === "operation" ? node.primitive : node.kind);

/** Groups reductions so that each group only needs the registers of earlier ones. */
function stagesOf(values: readonly Value[], reductions: readonly Reduction[]): Reduction[][] {
  // Arguments come before what is computed from them, and what a reduction reduces before its register.
  const level: number[] = [];
  const stageOf = ({ value }: Reduction): number => level[value.id] as number;
  const byRegister = new Map(reductions.map((reduction) => [reduction.register, reduction]));
  for (const value of values) {
    const after = value.kind === "register" ? stageOf(byRegister.get(value.register) as Reduction) + 1 : 0;
    level[value.id] = argumentsOf(value, values).reduce((most, { id }) => Math.max(most, level[id] as number), after);
  }
  const stages: Reduction[][] = [];
  for (const reduction of reductions) {
    const stage = stageOf(reduction);
    while (stages.length <= stage) stages.push([]);
    stages[stage]?.push(reduction);
  }
  return stages;
}

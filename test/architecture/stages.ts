import { kernelSize } from "../../src/compiler/kernel-size.js";
import { readBuffers } from "../../src/compiler/liveness.js";
import type { Plan, Slot } from "../../src/compiler/plan.js";
import { type Kernel, kernelsOf, type Value } from "../../src/compiler/program.js";
import type { Graph, GraphNode } from "../../src/ir/graph.js";
import type { Atom, IndexExpression } from "../../src/ir/index-expression.js";

/** The stages of a compilation as text, for docs/architecture.md. */

const nameOf = (graph: Graph, position: number): string => {
  const node = graph.nodes[position] as GraphNode;
  return `%${position} ${node.kind === "operation" ? node.primitive : node.kind}`;
};

/** `group 0  matmul  computes %5 dot, %9 add`, and what its members read in turn that has no place of its own. */
export function describeGroups(graph: Graph, groups: readonly { kind: string; members: readonly number[] }[]): string {
  return groups
    .map(({ kind, members }, i) => `group ${i}  ${kind.padEnd(7)} ${members.map((member) => nameOf(graph, member)).join(", ")}`)
    .join("\n");
}

const atom = (x: Atom): string =>
  x.kind === "variable"
    ? x.name
    : x.kind === "dynamic"
      ? `v${x.handle}`
      : `(${describeIndex(x.of)} ${x.kind === "quotient" ? "/" : "mod"} ${x.by})`;

/** `2·m + k`. */
function describeIndex({ constant, terms }: IndexExpression): string {
  const parts = terms.map((term) => (term.factor === 1 ? atom(term.atom) : `${term.factor}·${atom(term.atom)}`));
  if (constant !== 0 || parts.length === 0) parts.push(String(constant));
  return parts.join(" + ");
}

function describeValue(value: Value): string {
  const name = ({ id }: Value): string => `v${id}`;
  switch (value.kind) {
    case "load":
      return `load %${value.buffer}[${describeIndex(value.index)}]`;
    case "scalar":
      return `scalar ${value.scalar}`;
    case "const":
      return String(value.value);
    case "index":
      return describeIndex(value.index);
    case "inside":
      return `${value.low} ≤ ${describeIndex(value.index)} < ${value.high}`;
    case "register":
      return `register ${value.register}`;
    case "threefry":
      return `threefry(${value.key.map(name).join(", ")}, ${describeIndex(value.counter)})`;
    case "operation":
      return `${value.operation}(${value.args.map(name).join(", ")})`;
  }
}

/** The loops, what they reduce, the scalar computation and the stores of kernels. */
export function describeKernels(kernels: readonly Kernel[]): string {
  return kernels
    .map((kernel, i) => {
      const lines = [`kernel ${i}  ${kernel.kind} ${kernelSize(kernel)}`];
      if (kernel.kind === "matmul") lines.push(`  register 0 = sum over k of v${kernel.a.id} · v${kernel.b.id}`);
      for (const value of kernel.values) lines.push(`  v${value.id} = ${describeValue(value)}`);
      for (const { buffer, index, value } of kernel.stores) lines.push(`  store %${buffer}[${describeIndex(index)}] = v${value.id}`);
      return lines.join("\n");
    })
    .join("\n");
}

const use = ({ use }: Slot): string =>
  use.kind === "scratch" ? `scratch from byte ${use.offset}` : `${use.kind} ${use.kind === "input" ? use.input : use.output}`;

/** The steps in order, and where the buffers are that they read and write. */
export function describePlan({ steps, slots, slotOf }: Plan): string {
  const slot = (buffer: number): number => slotOf.get(buffer) as number;
  const held = (index: number): string =>
    [...slotOf]
      .filter(([, at]) => at === index)
      .map(([buffer]) => `%${buffer}`)
      .join(" ");
  return [
    ...kernelsOf(steps).map((kernel, i) => {
      const read = [...readBuffers(kernel)].map(slot).join(" ");
      return `step ${i}  reads slots ${read}, writes slot ${kernel.stores.map(({ buffer }) => slot(buffer)).join(" ")}`;
    }),
    ...slots.map((each, i) => `slot ${i}  ${String(each.bytes).padStart(2)} bytes  ${held(i).padEnd(4)} ${use(each)}`),
  ].join("\n");
}

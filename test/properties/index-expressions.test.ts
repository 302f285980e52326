import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { index as printWgsl } from "../../src/backend/webgpu/wgsl.js";
import { simplify } from "../../src/compiler/simplify.js";
import type { GraphNode } from "../../src/ir/graph.js";
import { flatten, type IndexExpression, literal, substitute, unflatten, variable, zero } from "../../src/ir/index-expression.js";
import { type Guard, operandAccesses } from "../../src/ir/operand-accesses.js";
import { type ViewChain, viewChains } from "../support/arbitraries.js";
import { definitions } from "../support/definitions.js";
import { fuzzSeed } from "../support/fuzz.js";
import { GraphBuilder, type HostTensor, hostTensor } from "../support/graphs.js";
import { law } from "../support/law.js";
import { coordinates } from "../support/views.js";

const sizeOf = (shape: readonly number[]): number => shape.reduce((n, extent) => n * extent, 1);
type Values = Readonly<Record<string, number>>;

/** The number that an expression has where its variables have these values. */
function evaluate(x: IndexExpression, values: Values): number {
  return x.terms.reduce((sum, { factor, atom }) => {
    if (atom.kind === "variable") return sum + factor * (values[atom.name] as number);
    if (atom.kind === "dynamic") throw new Error("views have no data");
    const of = evaluate(atom.of, values);
    return sum + factor * (atom.kind === "quotient" ? Math.floor(of / atom.by) : of % atom.by);
  }, x.constant);
}

const holds = ({ index, low, high }: Guard, values: Values): boolean => {
  const found = evaluate(index, values);
  return found >= low && found < high;
};

const outside = -1;

/** The nodes of a chain of views over one input; extents stay small. */
function chainOf({ shape, steps }: ViewChain): GraphNode[] {
  const builder = new GraphBuilder();
  let top = builder.input(
    hostTensor(
      "i32",
      shape,
      Array.from({ length: sizeOf(shape) }, (_, i) => i),
    ),
  );
  for (const { view, a, b } of steps) {
    const current = builder.at(top).shape;
    const axes = current.map((_, i) => i);
    const axis = a % Math.max(1, axes.length);
    const pick = <T>(list: readonly T[]): T => list[b % list.length] as T;
    switch (view % 6) {
      case 0: {
        // Merge everything, then cut off a divisor in front.
        const size = sizeOf(current);
        const divisor = pick(Array.from({ length: size }, (_, i) => i + 1).filter((d) => size % d === 0));
        top = builder.operation("reshape", [top], { shape: a % 2 === 0 ? [divisor, size / divisor] : [1, divisor, size / divisor, 1] });
        break;
      }
      case 1:
        // Turned and mirrored, which do not commute.
        top = builder.operation("permute", [top], { order: (a % 2 ? axes : [...axes].reverse()).map((i) => (i + b) % axes.length) });
        break;
      case 2:
        if (sizeOf(current) < 60) {
          const thin = builder.operation("reshape", [top], { shape: [...current.slice(0, axis), 1, ...current.slice(axis)] });
          top = builder.operation("expand", [thin], { shape: [...current.slice(0, axis), 2 + (b % 2), ...current.slice(axis)] });
        }
        break;
      case 3: {
        const starts = current.map((extent, i) => (i === axis && extent > 1 ? b % (extent - 1) : 0));
        top = builder.operation("slice", [top], { starts, stops: current, steps: axes.map((i) => (i === axis ? 1 + (a % 3) : 1)) });
        break;
      }
      case 4:
        top = builder.operation("flip", [top], { axes: axes.filter((i) => (b >> i) & 1) });
        break;
      default:
        if (sizeOf(current) < 60) {
          top = builder.operation("pad", [top], {
            low: axes.map((i) => (i === axis ? b % 3 : 0)),
            high: axes.map((i) => (i === axis ? a % 2 : 0)),
            value: outside,
          });
        }
    }
  }
  return [...builder.build([top]).graph.nodes];
}

/** Every element of the last node, by the definitions of the primitives. */
function plain(nodes: readonly GraphNode[]): number[] {
  const values: HostTensor[] = [];
  for (const node of nodes) {
    if (node.kind !== "operation") {
      values.push(
        hostTensor(
          "i32",
          node.shape,
          Array.from({ length: sizeOf(node.shape) }, (_, i) => i),
        ),
      );
      continue;
    }
    const operands = node.inputs.map((input) => values[input]) as unknown as readonly [HostTensor, HostTensor, HostTensor];
    const define = definitions[node.primitive] as (o: typeof operands, p: unknown, r: GraphNode) => (c: readonly number[]) => number;
    const at = define(operands, node.params, node);
    values.push(hostTensor("i32", node.shape, [...coordinates(node.shape)].map(at)));
  }
  return [...(values[values.length - 1] as HostTensor).data];
}

/** The place in the input that the last node reads at some coordinates, and the conditions on the way, innermost last. */
function composed(nodes: readonly GraphNode[], start: readonly IndexExpression[]): { place: IndexExpression; guards: Guard[] } {
  let [position, at] = [nodes.length - 1, [...start]];
  const guards: Guard[] = [];
  for (;;) {
    const node = nodes[position] as GraphNode;
    if (node.kind !== "operation") return { place: flatten(at, node.shape), guards };
    const [reading] = operandAccesses(
      node,
      at,
      () => (nodes[node.inputs[0] as number] as GraphNode).shape,
      () => zero,
    );
    if (reading === undefined) throw new Error(`${node.primitive} is no view`);
    guards.push(...reading.guards);
    [position, at] = [node.inputs[0] as number, [...reading.coordinates]];
  }
}

const found = ({ place, guards }: ReturnType<typeof composed>, values: Values): number =>
  guards.every((guard) => holds(guard, values)) ? evaluate(place, values) : outside;

describe("an index expression through a random chain of views", () => {
  law(
    "views are copies",
    "Reading through any chain of views reads, at every place, the element that copying view after view would have put there.",
    () => {
      const property = fc.property(viewChains, (chain) => {
        const nodes = chainOf(chain);
        const { shape } = nodes[nodes.length - 1] as GraphNode;
        const reading = composed(
          nodes,
          shape.map((extent, i) => variable(`v${i}`, extent)),
        );
        const points = [...coordinates(shape)].map((c) => Object.fromEntries(c.map((value, i) => [`v${i}`, value])));
        expect(points.map((values) => found(reading, values))).toEqual(plain(nodes));
      });
      fc.assert(property, { seed: fuzzSeed(45), numRuns: 400 });
    },
  );

  it("reads the same from one loop over all elements, stays within its bounds, and prints as what it is", () => {
    const property = fc.property(viewChains, (chain) => {
      const nodes = chainOf(chain);
      const { shape } = nodes[nodes.length - 1] as GraphNode;
      const size = sizeOf(shape);
      const reading = composed(nodes, unflatten(variable("o", size), shape));
      const expected = plain(nodes);
      const printed = new Function(
        "o",
        `return ${printWgsl(reading.place)
          .replaceAll(/(\d+)u/g, "$1")
          .replaceAll(/\/ (\d+)/g, "/ $1 | 0")}`,
      ) as (o: number) => number;
      for (let o = 0; o < size; o++) {
        const value = found(reading, { o });
        expect(value).toBe(expected[o]);
        if (!reading.guards.every((guard) => holds(guard, { o }))) continue;
        expect(value >= reading.place.low && value <= reading.place.high).toBe(true);
        expect(printed(o)).toBe(value);
      }
    });
    fc.assert(property, { seed: fuzzSeed(46), numRuns: 400 });
  });

  it("with numbers put in for its variables is the number that it has there", () => {
    const property = fc.property(viewChains, fc.nat(10_000), (chain, choice) => {
      const nodes = chainOf(chain);
      const { shape } = nodes[nodes.length - 1] as GraphNode;
      const { place, guards } = composed(
        nodes,
        shape.map((extent, i) => variable(`v${i}`, extent)),
      );
      const points = [...coordinates(shape)];
      const point = points[choice % points.length] as readonly number[];
      const values = Object.fromEntries(point.map((value, i) => [`v${i}`, value]));
      if (!guards.every((guard) => holds(guard, values))) return;
      const put = substitute(place, new Map(point.map((value, i) => [`v${i}`, literal(value)])));
      expect([put.terms.length, put.constant]).toEqual([0, evaluate(place, values)]);
    });
    fc.assert(property, { seed: fuzzSeed(47), numRuns: 300 });
  });
});

describe("merging a random chain of views", () => {
  it("keeps every element", () => {
    const property = fc.property(viewChains, (chain) => {
      const nodes = chainOf(chain);
      const merged = simplify({ nodes, outputs: [nodes.length - 1], inputCount: 1, scalarCount: 0 });
      expect(merged.nodes.length).toBeLessThanOrEqual(nodes.length);
      expect(plain(merged.nodes.slice(0, (merged.outputs[0] as number) + 1))).toEqual(plain(nodes));
    });
    fc.assert(property, { seed: fuzzSeed(48), numRuns: 400 });
  });
});

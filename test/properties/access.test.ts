import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AccessMaps } from "../../src/compiler/access.js";
import { domainOf } from "../../src/compiler/domain.js";
import { fuse } from "../../src/compiler/fuse.js";
import type { FusionGroup } from "../../src/compiler/groups.js";
import { readBuffers } from "../../src/compiler/liveness.js";
import { lower } from "../../src/compiler/lower.js";
import { prepare } from "../../src/compiler/prepare.js";
import { type Kernel, kernelsOf } from "../../src/compiler/program.js";
import { simplify } from "../../src/compiler/simplify.js";
import type { Graph, GraphNode } from "../../src/ir/graph.js";
import { add, type IndexExpression, literal, scale } from "../../src/ir/index-expression.js";
import { sizeOf } from "../../src/ir/shape.js";
import { graphRecipes } from "../support/arbitraries.js";
import { barrierPicks, withBarriers } from "../support/barriers.js";
import { fuzzSeed } from "../support/fuzz.js";
import { GraphBuilder, hostTensor } from "../support/graphs.js";
import { law } from "../support/law.js";
import { loadsOf } from "../support/plans.js";
import { randomComputation } from "../support/random-graphs.js";

const floats = (b: GraphBuilder, ...shape: number[]): number => b.input(hostTensor("f32", shape, new Float32Array(sizeOf(shape))));

/** What the last node of a graph reads when it is computed in a domain, as texts; nothing but what is listed is materialized. */
function accessesOf(b: GraphBuilder, shape: readonly number[], axes: readonly number[], materialized: readonly number[] = []): string[] {
  const { nodes } = b.build([]).graph;
  const graph = { nodes, outputs: [nodes.length - 1], inputCount: 0, scalarCount: 0 };
  const maps = new AccessMaps(
    graph,
    nodes.map((_, i) => materialized.includes(i)),
  );
  return maps.in(nodes.length - 1, domainOf(shape, axes)).accesses.map(({ node, index }) => `${node} at ${index.key}`);
}

/** A place without the numbers of what it reads. */
const anonymous = (key: string): string => key.replace(/#-?\d+</g, "#<");

describe("the access map of a node", () => {
  it("leads through views that undo one another to the place of the loop itself", () => {
    const b = new GraphBuilder();
    const x = floats(b, 4, 6);
    const turned = b.operation("permute", [x], { order: [1, 0] });
    b.operation("neg", [b.operation("permute", [turned], { order: [1, 0] })], {});
    expect(accessesOf(b, [4, 6], [])).toEqual([`0 at ${domainOf([4, 6], []).full.key}`]);
  });

  it("has one place for what is read twice at it", () => {
    const b = new GraphBuilder();
    const x = floats(b, 4, 6);
    const flipped = b.operation("flip", [x], { axes: [1] });
    b.operation("mul", [flipped, b.operation("exp", [flipped], {})], {});
    expect(accessesOf(b, [4, 6], [])).toHaveLength(1);
  });

  it("has every place that is read under some guard, also where two coincide on the way there", () => {
    const b = new GraphBuilder();
    const turned = b.operation("permute", [floats(b, 3, 4)], { order: [1, 0] }); // [4, 3]
    const beside = b.operation("concat", [turned, turned], { axis: 1 }); // at [r, c] that at [r, c] or [r, c − 3]
    const padded = b.operation("pad", [turned], { low: [1, 0], high: [0, 3], value: 0 }); // at [r, c] that at [r − 1, c]
    b.operation("add", [beside, b.operation("slice", [padded], { starts: [0, 0], stops: [4, 6], steps: [1, 1] })], {});
    const [row, column] = domainOf([4, 6], []).coordinates as [IndexExpression, IndexExpression];
    const places = [add(scale(column, 4), row), add(scale(column, 4), row, literal(-12)), add(scale(column, 4), row, literal(-1))];
    expect(accessesOf(b, [4, 6], []).sort()).toEqual(places.map(({ key }) => `0 at ${key}`).sort());
  });

  it("reads the only element of an operand at 0, whatever the guard", () => {
    const b = new GraphBuilder();
    const x = floats(b, 4, 1);
    b.operation("concat", [x, b.operation("pad", [x], { low: [0, 2], high: [0, 0], value: 0 })], { axis: 1 });
    const [row] = domainOf([4, 4], []).coordinates as [IndexExpression, IndexExpression];
    expect(accessesOf(b, [4, 4], [])).toEqual([`0 at ${row.key}`]);
  });

  it("ends at what is materialized", () => {
    const b = new GraphBuilder();
    const y = b.operation("exp", [floats(b, 4, 6)], {});
    b.operation("neg", [b.operation("slice", [y], { starts: [0, 2], stops: [4, 6], steps: [1, 2] })], {});
    const [row, column] = domainOf([4, 2], []).coordinates as [IndexExpression, IndexExpression];
    const place = add(scale(row, 6), scale(column, 2), literal(2));
    expect(accessesOf(b, [4, 2], [], [y])).toEqual([`${y} at ${place.key}`]);
  });

  it("reads per row what has one value for each turn of the outer loop", () => {
    const b = new GraphBuilder();
    const sums = b.operation("sum", [floats(b, 4, 6)], { axes: [1] });
    b.operation("recip", [sums], {});
    expect(accessesOf(b, [4, 6], [1], [sums])).toEqual([`${sums} at ${domainOf([4, 6], [1]).row.key}`]);
  });

  it("reads the index of a gather, and the table wherever that leads", () => {
    const b = new GraphBuilder();
    const index = b.input(hostTensor("i32", [3], [0, 1, 2]));
    b.operation("gather", [floats(b, 5, 2), index], {});
    const [first, second] = accessesOf(b, [3, 2], []).map(anonymous);
    expect(first).toMatch(/^0 at /);
    expect(second).toMatch(/^1 at .*#<5/);
  });
});

describe("kernels", () => {
  /** The places that the members of a group read outside of it, by access maps. In products the loops have other names. */
  const expectedOf = (graph: Graph, accesses: AccessMaps, group: FusionGroup): string[] => {
    const inside = new Set(group.members);
    const found = group.members.flatMap((member) => {
      switch (group.kind) {
        case "map":
        case "row":
          return accesses.in(member, group.domain).accesses;
        case "matmul":
          return isProduct(graph.nodes[member])
            ? accesses.ofMatmul(member, group.loops).accesses
            : accesses.in(member, group.domain).accesses;
        case "scatter":
          return accesses.ofScatter(member, group.loops).accesses;
        case "loop":
        case "call":
          return [];
      }
    });
    return unique(
      found
        .filter(({ node }) => !inside.has(node))
        .map(({ node, index }) => (group.kind === "matmul" ? `${node}` : `${node}[${anonymous(index.key)}]`)),
    );
  };
  const isProduct = (node: GraphNode | undefined): boolean => node?.kind === "operation" && node.primitive === "dot";
  const unique = (texts: readonly string[]): string[] => [...new Set(texts)].sort();

  law(
    "fused kernels read what their members read",
    "A kernel loads what the access maps of the operations fused into it say, and nothing else.",
    () => {
      const property = fc.property(graphRecipes, barrierPicks, fc.boolean(), (recipe, picks, fusing) => {
        const graph = withBarriers(randomComputation(recipe).computation.graph, picks);
        const ready = prepare(fusing ? simplify(graph) : graph, { minRows: 64, maxOperands: 4, expandScatter: !fusing });
        const fused = fuse(ready, { fuse: fusing, maxBuffers: 7 });
        const groups = fused.groups.filter(({ members }) => members.some((member) => sizeOf((ready.nodes[member] as GraphNode).shape) > 0));
        const kernels = kernelsOf(lower(ready, fused).steps);
        // The sort that finds the entries of bins is part of the sum into them, and its lists hold no node.
        const values = kernels.flatMap((kernel, k) => {
          const before = kernels[k - 1];
          return kernel.kind === "bins" ? [] : [[...(before?.kind === "bins" ? before.values : []), ...kernel.values]];
        });
        expect(values).toHaveLength(groups.length);
        groups.forEach((group, k) => {
          const loads = (values[k] ?? []).flatMap((value) => (value.kind === "load" && value.buffer < ready.nodes.length ? [value] : []));
          const found = loads.map(({ buffer, index }) => (group.kind === "matmul" ? `${buffer}` : `${buffer}[${anonymous(index.key)}]`));
          expect(unique(found)).toEqual(expectedOf(ready, fused.accesses, group));
        });
      });
      fc.assert(property, { seed: fuzzSeed(62), numRuns: 300 });
    },
  );

  law("fused kernels fit", "A kernel of several operations touches at most as many buffers as a device binds.", () => {
    const maxBuffers = 4;
    let full = 0;
    const property = fc.property(graphRecipes, (recipe) => {
      const ready = prepare(simplify(randomComputation(recipe).computation.graph), { minRows: 64, maxOperands: 3, expandScatter: false });
      for (const kernel of kernelsOf(lower(ready, fuse(ready, { fuse: true, maxBuffers })).steps)) {
        if ((kernel.kind !== "map" && kernel.kind !== "row") || !kernel.label.includes(" ")) continue;
        const touched = new Set([...loadsOf(kernel), ...kernel.stores].map(({ buffer }) => buffer)).size;
        expect(touched, kernel.label).toBeLessThanOrEqual(maxBuffers);
        if (touched === maxBuffers) full++;
      }
    });
    fc.assert(property, { seed: fuzzSeed(63), numRuns: 200 });
    expect(full).toBeGreaterThan(20);
  });

  it("read what only a later reduction of their rows needs", () => {
    const b = new GraphBuilder();
    const [x, y] = [floats(b, 64, 8), floats(b, 64, 8)];
    const most = b.operation("expand", [b.operation("reshape", [b.operation("maxReduce", [x], { axes: [1] })], { shape: [64, 1] })], {
      shape: [64, 8],
    });
    const product = b.operation("mul", [b.operation("sub", [x, most], {}), y], {});
    const graph = simplify(b.build([b.operation("sum", [product], { axes: [1] })]).graph);
    const kernels = kernelsOf(lower(graph, fuse(graph, { fuse: true, maxBuffers: 7 })).steps);
    expect(kernels.map(({ kind }) => kind)).toEqual(["row"]);
    expect([...readBuffers(kernels[0] as Kernel)].sort()).toEqual([x, y]);
  });
});

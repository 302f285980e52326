import { type CallNode, type Graph, type GraphNode, inputsOf, type OperationNode } from "../ir/graph.js";
import { dynamicIndex, flatten, type IndexExpression } from "../ir/index-expression.js";
import { isView, operandAccesses, readsInPlace, viewAccess } from "../ir/operand-accesses.js";
import type { Shape } from "../ir/shape.js";
import { operandsOfCall } from "./call-operands.js";
import { coordinatesIn, type Domain, isPerRow, isReduction, type MatmulLoops, type ScatterLoops } from "./domain.js";

/**
 * Access maps: for a node that is computed in given loops, which materialized nodes are read at which index. Found by a walk down from
 * the node that maps coordinates at every view, pad, concat and gather (operand-accesses.ts) and ends at what is materialized.
 *
 *   a: [4, 6] and b: [6] materialized         y at [o / 6, o mod 6] reads
 *   p = permute(a, [1, 0])                       a at 6·(o / 6) + o mod 6 = o
 *   q = permute(p, [1, 0])                →      b at o mod 6
 *   y = add(q, expand(b))
 *
 * Equal places have equal keys (index-expression.ts), so "y reads a where its own loop is at" is a comparison of two texts.
 */

/** One place of a node that has a buffer or a register. */
export interface Access {
  readonly node: number;
  /** Row-major. What a gather read is a dynamic index whose handle is −1 − the position of the gather. */
  readonly index: IndexExpression;
}

/** What a node accesses when it is computed in given loops. */
export interface AccessMap {
  /** Whether it is computed once for each turn of the outer loop; reductions, which run through the inner one, are not. */
  readonly inOuterLoop: boolean;
  readonly accesses: readonly Access[];
  /** The nodes of `accesses`, which may repeat. */
  readonly nodes: readonly number[];
  /** Materialized nodes that a barrier on the way wants computed before this one, whether or not it reads them. */
  readonly after: readonly number[];
}

/** What the kernel of a call accesses: by operand those that it does not compute itself, and all. */
export interface CallAccessMap extends AccessMap {
  readonly operands: readonly (Access | undefined)[];
}

/** The materialized node or input below a chain of views, and its place that an element of the chain's upper end is. */
export function accessThroughViews(
  graph: Graph,
  materialized: readonly boolean[],
  position: number,
  coordinates: readonly IndexExpression[],
): Access {
  let [here, at] = [position, coordinates];
  for (;;) {
    const node = graph.nodes[here] as GraphNode;
    if (materialized[here] || !isView(node)) return { node: here, index: flatten(at, node.shape) };
    at = viewAccess(node, at, shapesOf(graph, node)).coordinates;
    here = inputsOf(node)[0] as number;
  }
}

/** The shapes of a node's operands. */
export const shapesOf = (graph: Graph, node: GraphNode): ((operand: number) => Shape) => {
  const inputs = inputsOf(node);
  return (operand) => (graph.nodes[inputs[operand] as number] as GraphNode).shape;
};

const nothing: readonly number[] = [];

/** The access maps of a graph whose materialized nodes are known. Answers are kept. */
export class AccessMaps {
  private readonly known: Map<Domain, AccessMap>[] = [];
  private readonly matmuls: AccessMap[] = [];
  private readonly calls: CallAccessMap[] = [];
  private readonly makers: (readonly number[] | undefined)[] = [];

  constructor(
    private readonly graph: Graph,
    readonly materialized: readonly boolean[],
  ) {}

  /** What a node accesses in the loops of a domain. */
  in(position: number, domain: Domain): AccessMap {
    this.known[position] ??= new Map();
    const map = this.known[position].get(domain) ?? this.find(position, domain);
    this.known[position].set(domain, map);
    return map;
  }

  /** What a product accesses: one place of its first operand and one of its second. */
  ofMatmul(position: number, loops: MatmulLoops): AccessMap {
    this.matmuls[position] ??= this.findMatmul(position, loops);
    return this.matmuls[position];
  }

  private findMatmul(position: number, loops: MatmulLoops): AccessMap {
    const { inputs } = this.graph.nodes[position] as OperationNode;
    const accesses = inputs.map((input, side) => accessThroughViews(this.graph, this.materialized, input, loops.operands[side as 0 | 1]));
    const after = new Set(inputs.flatMap((input) => this.orderedThroughViews(input)));
    return { inOuterLoop: false, accesses, nodes: accesses.map(({ node }) => node), after: [...after] };
  }

  /** What a sum into bins accesses at each of its entries. */
  ofScatter(position: number, { values, index }: ScatterLoops): AccessMap {
    const node = this.graph.nodes[position] as OperationNode<"scatterAdd">;
    const walk = new Walk(this.graph, this.materialized, this);
    walk.read(node.inputs[0] as number, values);
    walk.read(node.inputs[1] as number, index);
    return walk.map(false);
  }

  /** What the kernel of a call accesses: `operands` are the places of those that it reads at its own, row-major buffers of others. */
  ofCall(position: number): CallAccessMap {
    this.calls[position] ??= this.findCall(position);
    return this.calls[position];
  }

  private findCall(position: number): CallAccessMap {
    const call = this.graph.nodes[position] as CallNode;
    const walk = new Walk(this.graph, this.materialized, this);
    const operands: Access[] = [];
    const after: number[] = [];
    operandsOfCall(this.graph, call).forEach((operand, i) => {
      const input = call.inputs[i] as number;
      if (operand.kind === "number" || operand.kind === "elements") {
        walk.read(input, operand.kind === "elements" ? operand.coordinates : []);
        return;
      }
      operands[i] = accessThroughViews(this.graph, this.materialized, input, operand.kind === "linear" ? operand.coordinates : []);
      after.push(...this.orderedThroughViews(input));
    });
    const numbers = walk.map(false);
    const accesses = [...operands.flatMap((access) => access ?? []), ...numbers.accesses];
    const nodes = accesses.map(({ node }) => node);
    return { inOuterLoop: false, accesses, operands, nodes, after: [...new Set([...after, ...numbers.after])] };
  }

  /** What a loop takes, at whatever places its body reads. */
  ofLoop(position: number): AccessMap {
    const inputs = inputsOf(this.graph.nodes[position] as GraphNode);
    const accesses = inputs.map((input) => accessThroughViews(this.graph, this.materialized, input, []));
    const after = new Set(inputs.flatMap((input) => this.orderedThroughViews(input)));
    return { inOuterLoop: false, accesses, nodes: accesses.map(({ node }) => node), after: [...after] };
  }

  private find(position: number, domain: Domain): AccessMap {
    const node = this.graph.nodes[position] as GraphNode;
    const walk = new Walk(this.graph, this.materialized, this);
    const inOuterLoop = !isReduction(node) && isPerRow(node, domain);
    if (isReduction(node)) {
      const input = inputsOf(node)[0] as number;
      walk.read(input, coordinatesIn(domain, (this.graph.nodes[input] as GraphNode).shape, false));
    } else walk.compute(position, coordinatesIn(domain, node.shape, inOuterLoop));
    return walk.map(inOuterLoop);
  }

  /** The materialized nodes that barriers in a chain of views want before what is read through it. */
  private orderedThroughViews(position: number): readonly number[] {
    let found: readonly number[] = nothing;
    for (let here = position; ; ) {
      const node = this.graph.nodes[here] as GraphNode;
      if (this.materialized[here] || !isView(node)) return found;
      if (node.kind === "barrier") found = [...found, ...this.orderedBy(here)];
      here = inputsOf(node)[0] as number;
    }
  }

  /** The materialized nodes that a barrier wants before what is read through it. */
  orderedBy(barrier: number): readonly number[] {
    return inputsOf(this.graph.nodes[barrier] as GraphNode)
      .slice(1)
      .flatMap((input) => this.makersOf(input));
  }

  /** The materialized nodes that must be there before a node is: itself, or those that it is computed from where it is read. */
  private makersOf(position: number): readonly number[] {
    const waiting = [position];
    const found = new Set<number>();
    const seen = new Set(waiting);
    const known = this.makers[position];
    if (known !== undefined) return known;
    for (let here = waiting.pop(); here !== undefined; here = waiting.pop()) {
      if (this.materialized[here]) found.add(here);
      else {
        for (const input of inputsOf(this.graph.nodes[here] as GraphNode)) {
          if (seen.has(input)) continue;
          seen.add(input);
          waiting.push(input);
        }
      }
    }
    this.makers[position] = [...found];
    return this.makers[position];
  }
}

/** One walk down from a node to what is materialized. */
class Walk {
  private readonly accesses: Access[] = [];
  private after: Set<number> | undefined;
  private readonly seen = new Set<string>();

  constructor(
    private readonly graph: Graph,
    private readonly materialized: readonly boolean[],
    private readonly maps: AccessMaps,
  ) {}

  map(inOuterLoop: boolean): AccessMap {
    const nodes = this.accesses.map(({ node }) => node);
    return { inOuterLoop, accesses: this.accesses, nodes, after: this.after === undefined ? nothing : [...this.after] };
  }

  /** Follows what is needed to compute a node, materialized or not. */
  compute(position: number, at: readonly IndexExpression[]): void {
    const node = this.graph.nodes[position] as GraphNode;
    if (node.kind === "barrier") {
      this.read(this.pass(position), at);
      return;
    }
    const inputs = inputsOf(node);
    if (readsInPlace(node)) {
      for (const input of inputs) this.read(input, at);
      return;
    }
    for (const { operand, coordinates } of operandAccesses(node, at, shapesOf(this.graph, node), (_, extent) =>
      dynamicIndex(-1 - position, extent),
    )) {
      this.read(inputs[operand] as number, coordinates);
    }
  }

  /** Follows what is needed to read a node. */
  read(position: number, at: readonly IndexExpression[]): void {
    let here = position;
    // Barriers may follow one another without end, so they are no matter for recursion.
    while (!this.materialized[here] && (this.graph.nodes[here] as GraphNode).kind === "barrier") here = this.pass(here);
    // Coordinates and not the place that they come to: where a guard keeps them from being read they are of no element, and two that
    // come to one place in this node may lead to others below it.
    const key = `${here}@${at.map((index) => index.key).join()}`;
    if (this.seen.has(key)) return;
    this.seen.add(key);
    const node = this.graph.nodes[here] as GraphNode;
    if (this.materialized[here] || node.kind === "input") this.accesses.push({ node: here, index: flatten(at, node.shape) });
    else this.compute(here, at);
  }

  /** The node below a barrier. */
  private pass(barrier: number): number {
    this.after ??= new Set();
    for (const node of this.maps.orderedBy(barrier)) this.after.add(node);
    return inputsOf(this.graph.nodes[barrier] as GraphNode)[0] as number;
  }
}

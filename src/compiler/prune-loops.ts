import { type Graph, type GraphNode, inputsOf, type LoopNode } from "../ir/graph.js";
import { prune } from "./simplify.js";

/**
 * Dead-code elimination through loops: a carried value or a stack that no result depends on is not computed, nor what only these need.
 * Marking from the results down (Cytron et al. 1991, § 7.1): a live result of a loop makes an output of its body live, and a live input of
 * the body that of the loop, and of a carried value the one that is carried on. The graph that is left has been pruned.
 *
 *   %2 = loop(%x, %y) { carries a, b; return add(a, b), mul(b, 2), sin(a) }        %2 = loop(%y) { carries b; return mul(b, 2) }
 *   return result 1(%2)                                                       →    return result 0(%2)
 */
export function pruneLoops(graph: Graph): Graph {
  if (!graph.nodes.some(({ kind }) => kind === "loop")) return prune(graph);
  return rebuilt(mark(graph));
}

/** What is live of a graph. */
interface Live {
  readonly graph: Graph;
  /** The loop whose body it is. */
  readonly around: { readonly live: Live; readonly loop: LoopNode } | undefined;
  readonly nodes: Uint8Array;
  readonly outputs: Set<number>;
  /** The bodies of loops of which a result is live. */
  readonly bodies: Map<number, Live>;
}

/** Marks what the outputs of a graph depend on. */
function mark(graph: Graph): Live {
  const fresh = (of: Graph, around: Live["around"]): Live => ({
    graph: of,
    around,
    nodes: new Uint8Array(of.nodes.length),
    outputs: new Set(),
    bodies: new Map(),
  });
  const waiting: (readonly [Live, number])[] = [];
  const markOutput = (live: Live, index: number): void => {
    if (live.outputs.has(index)) return;
    live.outputs.add(index);
    waiting.push([live, live.graph.outputs[index] as number]);
    if (live.around !== undefined && index < live.around.loop.carried) markInput(live, index);
  };
  /** An input of a body is what the loop is given, and what is carried on. */
  const markInput = (body: Live, index: number): void => {
    const { live, loop } = body.around as NonNullable<Live["around"]>;
    waiting.push([live, loop.inputs[index] as number]);
    if (index < loop.carried) markOutput(body, index);
  };
  const root = fresh(graph, undefined);
  graph.outputs.forEach((_, index) => {
    markOutput(root, index);
  });
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [live, position] = next;
    if (live.nodes[position]) continue;
    live.nodes[position] = 1;
    const node = live.graph.nodes[position] as GraphNode;
    const [first] = inputsOf(node);
    const region = node.kind === "result" ? live.graph.nodes[first as number] : undefined;
    if (node.kind === "input") {
      if (live.around !== undefined) markInput(live, node.input);
    } else if (node.kind === "result" && region?.kind === "loop") {
      const body = live.bodies.get(first as number) ?? fresh(region.body, { live, loop: region });
      live.bodies.set(first as number, body);
      markOutput(body, node.index);
    } else {
      // Of what a barrier waits for nothing is used.
      for (const read of node.kind === "barrier" ? [first as number] : inputsOf(node)) waiting.push([live, read]);
    }
  }
  return root;
}

/** A graph with what is live of it. */
function rebuilt({ graph, nodes: live, outputs, bodies }: Live): Graph {
  const nodes = graph.nodes.map((node, i): GraphNode => {
    const body = bodies.get(node.kind === "result" ? (node.inputs[0] as number) : i);
    if (body === undefined) return node;
    if (node.kind === "loop") return liveLoop(node, body);
    return node.kind === "result" && live[i] ? { ...node, index: rankIn(body.outputs, node.index) } : node;
  });
  return prune({ ...graph, nodes, outputs: graph.outputs.filter((_, index) => outputs.has(index)) });
}

/** How many members of a set are less than a number. */
const rankIn = (set: ReadonlySet<number>, number: number): number => [...set].filter((member) => member < number).length;

/** A loop with the live part of its body, and with the inputs that this needs. */
function liveLoop(loop: LoopNode, live: Live): LoopNode {
  const { carried, sliced, inputs } = loop;
  const body = rebuilt(live);
  const read = new Set(body.nodes.flatMap((node) => (node.kind === "input" ? [node.input] : [])));
  const kept = inputs.flatMap((_, input) => ((input < carried ? live.outputs : read).has(input) ? [input] : []));
  const numbers = new Map(kept.map((input, k) => [input, k]));
  const nodes = body.nodes.map((node) => (node.kind === "input" ? { ...node, input: numbers.get(node.input) as number } : node));
  const { shape, dtype } = nodes[body.outputs[0] as number] as GraphNode;
  return {
    ...loop,
    body: { ...body, nodes, inputCount: kept.length },
    carried: kept.filter((input) => input < carried).length,
    sliced: kept.filter((input) => input >= carried && input < carried + sliced).length,
    inputs: kept.map((input) => inputs[input] as number),
    shape,
    dtype,
  };
}

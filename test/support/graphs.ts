import type { Backend, CompileOptions } from "../../src/backend/backend.js";
import { type DType, type HostArray, hostArray } from "../../src/ir/dtype.js";
import type { Graph, GraphNode } from "../../src/ir/graph.js";
import { type Abstract, type PrimitiveName, type PrimitiveParams, primitiveRecord } from "../../src/ir/primitives.js";
import { type Shape, sizeOf } from "../../src/ir/shape.js";

/** A tensor on the host, row-major. */
export interface HostTensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly data: HostArray;
}

export function hostTensor(dtype: DType, shape: Shape, values: ArrayLike<number>): HostTensor {
  if (values.length !== sizeOf(shape)) throw new Error(`${values.length} values for the shape [${shape.join()}]`);
  const data = hostArray(dtype, values.length);
  data.set(values);
  return { shape, dtype, data };
}

/** Writes a graph down node by node; every method returns the position of the node it added. */
export class GraphBuilder {
  private readonly nodes: GraphNode[] = [];
  private readonly handed: HostTensor[] = [];
  private readonly numbers: number[] = [];

  /** An input together with the value that it will be run with. */
  input(value: HostTensor): number {
    this.handed.push(value);
    return this.push({ kind: "input", input: this.handed.length - 1, shape: value.shape, dtype: value.dtype });
  }

  /** A scalar together with the value that it will be run with. */
  scalar(dtype: DType, value: number): number {
    this.numbers.push(value);
    return this.push({ kind: "scalar", scalar: this.numbers.length - 1, shape: [], dtype });
  }

  operation<P extends PrimitiveName>(primitive: P, inputs: readonly number[], params: PrimitiveParams[P]): number {
    const inferred = primitiveRecord(primitive).infer(
      inputs.map((input) => this.at(input)),
      params,
    );
    return this.push({ kind: "operation", primitive, inputs, params, ...inferred } as GraphNode);
  }

  /** The first of these nodes, as a value that is there after the others. */
  barrier(...inputs: readonly number[]): number {
    return this.push(barrierOf(this.nodes, inputs));
  }

  /** Shape and dtype of a node. */
  at(node: number): Abstract {
    const { shape, dtype } = this.nodes[node] as GraphNode;
    return { shape, dtype };
  }

  build(outputs: readonly number[]): Computation {
    const graph = { nodes: [...this.nodes], outputs, inputCount: this.handed.length, scalarCount: this.numbers.length };
    return { graph, inputs: [...this.handed], scalars: [...this.numbers] };
  }

  private push(node: GraphNode): number {
    this.nodes.push(node);
    return this.nodes.length - 1;
  }
}

export function barrierOf(nodes: readonly GraphNode[], inputs: readonly number[]): GraphNode {
  const { shape, dtype } = nodes[inputs[0] as number] as GraphNode;
  return { kind: "barrier", inputs, shape, dtype };
}

/** A graph and what to run it with. */
export interface Computation {
  readonly graph: Graph;
  readonly inputs: readonly HostTensor[];
  readonly scalars: readonly number[];
}

/** Runs a computation from host to host and gives all buffers back. */
export async function compute(
  backend: Backend,
  { graph, inputs, scalars }: Computation,
  options: CompileOptions = {},
): Promise<HostTensor[]> {
  const buffers = inputs.map(({ dtype, data }) => {
    const buffer = backend.alloc(dtype, data.length, "test");
    backend.write(buffer, dtype, data);
    return buffer;
  });
  const results = backend.run(backend.compile(graph, options), buffers, scalars);
  const values = await Promise.all(
    graph.outputs.map(async (output, i) => {
      const { dtype, shape } = graph.nodes[output] as GraphNode;
      const buffer = results[i];
      if (buffer === undefined) throw new Error(`the program returned no buffer for output ${i}`);
      return { shape, dtype, data: await backend.read(buffer, dtype, sizeOf(shape)) };
    }),
  );
  for (const buffer of results) backend.free(buffer);
  buffers.forEach((buffer, i) => {
    if (options.donated?.[i] !== true) backend.free(buffer);
  });
  return values;
}

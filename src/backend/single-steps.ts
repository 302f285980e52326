import { type DType, isFloat } from "../ir/dtype.js";
import { type Graph, type GraphNode, graphKey, type InnerNode, type LoopNode } from "../ir/graph.js";
import { type PrimitiveName, type PrimitiveParams, primitiveRecord } from "../ir/primitives.js";
import { type Shape, sizeOf } from "../ir/shape.js";
import type { DeviceBuffer } from "./backend.js";

/** Programs of one node each, and what they tell of the numbers that it makes. */

/** What is known of the elements of a value. Places count in row-major order. */
export interface Values {
  readonly nan: number;
  readonly infinite: number;
  /** Where the first of them is, if there is one. */
  readonly firstNan: number;
  readonly firstInfinite: number;
  /** The smallest and the largest of those that are finite. */
  readonly least: number;
  readonly greatest: number;
}

/** Whether a value has elements that can be NaN or infinite. */
export const looksAt = ({ shape, dtype }: { readonly shape: Shape; readonly dtype: DType }): boolean => isFloat(dtype) && sizeOf(shape) > 0;

/** An operand: a buffer, or a number. */
export interface Operand {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly buffer: DeviceBuffer | undefined;
  readonly scalar: number | undefined;
}

interface Made {
  readonly at: number;
  readonly shape: Shape;
  readonly dtype: DType;
}

/** A graph under construction, of few nodes. */
export class OneStep {
  private readonly nodes: GraphNode[] = [];
  readonly buffers: DeviceBuffer[] = [];
  readonly scalars: number[] = [];
  private scalarCount = 0;
  /** For each operand its node. */
  readonly inputs: readonly number[];

  constructor(operands: readonly Operand[]) {
    const places = new Map<Operand, number>();
    this.inputs = operands.map((operand) => {
      const known = places.get(operand);
      if (known !== undefined) return known;
      const { shape, dtype, buffer, scalar } = operand;
      const { at } =
        buffer === undefined ? this.scalar(dtype) : this.add({ kind: "input", input: this.buffers.push(buffer) - 1, shape, dtype });
      if (buffer === undefined) this.scalars.push(scalar ?? 0);
      places.set(operand, at);
      return at;
    });
  }

  private scalar(dtype: DType): Made {
    return this.add({ kind: "scalar", scalar: this.scalarCount++, shape: [], dtype });
  }

  add(node: GraphNode): Made {
    return { at: this.nodes.push(node) - 1, shape: node.shape, dtype: node.dtype };
  }

  apply<P extends PrimitiveName>(primitive: P, inputs: readonly Made[], params: PrimitiveParams[P]): Made {
    const { shape, dtype } = primitiveRecord(primitive).infer(inputs, params);
    return this.add({ kind: "operation", primitive, inputs: inputs.map(({ at }) => at), params, shape, dtype } as unknown as InnerNode);
  }

  operand(index: number): Made {
    const at = this.inputs[index] as number;
    const { shape, dtype } = this.nodes[at] as GraphNode;
    return { at, shape, dtype };
  }

  /** A result of the loop that was added last. */
  result(index: number, { body, count, carried }: LoopNode, at: number): Made {
    const { shape, dtype } = body.nodes[body.outputs[index] as number] as GraphNode;
    return this.add({ kind: "result", index, inputs: [at], shape: index < carried ? shape : [count, ...shape], dtype });
  }

  /** The row of the first operand whose number is the last scalar. */
  row(): Made {
    return this.apply("gather", [this.operand(0), this.scalar("i32")], {});
  }

  graph(outputs: readonly Made[]): { readonly key: string; readonly graph: Graph } {
    const { nodes, buffers, scalarCount } = this;
    const graph = { nodes, outputs: outputs.map(({ at }) => at), inputCount: buffers.length, scalarCount };
    return { key: graphKey(graph), graph };
  }
}

/** The program of a node, or of a copy of its only operand, with a summary of what it makes as a second result. */
export function stepOf(
  node: InnerNode | undefined,
  operands: readonly Operand[],
  looks: boolean,
): OneStep & { readonly outputs: readonly Made[] } {
  const step = new OneStep(operands);
  const made = node === undefined ? step.apply("alias", [step.operand(0)], {}) : step.add({ ...node, inputs: step.inputs });
  return Object.assign(step, { outputs: looks ? [made, summarize(step, made)] : [made] });
}

/** The largest f32. */
const largest = 3.4028234663852886e38;
const bits = { exponent: 0x7f800000, mantissa: 0x007fffff } as const;

/** Numbers that a summary has. */
export const summaryLength = 6;

/**
 * How many elements are NaN and infinite, where the first ones are, and the bits of the smallest and the largest of the others: i32 [6]. By
 * their bits, because shading languages may assume that there are no such values.
 */
function summarize(step: OneStep, x: Made): Made {
  const size = sizeOf(x.shape);
  const shape = [size];
  const flat = step.apply("reshape", [x], { shape });
  const single = x.dtype === "f32" ? flat : step.apply("cast", [flat], { dtype: "f32" });
  const words = step.apply("bitcast", [single], { dtype: "u32" });
  const word = (value: number): Made => step.apply("const", [], { value, shape, dtype: "u32" });
  const part = (mask: number): Made => step.apply("and", [words, word(mask)], {});
  const special = step.apply("eq", [part(bits.exponent), word(bits.exponent)], {});
  const isWhole = step.apply("eq", [part(bits.mantissa), word(0)], {});
  const masks = [step.apply("and", [special, step.apply("not", [isWhole], {})], {}), step.apply("and", [special, isWhole], {})].map(
    (mask) => step.apply("cast", [mask], { dtype: "i32" }),
  );
  const least = (limit: number): Made =>
    step.apply("where", [special, step.apply("const", [], { value: limit, shape, dtype: "f32" }), single], {});
  const parts = [
    ...masks.map((mask) => step.apply("sum", [mask], { axes: [0] })),
    ...masks.map((mask) => step.apply("argmax", [mask], { axes: [0] })),
    step.apply("bitcast", [step.apply("minReduce", [least(largest)], { axes: [0] })], { dtype: "i32" }),
    step.apply("bitcast", [step.apply("maxReduce", [least(-largest)], { axes: [0] })], { dtype: "i32" }),
  ].map((each) => step.apply("reshape", [each], { shape: [1] }));
  return step.apply("concat", parts, { axis: 0 });
}

/** A summary as it was read from the device. */
export function readSummary(numbers: Int32Array): Values {
  const [nan, infinite, firstNan, firstInfinite] = numbers as unknown as [number, number, number, number];
  const [least, greatest] = new Float32Array(numbers.slice(4, 6).buffer) as unknown as [number, number];
  return { nan, infinite, firstNan, firstInfinite, least, greatest };
}

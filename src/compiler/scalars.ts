import { type DType, isFloat } from "../ir/dtype.js";
import type { Graph, GraphNode, OperationNode } from "../ir/graph.js";
import { dynamicIndex, flatten, type IndexExpression } from "../ir/index-expression.js";
import { type Guard, type OperandAccess, operandAccesses } from "../ir/operand-accesses.js";
import { shapesOf } from "./access.js";
import type { ScalarOperation, Value } from "./program.js";

/** What an input of a graph inside of another is: a value, or a buffer that it is loaded from. */
export type InnerInput = Value | { readonly buffer: number };

type ValueBody = Value extends infer V ? (V extends Value ? Omit<V, "id"> : never) : never;

/**
 * The scalar computation of one kernel: what its members and all that they compute on the way are at the indices of the loops. Values
 * are numbered (hash-consing), so that each distinct one is computed once.
 *
 *   y = add(expand(b), mul(x, x)), x: [4, 6], b: [6]         %0 = load b[o mod 6]      %2 = mul(%1, %1)
 *   at [o / 6, o mod 6]                                 →    %1 = load x[o]            %3 = add(%0, %2)
 */
export class Scalars {
  readonly values: Value[];
  private readonly known: Map<string, Value>;
  /** Members of the group that have a value already. */
  private readonly registers = new Map<number, Value>();
  private readonly lowered = new Map<string, Value>();

  constructor(
    private readonly graph: Graph,
    private readonly materialized: readonly boolean[],
    private readonly members: ReadonlySet<number>,
    /** The computation that this is part of, where the graph is one inside of another. */
    private readonly outside?: { readonly scalars: Scalars; readonly inputs: readonly InnerInput[] },
  ) {
    this.values = outside?.scalars.values ?? [];
    this.known = outside?.scalars.known ?? new Map();
  }

  /** Computes nodes of an elementwise graph inside of this one, whose inputs are given. */
  within(graph: Graph, inputs: readonly InnerInput[]): Scalars {
    const nothing = graph.nodes.map(() => false);
    return new Scalars(graph, nothing, new Set(), { scalars: this, inputs });
  }

  private intern(body: ValueBody, key: string): Value {
    const full = `${body.dtype} ${key}`;
    const existing = this.known.get(full);
    if (existing) return existing;
    const value = { ...body, id: this.values.length } as Value;
    this.values.push(value);
    this.known.set(full, value);
    return value;
  }

  operation(operation: ScalarOperation, args: readonly Value[], dtype: DType): Value {
    return this.intern({ kind: "operation", operation, args, dtype }, `${operation}(${args.map((arg) => arg.id).join()})`);
  }

  constant(value: number, dtype: DType): Value {
    return this.intern({ kind: "const", value, dtype }, `const ${Object.is(value, -0) ? "-0" : value}`);
  }

  load(buffer: number, index: IndexExpression, dtype: DType): Value & { kind: "load" } {
    return this.intern({ kind: "load", buffer, index, dtype }, `load ${buffer}[${index.key}]`) as Value & { kind: "load" };
  }

  /** The number that an index expression has. */
  index(index: IndexExpression): Value {
    return this.intern({ kind: "index", index, dtype: "i32" }, `index ${index.key}`);
  }

  inside({ index, low, high }: Guard): Value | undefined {
    if (index.low >= low && index.high < high) return undefined;
    return this.intern({ kind: "inside", index, low, high, dtype: "bool" }, `inside ${low} ${index.key} ${high}`);
  }

  /** The register of a new reduction, or of a product's sum. */
  register(node: number, dtype: DType): Value & { kind: "register" } {
    const register = this.registers.size;
    const value = this.intern({ kind: "register", register, dtype }, `register ${register}`) as Value & { kind: "register" };
    this.registers.set(node, value);
    return value;
  }

  define(node: number, value: Value): void {
    this.registers.set(node, value);
  }

  /** The value of a node at coordinates: from a register, from memory, or computed here. */
  at(start: number, coordinates: readonly IndexExpression[]): Value {
    let position = start;
    let node = this.graph.nodes[position] as GraphNode;
    // Barriers may follow one another without end, so they are no matter for recursion.
    while (node.kind === "barrier" && !this.materialized[position]) {
      position = node.inputs[0] as number;
      node = this.graph.nodes[position] as GraphNode;
    }
    if (this.members.has(position)) {
      const register = this.registers.get(position);
      if (register) return register;
    } else if (node.kind === "input" && this.outside !== undefined) {
      const given = this.outside.inputs[node.input] as InnerInput;
      return "kind" in given ? given : this.load(given.buffer, flatten(coordinates, node.shape), node.dtype);
    } else if (this.materialized[position] || node.kind === "input")
      return this.load(position, flatten(coordinates, node.shape), node.dtype);
    return this.compute(position, coordinates);
  }

  /** The value of a node at coordinates, computed from its operands. */
  compute(position: number, coordinates: readonly IndexExpression[]): Value {
    const node = this.graph.nodes[position] as GraphNode;
    const key = `${position}@${coordinates.map((index) => index.key).join()}`;
    let value = this.lowered.get(key);
    if (value === undefined) {
      value = this.fresh(position, node, coordinates);
      this.lowered.set(key, value);
    }
    return value;
  }

  private fresh(position: number, node: GraphNode, at: readonly IndexExpression[]): Value {
    const { dtype } = node;
    if (node.kind === "scalar") return this.intern({ kind: "scalar", scalar: node.scalar, dtype }, `scalar ${node.scalar}`);
    if (node.kind === "input") return this.load(position, flatten(at, node.shape), dtype);
    if (node.kind === "barrier") return this.at(node.inputs[0] as number, at);
    if (node.kind !== "operation") throw new Error(`a ${node.kind} is no part of a kernel`);
    switch (node.primitive) {
      case "const":
        return this.constant(node.params.value, dtype);
      case "iota": {
        const index = at[node.params.axis] as IndexExpression;
        const counted = this.index(index);
        return dtype === "i32" ? counted : this.operation("cast", [counted], dtype);
      }
      case "randomBits": {
        const [k0, k1] = this.operands(node, at) as [Value, Value];
        const counter = flatten(at, node.shape);
        return this.intern({ kind: "threefry", key: [k0, k1], counter, dtype }, `threefry ${k0.id} ${k1.id} ${counter.key}`);
      }
      case "reshape":
      case "permute":
      case "expand":
      case "slice":
      case "flip":
      case "pad":
      case "concat":
      case "gather":
        return this.chosen(node, at);
      case "alias":
      case "stopGradient":
        return this.at(node.inputs[0] as number, at);
      case "sum":
      case "maxReduce":
      case "minReduce":
      case "argmax":
      case "argmin":
      case "dot":
      case "scatterAdd":
        throw new Error(`${node.primitive} is read at another place than its kernel computes`);
      default:
        return this.operation(node.primitive, this.operands(node, at), dtype);
    }
  }

  private accesses(node: OperationNode, at: readonly IndexExpression[]): readonly OperandAccess[] {
    return operandAccesses(node as GraphNode, at, shapesOf(this.graph, node as GraphNode), (place, extent) => {
      const read = this.at(node.inputs[1] as number, place);
      // Counting is no reading: rows that are taken in order are a view.
      if (read.kind === "index") return read.index;
      const signed = read.dtype === "i32" ? read : this.operation("cast", [read], "i32");
      return dynamicIndex(signed.id, extent);
    });
  }

  private operands(node: OperationNode, at: readonly IndexExpression[]): Value[] {
    return this.accesses(node, at).map(({ operand, coordinates }) => this.at(node.inputs[operand] as number, coordinates));
  }

  /** The element of the first operand whose guards hold, or what the node has where none is: padding, or nothing that a gather finds. */
  private chosen(node: OperationNode, at: readonly IndexExpression[]): Value {
    const all = this.accesses(node, at).filter(({ operand }) => node.primitive !== "gather" || operand === 0);
    const take = ({ operand, coordinates }: OperandAccess): Value => this.at(node.inputs[operand] as number, coordinates);
    const last = all[all.length - 1];
    // The last access of a concat holds wherever the others do not.
    let value = node.primitive === "concat" && last ? take(last) : undefined;
    for (const access of (value ? all.slice(0, -1) : [...all]).reverse()) {
      const taken = take(access);
      const conditions = access.guards.map((guard) => this.inside(guard)).filter((condition) => condition !== undefined);
      if (conditions.length === 0) value = taken;
      else {
        const holds = conditions.reduce((a, b) => this.operation("and", [a, b], "bool"));
        value = this.operation("where", [holds, taken, value ?? this.constant(outside(node), node.dtype)], node.dtype);
      }
    }
    return value as Value;
  }
}

/** What a pad or a gather has where it reads nothing. */
function outside({ primitive, params, dtype }: OperationNode): number {
  if (primitive === "pad") return (params as { value: number }).value;
  return isFloat(dtype) ? Number.NaN : 0;
}

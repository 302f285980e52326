import type { Backend, DeviceBuffer } from "../backend/backend.js";
import { UsageError } from "../errors.js";
import type { Graph, GraphNode } from "../ir/graph.js";
import { sizeOf } from "../ir/shape.js";
import { checkSameBackend } from "./runtime.js";
import { Storage, type Tensor } from "./tensor.js";

/** A graph and where its inputs come from. */
export interface Traced {
  readonly graph: Graph;
  /** For each input buffer: a realised tensor, or the position of an argument. */
  readonly buffers: readonly (Tensor | number)[];
  /** For each scalar. */
  readonly scalars: readonly ScalarOrigin[];
}

/** A realised tensor, a number, the position of an argument, or what the host makes of the number at that position. */
export type ScalarOrigin =
  | Tensor
  | { readonly value: number }
  | number
  | { readonly argument: number; readonly map: (value: number) => number };

export interface TraceOptions {
  /** The function call whose arguments may appear. */
  readonly trace?: object;
  /** Makes scalars of the numbers that appear in the graph. */
  readonly liftConstants?: boolean;
  /** Whether the scalar argument at a position lies on the device, so that it is an input buffer. */
  readonly deviceScalars?: (position: number) => boolean;
}

/** Constants that stay in the graph, because simplification may profit from knowing them. */
const structural = (value: number): boolean =>
  value === 0 || Math.abs(value) === 1 || Math.abs(value) === 2 || Math.abs(value) === 0.5 || !Number.isFinite(value);

/**
 * The graph of `outputs`, down to realised tensors and to the arguments of `trace`. With `liftConstants`, numbers that
 * appear in the graph become scalars, so that graphs which differ in such numbers alone share a program.
 */
export function traceGraph(outputs: readonly Tensor[], options: TraceOptions = {}): Traced {
  const nodes: GraphNode[] = [];
  const position = new Map<Tensor, number>();
  const buffers: (Tensor | number)[] = [];
  const scalars: ScalarOrigin[] = [];
  /** Scalars of numbers that appear in the graph. */
  const lifted = new Map<string, number>();

  const leaf = (tensor: Tensor, origin: Tensor | number): GraphNode => {
    const { shape, dtype } = tensor;
    const onDevice = typeof origin === "number" ? options.deviceScalars?.(origin) === true : tensor.source.kind === "device";
    if (shape.length === 0 && !onDevice) return { kind: "scalar", scalar: scalars.push(origin) - 1, shape, dtype };
    return { kind: "input", input: buffers.push(origin) - 1, shape, dtype };
  };

  const emit = (tensor: Tensor): GraphNode => {
    const { source, shape, dtype } = tensor;
    if (source.kind === "argument") {
      if (source.trace !== options.trace) {
        throw new UsageError("a tensor that stands for an argument of a compiled function was used outside of it", {
          hint: "return it from the function instead of storing it elsewhere",
        });
      }
      if (source.map !== undefined) {
        return { kind: "scalar", scalar: scalars.push({ argument: source.position, map: source.map }) - 1, shape, dtype };
      }
      return leaf(tensor, source.position);
    }
    if (source.kind !== "operation") return leaf(tensor, tensor);
    if (options.liftConstants && source.primitive === "const" && shape.length === 0) {
      const { value } = source.params as { value: number };
      if (!structural(value)) {
        // One scalar for each number, so that the steps of a loop are the same kernels.
        const key = `${dtype} ${value}`;
        const scalar = lifted.get(key) ?? scalars.push({ value }) - 1;
        lifted.set(key, scalar);
        return { kind: "scalar", scalar, shape, dtype };
      }
    }
    const inputs = source.inputs.map((input) => position.get(input) as number);
    return { kind: "operation", primitive: source.primitive, inputs, params: source.params, shape, dtype } as GraphNode;
  };

  const stack: { tensor: Tensor; next: number }[] = [];
  for (const output of outputs) {
    stack.push({ tensor: output, next: 0 });
    while (stack.length > 0) {
      const top = stack[stack.length - 1] as { tensor: Tensor; next: number };
      const { tensor } = top;
      const inputs = tensor.source.kind === "operation" ? tensor.source.inputs : [];
      if (position.has(tensor)) stack.pop();
      else if (top.next < inputs.length) stack.push({ tensor: inputs[top.next++] as Tensor, next: 0 });
      else {
        position.set(tensor, nodes.push(emit(tensor)) - 1);
        stack.pop();
      }
    }
  }
  return {
    graph: {
      nodes,
      outputs: outputs.map((output) => position.get(output) as number),
      inputCount: buffers.length,
      scalarCount: scalars.length,
    },
    buffers,
    scalars,
  };
}

/** The number in a realised scalar on the host. */
export function hostScalar(tensor: Tensor): number {
  if (tensor.source.kind !== "host") throw new UsageError(`${tensor} is not a number on the host`);
  return tensor.source.data[0] as number;
}

/**
 * The device buffer of a realised tensor. Host data is uploaded: into a buffer for this run alone at first (`transient`),
 * into one that stays when it is used again. With `own`, the caller may give the buffer away.
 */
export function deviceBuffer(tensor: Tensor, backend: Backend, own: boolean): { buffer: DeviceBuffer; transient: boolean } {
  const { source } = tensor;
  if (source.kind === "device") {
    checkSameBackend(source.storage.backend, backend);
    return { buffer: source.storage.buffer, transient: false };
  }
  if (source.kind !== "host") throw new UsageError(`${tensor} has no numbers yet`);
  if (!own && source.copy?.live && source.copy.backend === backend) return { buffer: source.copy.buffer, transient: false };
  const buffer = backend.alloc(tensor.dtype, sizeOf(tensor.shape), "value");
  backend.write(buffer, tensor.dtype, source.data);
  source.uses++;
  if (own || source.uses < 2) return { buffer, transient: true };
  source.copy = new Storage(backend, buffer);
  return { buffer, transient: false };
}

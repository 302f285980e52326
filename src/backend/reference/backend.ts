import { OutOfMemoryError, UsageError } from "../../errors.js";
import { type DType, type HostArray, hostArray, representable } from "../../ir/dtype.js";
import type { Graph, GraphNode, InputNode } from "../../ir/graph.js";
import { sizeOf } from "../../ir/shape.js";
import type { Backend, BackendInfo, CompileOptions, DeviceBuffer, Executable, MemoryReport } from "../backend.js";
import { describeGraph } from "./describe.js";
import { lower } from "./lowerings.js";
import { MemoryLedger } from "./memory.js";
import { bytesPerElement, type Data, sameStorage, type Value, zeros } from "./values.js";

/** A buffer knows its dtype here, so that a caller who mixes dtypes up is told. `data` is gone once it is freed. */
class ReferenceBuffer implements DeviceBuffer {
  constructor(
    readonly id: number,
    readonly owner: string,
    readonly dtype: DType,
    public data: Data | undefined,
    readonly bytes: number,
  ) {}
}

class ReferenceExecutable implements Executable {
  /** For each node, the nodes whose last use it is. */
  readonly releases: readonly (readonly number[])[];

  constructor(
    readonly graph: Graph,
    readonly donated: readonly boolean[],
    readonly label: string,
  ) {
    this.releases = releasePlan(graph);
  }

  describe(): string {
    return describeGraph(this.graph);
  }
}

/** For each node, the intermediates that nothing needs once it has run. Outputs are never among them. */
function releasePlan(graph: Graph): number[][] {
  const releases: number[][] = graph.nodes.map(() => []);
  const seen = new Set<number>(graph.outputs);
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i] as GraphNode;
    for (const used of [i, ...(node.kind === "operation" ? node.inputs : [])]) {
      if (seen.has(used)) continue;
      seen.add(used);
      releases[i]?.push(used);
    }
  }
  return releases;
}

const info: Omit<BackendInfo, "passedOver"> = {
  name: "reference",
  adapter: "plain loops in f64 on the host",
  software: true,
  threads: 1,
  dtypes: new Set<DType>(["f64", "f32", "i32", "u32", "bool"]),
  maxTensorBytes: 2 ** 33,
};

class ReferenceBackend implements Backend {
  readonly info: BackendInfo;
  private readonly ledger = new MemoryLedger();
  private readonly live = new Set<ReferenceBuffer>();
  private nextId = 0;
  private closed = false;

  constructor(passedOver: readonly string[]) {
    this.info = { ...info, passedOver };
  }

  alloc(dtype: DType, length: number, owner: string): DeviceBuffer {
    this.needOpen();
    return this.hold(dtype, this.allocate(dtype, length), owner);
  }

  free(buffer: DeviceBuffer): void {
    // A finalizer may give a buffer back long after the backend was closed, which has freed it already.
    if (this.closed) return;
    const held = this.resolve(buffer);
    this.live.delete(held);
    this.ledger.give(held.owner, held.bytes);
    held.data = undefined;
  }

  write(buffer: DeviceBuffer, dtype: DType, data: HostArray): void {
    const { data: target } = this.view(buffer, dtype);
    if (data.length !== target.length) {
      throw new UsageError(`buffer ${buffer.id} holds ${target.length} elements and ${data.length} were written to it`);
    }
    // Floats keep all the digits that they come with.
    const store = dtype === "f32" ? (value: number): number => value : (value: number): number => representable(dtype, value);
    for (let i = 0; i < data.length; i++) target[i] = store(data[i] as number);
  }

  async read(buffer: DeviceBuffer, dtype: DType, length: number): Promise<HostArray> {
    const { data } = this.view(buffer, dtype);
    if (length > data.length) throw new UsageError(`buffer ${buffer.id} holds ${data.length} elements, not ${length}`);
    const host = hostArray(dtype, length);
    host.set(data.subarray(0, length));
    return host;
  }

  compile(graph: Graph, options: CompileOptions = {}): Executable {
    this.needOpen();
    // Throws where a dtype is not offered.
    for (const node of graph.nodes) bytesPerElement(node.dtype);
    return new ReferenceExecutable(graph, options.donated ?? [], options.label ?? "program");
  }

  run(executable: Executable, inputs: readonly DeviceBuffer[], scalars: readonly number[]): DeviceBuffer[] {
    this.needOpen();
    if (!(executable instanceof ReferenceExecutable)) throw new UsageError("this program was compiled by another backend");
    const { graph, label, donated } = executable;
    if (inputs.length !== graph.inputCount || scalars.length !== graph.scalarCount) {
      throw new UsageError(
        `${label} takes ${graph.inputCount} buffers and ${graph.scalarCount} scalars, not ${inputs.length} and ${scalars.length}`,
      );
    }
    const taken = new Set(inputs.filter((_, i) => donated[i]).map((buffer) => this.resolve(buffer)));
    const results = this.evaluate(executable, inputs, scalars);
    for (const buffer of taken) this.free(buffer);
    return results;
  }

  async sync(): Promise<void> {
    this.needOpen();
  }

  memory(): MemoryReport {
    return this.ledger.report();
  }

  async close(): Promise<void> {
    for (const buffer of [...this.live]) this.free(buffer);
    this.closed = true;
  }

  /** Computes the nodes in order; each intermediate lives until its last use. */
  private evaluate(executable: ReferenceExecutable, inputs: readonly DeviceBuffer[], scalars: readonly number[]): DeviceBuffer[] {
    const { graph, releases } = executable;
    const values: (Value | undefined)[] = [];
    const computed = new Map<number, ReferenceBuffer>();
    const release = (node: number): void => {
      values[node] = undefined;
      const scratch = computed.get(node);
      if (scratch === undefined) return;
      computed.delete(node);
      this.free(scratch);
    };
    try {
      graph.nodes.forEach((node, i) => {
        if (node.kind === "input") {
          values[i] = this.inputValue(node, inputs);
        } else {
          const value = { shape: node.shape, dtype: node.dtype, data: this.allocate(node.dtype, sizeOf(node.shape)) };
          values[i] = value;
          computed.set(i, this.hold(node.dtype, value.data, "program"));
          if (node.kind === "scalar") value.data.fill(scalars[node.scalar] as number);
          else {
            lower(
              node,
              value,
              node.inputs.map((input) => values[input] as Value),
            );
          }
        }
        releases[i]?.forEach(release);
      });
      return graph.outputs.map((output) => {
        const { dtype, data } = values[output] as Value;
        return this.hold(dtype, data.slice(), "value");
      });
    } finally {
      for (const node of [...computed.keys()]) release(node);
    }
  }

  private inputValue(node: InputNode, inputs: readonly DeviceBuffer[]): Value {
    const { data } = this.view(inputs[node.input] as DeviceBuffer, node.dtype);
    if (data.length !== sizeOf(node.shape)) {
      throw new UsageError(`input ${node.input} has ${data.length} elements and the program expects ${sizeOf(node.shape)}`);
    }
    return { shape: node.shape, dtype: node.dtype, data };
  }

  private allocate(dtype: DType, length: number): Data {
    const bytes = length * bytesPerElement(dtype);
    try {
      if (bytes <= info.maxTensorBytes) return zeros(dtype, length);
    } catch (cause) {
      throw this.outOfMemory(bytes, "the host refused them", cause);
    }
    throw this.outOfMemory(bytes, `one tensor may take ${info.maxTensorBytes}`);
  }

  private outOfMemory(bytes: number, reason: string, cause?: unknown): OutOfMemoryError {
    const { byOwner, liveBytes } = this.ledger.report();
    return new OutOfMemoryError(`${bytes} bytes are not to be had: ${reason}; ${liveBytes} bytes are in use`, {
      requestedBytes: bytes,
      liveBytes: byOwner,
      hint: "use smaller tensors, or free those that are no longer needed",
      cause,
    });
  }

  private hold(dtype: DType, data: Data, owner: string): ReferenceBuffer {
    const buffer = new ReferenceBuffer(this.nextId++, owner, dtype, data, data.byteLength);
    this.live.add(buffer);
    this.ledger.take(owner, buffer.bytes);
    return buffer;
  }

  /** The buffer as this backend made it; throws where another backend did or where it is gone. */
  private resolve(buffer: DeviceBuffer): ReferenceBuffer {
    this.needOpen();
    if (buffer instanceof ReferenceBuffer && this.live.has(buffer)) return buffer;
    const reason = buffer instanceof ReferenceBuffer && buffer.data === undefined ? "was freed" : "belongs to another backend";
    throw new UsageError(`buffer ${buffer.id} ${reason}`);
  }

  private view(buffer: DeviceBuffer, dtype: DType): { data: Data } {
    const held = this.resolve(buffer);
    if (!sameStorage(held.dtype, dtype)) throw new UsageError(`buffer ${buffer.id} holds ${held.dtype}, not ${dtype}`);
    return { data: held.data as Data };
  }

  private needOpen(): void {
    if (this.closed) throw new UsageError("this backend was closed", { hint: "make a new one" });
  }
}

/**
 * The backend that the others are measured by: plain unfused loops on the host.
 *
 * Floats are held as unrounded f64, `f32` included: a tensor of dtype f32 is rounded only when it is read or bitcast, so
 * what an f32 program computes here is what exact arithmetic would, to some 15 digits. Integers wrap around at 32 bits.
 * `f16` is not offered (DtypeError). Buffers remember their dtype, and mixing dtypes up is a UsageError.
 */
export const createReferenceBackend = ({ passedOver = [] }: { readonly passedOver?: readonly string[] } = {}): Backend =>
  new ReferenceBackend(passedOver);

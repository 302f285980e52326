import { OutOfMemoryError, UsageError } from "../../errors.js";
import { type DeviceData, type DType, type HostArray, hostArray, representable } from "../../ir/dtype.js";
import type { CallNode, Graph, GraphNode, InputNode, LoopNode } from "../../ir/graph.js";
import type { ProgramReport } from "../../ir/program-report.js";
import { sizeOf } from "../../ir/shape.js";
import type {
  Backend,
  BackendInfo,
  CompileOptions,
  DeviceBuffer,
  Executable,
  KernelTime,
  MemoryReport,
  ProgramMemory,
} from "../backend.js";
import { KernelTimes, ProfileInTurn } from "../kernel-times.js";
import { refuseReleased, refuseSharedDonation } from "../programs.js";
import { describeGraph } from "./describe.js";
import { lower } from "./lowerings.js";
import { MemoryLedger } from "./memory.js";
import { memoryOfGraph } from "./program-memory.js";
import { releasesOf } from "./releases.js";
import { reportGraph } from "./report.js";
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
  released = false;

  constructor(
    readonly graph: Graph,
    readonly donated: readonly boolean[],
    readonly label: string,
  ) {}

  describe(): string {
    return describeGraph(this.graph);
  }

  report(): ProgramReport {
    return reportGraph(this.graph);
  }
}

const copy = ({ shape, dtype, data }: Value): Value => ({ shape, dtype, data: data.slice() });

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
  private readonly profile = new ProfileInTurn<KernelTimes>();
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

  write(buffer: DeviceBuffer, dtype: DType, data: DeviceData, begin = 0): void {
    const { data: target } = this.view(buffer, dtype);
    if (data instanceof Uint16Array) throw new UsageError(`bits of halves were written to a buffer of ${dtype}`);
    if (!(Number.isSafeInteger(begin) && begin >= 0 && begin + data.length <= target.length)) {
      throw new UsageError(
        `${data.length} elements from element ${begin} on are no part of buffer ${buffer.id}, which holds ${target.length}`,
      );
    }
    // Floats keep all the digits that they come with.
    const store = dtype === "f32" ? (value: number): number => value : (value: number): number => representable(dtype, value);
    for (let i = 0; i < data.length; i++) target[begin + i] = store(data[i] as number);
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

  memoryOf(graph: Graph): ProgramMemory {
    return memoryOfGraph(graph);
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
    refuseReleased(label, executable.released);
    refuseSharedDonation(label, inputs, donated);
    const taken = inputs.filter((_, i) => donated[i]).map((buffer) => this.resolve(buffer));
    const results = this.evaluate(executable, inputs, scalars);
    for (const buffer of taken) this.free(buffer);
    return results;
  }

  release(executable: Executable): void {
    if (executable instanceof ReferenceExecutable) executable.released = true;
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

  /** Results in buffers of their own. */
  private evaluate({ graph }: ReferenceExecutable, inputs: readonly DeviceBuffer[], scalars: readonly number[]): DeviceBuffer[] {
    const given: Value[] = [];
    for (const node of graph.nodes) if (node.kind === "input") given[node.input] = this.inputValue(node, inputs);
    return this.compute(graph, given, scalars, (values) => values.map(({ dtype, data }) => this.hold(dtype, data.slice(), "value")));
  }

  /**
   * Computes the nodes of a graph in order; each intermediate lives until its last use, and those that are results until `use` has
   * seen them.
   */
  private compute<R>(graph: Graph, inputs: readonly Value[], scalars: readonly number[], use: (results: readonly Value[]) => R): R {
    const releases = releasesOf(graph);
    const values: (Value | undefined)[] = [];
    /** The results of calls and loops. */
    const several: Value[][] = [];
    const computed = new Map<number, ReferenceBuffer[]>();
    const own = (i: number, made: readonly Value[]): void => {
      computed.set(
        i,
        made.map(({ dtype, data }) => this.hold(dtype, data, "program")),
      );
    };
    const release = (node: number): void => {
      values[node] = undefined;
      const scratch = computed.get(node);
      if (scratch === undefined) return;
      computed.delete(node);
      for (const buffer of scratch) this.free(buffer);
    };
    const at = (input: number): Value => values[input] as Value;
    try {
      graph.nodes.forEach((node, i) => {
        if (node.kind === "input") values[i] = inputs[node.input] as Value;
        else if (node.kind === "barrier") values[i] = at(node.inputs[0] as number);
        else if (node.kind === "result") values[i] = several[node.inputs[0] as number]?.[node.index] as Value;
        else if (node.kind === "call" || node.kind === "loop") {
          const operands = node.inputs.map(at);
          const made = node.kind === "call" ? this.call(node, operands) : this.loop(node, operands);
          several[i] = made;
          own(i, made);
        } else {
          const value = { shape: node.shape, dtype: node.dtype, data: this.allocate(node.dtype, sizeOf(node.shape)) };
          values[i] = value;
          own(i, [value]);
          if (node.kind === "scalar") value.data.fill(scalars[node.scalar] as number);
          else this.lower(node, value, node.inputs.map(at));
        }
        releases[i]?.forEach(release);
      });
      return use(graph.outputs.map(at));
    } finally {
      for (const node of [...computed.keys()]) release(node);
    }
  }

  private lower(...[node, value, operands]: Parameters<typeof lower>): void {
    const begin = this.profile.current && performance.now();
    lower(node, value, operands);
    if (begin !== undefined) this.profile.current?.add(node.primitive, performance.now() - begin);
  }

  startProfile(): void {
    this.needOpen();
    this.profile.start(() => new KernelTimes());
  }

  async endProfile(): Promise<KernelTime[]> {
    return this.profile.end()?.sorted() ?? [];
  }

  private call({ body }: CallNode, operands: readonly Value[]): Value[] {
    return this.compute(body, operands, [], (results) => results.map(copy));
  }

  private loop({ body, count, reverse, carried, sliced }: LoopNode, operands: readonly Value[]): Value[] {
    let state = operands.slice(0, carried).map(copy);
    const stacked = body.outputs.slice(carried).map((output): Value => {
      const { shape, dtype } = body.nodes[output] as GraphNode;
      return { shape: [count, ...shape], dtype, data: this.allocate(dtype, count * sizeOf(shape)) };
    });
    for (let turn = 0; turn < count; turn++) {
      const at = reverse ? count - 1 - turn : turn;
      const slices = operands.slice(carried, carried + sliced).map(({ shape, dtype, data }): Value => {
        const size = sizeOf(shape.slice(1));
        return { shape: shape.slice(1), dtype, data: data.subarray(at * size, (at + 1) * size) };
      });
      state = this.compute(body, [...state, ...slices, ...operands.slice(carried + sliced)], [], (results) => {
        stacked.forEach(({ data }, k) => {
          const result = results[carried + k] as Value;
          data.set(result.data, at * result.data.length);
        });
        return results.slice(0, carried).map(copy);
      });
    }
    return [...state, ...stacked];
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

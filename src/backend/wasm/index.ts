import { programMemory } from "../../compiler/program-memory.js";
import { reportPlan } from "../../compiler/report-plan.js";
import { BackendUnavailableError, DtypeError, OptionError, OutOfMemoryError, UsageError } from "../../errors.js";
import type { DeviceData, DType, HostArray } from "../../ir/dtype.js";
import type { Graph } from "../../ir/graph.js";
import type { ProgramReport } from "../../ir/program-report.js";
import type { Backend, BackendInfo, CompileOptions, DeviceBuffer, Executable, MemoryReport, ProgramMemory } from "../backend.js";
import { decode, encode, encodeScalars, partOffset } from "../host-data.js";
import { refuseReleased, refuseSharedDonation } from "../programs.js";
import { counterWords, heapStart, stepWords } from "./control.js";
import { describeProgram } from "./describe.js";
import { listing } from "./disassemble.js";
import { hasRelaxedSimd, hasSimd, mostMemoryBytes, planThreads, type ThreadPlan } from "./features.js";
import { isShared } from "./flat-steps.js";
import { Block, Heap } from "./heap.js";
import { gemmModule } from "./kernels/gemm.js";
import { tableHeader } from "./kernels/kernel.js";
import { bytesOf } from "./kernels/operations.js";
import { margin } from "./kernels/places.js";
import { type Layout, layOut } from "./layout.js";
import { ThreadPool, trapped } from "./pool.js";
import { bufferBytes, buildProgram, type WasmProgram } from "./program.js";
import { type KernelEntry, runSteps } from "./run-steps.js";

export interface WasmOptions {
  /** Threads that share the work, the calling one among them. Default: one for each processor, sixteen at most. */
  readonly threads?: number | undefined;
  /** "definitions" turns every fusion and every hand-written kernel off. Default "auto". */
  readonly kernels?: "auto" | "definitions";
  /** Multiply and add in one rounding, where the engine has relaxed SIMD. Default true. */
  readonly fusedMultiplyAdd?: boolean;
  /** Fill fresh memory with NaN, so that whatever is used without being written shows. */
  readonly poison?: boolean;
  /** "finest" wakes all threads for every run and gives them the smallest pieces of work, so that tests see them meet. */
  readonly chunks?: "auto" | "finest";
  /** Most bytes that the memory grows to. Default 4 GiB. */
  readonly maximumBytes?: number;
  /** Why faster backends cannot be had. */
  readonly passedOver?: readonly string[];
}

const pageBytes = 65_536;
/** Nanoseconds of work on one thread below which other threads are not woken. */
const worthWaking = 60_000;
/** Chunks of one step that a run can count. */
const mostChunks = 2 ** 31 - 1;

/**
 * Starts a backend on the processor: WebAssembly with 128-bit vectors, on several threads where memory can be shared. Throws
 * BackendUnavailableError where the engine has no SIMD or may not compile, or where as many threads cannot be had, and OptionError for numbers that make no sense.
 */
export async function createWasmBackend(options: WasmOptions = {}): Promise<Backend> {
  const { threads } = options;
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 256)) {
    throw new OptionError(`threads: ${threads} is not a whole number from 1 to 256`, { hint: "leave it out for one thread per processor" });
  }
  if (!hasSimd()) {
    throw new BackendUnavailableError("this engine has no WebAssembly SIMD", {
      hint: 'use Node 20 or a browser from 2023 or later, or init({ backend: "reference" })',
    });
  }
  const plan = await planThreads(threads);
  const { count } = plan;
  const memory = openMemory(count > 1, options.maximumBytes ?? mostMemoryBytes);
  const fused = (options.fusedMultiplyAdd ?? true) && hasRelaxedSimd();
  const gemm = compileModule(gemmModule({ shared: count > 1, maximum: memory.maximum }, fused));
  const pool = await ThreadPool.start(memory.memory, gemm, count - 1);
  return new WasmBackend(memory.memory, memory.maximum, gemm, pool, fused, plan, options);
}

/** A module that any engine with SIMD compiles, unless it is forbidden to. */
function compileModule(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  try {
    return new WebAssembly.Module(bytes);
  } catch (cause) {
    throw new BackendUnavailableError(`WebAssembly may not be compiled here: ${cause instanceof Error ? cause.message : String(cause)}`, {
      hint: `add 'wasm-unsafe-eval' to script-src in the page's content security policy, or use init({ backend: "webgpu" })`,
      cause,
    });
  }
}

/** A memory that may grow as far as the engine lets it. */
function openMemory(shared: boolean, maximumBytes: number): { memory: WebAssembly.Memory; maximum: number } {
  const initial = 64;
  let maximum = Math.max(initial, Math.min(65_536, Math.floor(maximumBytes / pageBytes)));
  for (;;) {
    try {
      return { memory: new WebAssembly.Memory({ initial, maximum, shared }), maximum };
    } catch (error) {
      // The engine reserves addresses for all that the memory may become; small devices refuse 4 GiB of them.
      if (maximum <= 1024) throw new BackendUnavailableError("no memory for WebAssembly is to be had", { cause: error });
      maximum = Math.floor(maximum / 2);
    }
  }
}

class WasmExecutable implements Executable {
  /** Made at the first run. */
  loaded: Loaded | undefined;
  released = false;

  constructor(
    readonly backend: WasmBackend,
    readonly graph: Graph,
    readonly label: string,
    readonly program: WasmProgram,
    readonly donated: readonly boolean[],
  ) {}

  describe(): string {
    return describeProgram(this.program);
  }

  report(): ProgramReport {
    return reportPlan(this.program.plan, (kernel) => listing(this.program, kernel));
  }
}

/** A program in memory: tables of addresses, steps, counters, and the module for the workers. */
interface Loaded {
  readonly number: number;
  readonly kernels: readonly KernelEntry[];
  readonly block: Block;
  readonly scalars: number;
  readonly tables: readonly number[];
  readonly stepsAddress: number;
  readonly countersAddress: number;
  readonly moduleAddress: number;
  readonly moduleBytes: number;
  readonly layout: Layout;
  /** Whether other threads are worth waking. */
  readonly parallel: boolean;
}

class WasmBackend implements Backend {
  readonly info: BackendInfo;
  private readonly heap: Heap;
  private readonly gemm: WebAssembly.Instance;
  private readonly shared: boolean;
  private readonly kernels: "auto" | "definitions";
  private readonly poison: boolean;
  private readonly chunks: "auto" | "finest";
  private programs = 0;
  private closed = false;
  private words: Int32Array;
  /** Memory of programs that nobody has any more. */
  private readonly unneeded: Block[] = [];
  private readonly unloaded = new FinalizationRegistry<Block>((block) => {
    this.unneeded.push(block);
    if (!this.closed) this.unload();
  });

  constructor(
    private readonly mem: WebAssembly.Memory,
    private readonly maximum: number,
    gemm: WebAssembly.Module,
    private readonly pool: ThreadPool,
    private readonly fused: boolean,
    plan: ThreadPlan,
    options: WasmOptions,
  ) {
    this.shared = pool.size > 1;
    this.kernels = options.kernels ?? "auto";
    this.poison = options.poison ?? false;
    this.chunks = options.chunks ?? "auto";
    this.gemm = new WebAssembly.Instance(gemm, { env: { memory: mem } });
    this.heap = new Heap(mem, heapStart, 4 * margin + 64, maximum);
    this.words = new Int32Array(mem.buffer);
    const limit = plan.limit === undefined ? "" : ` (${plan.limit})`;
    const threads = pool.size === 1 ? `1 thread${limit}` : `${pool.size} threads`;
    this.info = {
      name: "wasm",
      adapter: `WebAssembly SIMD, ${threads}${fused ? ", fused multiply-add" : ""}`,
      software: true,
      threads: pool.size,
      dtypes: new Set<DType>(["f32", "f16", "bf16", "i32", "u32", "bool"]),
      maxTensorBytes: Math.min(2 ** 31, maximum * pageBytes),
      maxBytes: maximum * pageBytes,
      passedOver: options.passedOver ?? [],
    };
  }

  private need(dtype: DType): void {
    if (!this.info.dtypes.has(dtype)) {
      throw new DtypeError(`the wasm backend has no ${dtype} (it has ${[...this.info.dtypes].join(", ")})`, {
        hint: 'cast to f32, or use init({ backend: "reference" }) for f64',
      });
    }
  }

  private needOpen(): void {
    if (this.closed) throw new UsageError("this backend was closed", { hint: "make a new one" });
  }

  /** A block of this backend that is not freed. */
  private live(buffer: DeviceBuffer): Block {
    this.needOpen();
    if (!(buffer instanceof Block) || buffer.heap !== this.heap) throw new UsageError(`buffer ${buffer.id} belongs to another backend`);
    if (!buffer.live) throw new UsageError(`buffer ${buffer.id} was freed`);
    return buffer;
  }

  private take(bytes: number, owner: string): Block {
    if (bytes > this.info.maxTensorBytes) throw this.tooLarge(bytes);
    return this.reserve(bytes, owner);
  }

  /** Memory that is no tensor and may be larger than one. */
  private reserve(bytes: number, owner: string): Block {
    const block = this.heap.take(bytes, owner);
    if (this.poison) new Uint8Array(this.mem.buffer, block.address, bytes).fill(0xff);
    return block;
  }

  private tooLarge(bytes: number): OutOfMemoryError {
    return new OutOfMemoryError(`a tensor of ${bytes} bytes is larger than the wasm backend holds (${this.info.maxTensorBytes})`, {
      requestedBytes: bytes,
      liveBytes: this.memory().byOwner,
      hint: "use a smaller batch or context",
    });
  }

  alloc(dtype: DType, length: number, owner: string): DeviceBuffer {
    this.needOpen();
    this.need(dtype);
    return this.take(Math.max(4, length * bytesOf[dtype]), owner);
  }

  free(buffer: DeviceBuffer): void {
    // A finalizer may give a buffer back long after the backend was closed.
    if (this.closed) return;
    this.heap.give(this.live(buffer));
  }

  write(buffer: DeviceBuffer, dtype: DType, data: DeviceData, begin = 0): void {
    this.need(dtype);
    const block = this.live(buffer);
    const encoded = encode(dtype, data);
    const at = block.address + partOffset(block, encoded, begin);
    const source = new Uint8Array(encoded.buffer, encoded.byteOffset, encoded.byteLength);
    new Uint8Array(this.mem.buffer, at, encoded.byteLength).set(source);
  }

  async read(buffer: DeviceBuffer, dtype: DType, length: number): Promise<HostArray> {
    this.need(dtype);
    const { address, bytes, id } = this.live(buffer);
    this.pool.check();
    const size = length * bytesOf[dtype];
    if (size > bytes) throw new UsageError(`buffer ${id} holds ${bytes} bytes, not ${size}`);
    const copy = new Uint8Array(size);
    copy.set(new Uint8Array(this.mem.buffer, address, size));
    return decode(dtype, copy.buffer, length);
  }

  compile(graph: Graph, options: CompileOptions = {}): Executable {
    return this.executable(graph, this.build(graph, options), options);
  }

  memoryOf(graph: Graph, options: CompileOptions = {}): ProgramMemory {
    const program = this.build(graph, options);
    const { programBytes, runBytes } = layOut(program, this.pool.size);
    return programMemory(graph, program.plan.slots, { bytesOf: bufferBytes, programBytes, scratchBytes: runBytes });
  }

  private build(graph: Graph, options: CompileOptions): WasmProgram {
    this.needOpen();
    for (const node of graph.nodes) this.need(node.dtype);
    return buildProgram(graph, {
      kernels: this.kernels,
      memory: { shared: this.shared, maximum: this.maximum },
      fused: this.fused,
      chunks: this.chunks,
      ...(options.donated ? { donated: options.donated } : {}),
    });
  }

  private executable(graph: Graph, program: WasmProgram, options: CompileOptions): WasmExecutable {
    for (const { bytes } of program.plan.slots) if (bytes > this.info.maxTensorBytes) throw this.tooLarge(bytes);
    return new WasmExecutable(this, graph, options.label ?? "program", program, options.donated ?? []);
  }

  /** Instantiates a program and lays its tables out in memory. */
  private load(executable: WasmExecutable): Loaded {
    if (executable.loaded) return executable.loaded;
    const { module, steps } = executable.program;
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module), {
      env: { memory: this.mem },
      gemm: this.gemm.exports,
    });
    const kernels: KernelEntry[] = [];
    const kernelSteps = steps.filter((step) => step.kind === "kernel");
    for (const { function: number } of kernelSteps) kernels[number] ??= instance.exports[`k${number}`] as KernelEntry;

    const layout = layOut(executable.program, this.pool.size);
    const { tableOffsets, stepsOffset, countersOffset, moduleOffset } = layout;
    const block = this.reserve(layout.programBytes, "program");
    const words = this.view();
    steps.forEach((step, i) => {
      const at = (block.address + stepsOffset) / 4 + stepWords * i;
      const description =
        step.kind === "loop"
          ? [-1, step.body, step.count, 0]
          : step.kind === "stretch"
            ? [-2, step.body, 1, 1]
            : [step.function, block.address + (tableOffsets[i] as number), step.units, step.unitsPerChunk];
      words.set(description, at);
    });
    if (this.shared) new Uint8Array(this.mem.buffer, block.address + moduleOffset, module.length).set(module);

    const shareable = kernelSteps.filter(isShared).reduce((sum, { cost, turns }) => sum + cost * turns, 0);
    const countable = kernelSteps.every(({ units, unitsPerChunk, turns }) => turns * Math.ceil(units / unitsPerChunk) <= mostChunks);
    const loaded: Loaded = {
      number: this.programs++,
      kernels,
      block,
      scalars: block.address + layout.scalarOffset,
      tables: tableOffsets.map((offset) => block.address + offset),
      stepsAddress: block.address + stepsOffset,
      countersAddress: block.address + countersOffset,
      moduleAddress: block.address + moduleOffset,
      moduleBytes: module.length,
      layout,
      parallel: this.shared && countable && (shareable > worthWaking || this.chunks === "finest"),
    };
    executable.loaded = loaded;
    this.unloaded.register(executable, block, executable);
    return loaded;
  }

  release(executable: Executable): void {
    if (this.closed || !(executable instanceof WasmExecutable) || executable.backend !== this) return;
    executable.released = true;
    const { loaded } = executable;
    if (loaded === undefined) return;
    executable.loaded = undefined;
    this.unloaded.unregister(executable);
    this.unneeded.push(loaded.block);
    this.unload();
  }

  /** Gives memory of programs back, unless a worker is late in a run: it still reads its program. */
  private unload(): void {
    if (!this.pool.idle) return;
    for (const block of this.unneeded.splice(0)) this.heap.give(block);
  }

  private view(): Int32Array {
    if (this.words.byteLength !== this.mem.buffer.byteLength) this.words = new Int32Array(this.mem.buffer);
    return this.words;
  }

  run(executable: Executable, inputs: readonly DeviceBuffer[], scalars: readonly number[]): DeviceBuffer[] {
    this.needOpen();
    if (!(executable instanceof WasmExecutable) || executable.backend !== this)
      throw new UsageError("this program was compiled by another backend");
    const { program, donated, label, graph } = executable;
    if (inputs.length !== graph.inputCount || scalars.length !== graph.scalarCount) {
      throw new UsageError(
        `${label} takes ${graph.inputCount} buffers and ${graph.scalarCount} scalars, not ${inputs.length} and ${scalars.length}`,
      );
    }
    refuseReleased(label, executable.released);
    refuseSharedDonation(label, inputs, donated);
    this.pool.check();
    this.pool.settle();
    this.unload();
    const { slots, inputs: read, outputs, slotOf } = program.plan;
    const given = inputs.map((buffer) => this.live(buffer));
    const loaded = this.load(executable);
    const heirs = new Set<number | undefined>(outputs);
    const made: Block[] = [];
    let scratch: Block | undefined;
    try {
      const blocks = slots.map(({ use, bytes }): Block | undefined => {
        if (use.kind === "scratch") return undefined;
        if (use.kind === "output") {
          const block = this.take(bytes, "value");
          made.push(block);
          return block;
        }
        return given[use.input] as Block;
      });
      // After the results, which outlive it: where the scratch is the last block, the memory grows by no more than it lacks when a small
      // tensor has come to lie in its place meanwhile.
      if (loaded.layout.runBytes > 0) scratch = this.reserve(loaded.layout.runBytes, "program");
      const base = scratch?.address ?? 0;
      const addresses = slots.map(({ use }, slot) => (use.kind === "scratch" ? base + use.offset : (blocks[slot] as Block).address));
      this.fillTables(loaded, program, addresses, slotOf, base, scalars);
      this.execute(loaded, program, base);
      donated.forEach((isGiven, input) => {
        if (isGiven && !heirs.has(read[input])) this.heap.give(given[input] as Block);
      });
      return outputs.map((slot) => {
        const block = blocks[slot] as Block;
        if (block.owner !== "value") this.heap.rename(block, "value");
        return block;
      });
    } catch (error) {
      for (const block of made) if (block.live) this.heap.give(block);
      throw error;
    } finally {
      if (scratch) this.heap.give(scratch);
    }
  }

  private fillTables(
    loaded: Loaded,
    program: WasmProgram,
    addresses: readonly number[],
    slotOf: ReadonlyMap<number, number>,
    base: number,
    scalars: readonly number[],
  ): void {
    const words = this.view();
    encodeScalars(scalars, program.scalars).forEach((word, i) => {
      words[loaded.scalars / 4 + i] = word;
    });
    program.steps.forEach((step, i) => {
      if (step.kind !== "kernel") return;
      const table = (loaded.tables[i] as number) / 4;
      words[table + tableHeader.scalars] = loaded.scalars;
      words[table + tableHeader.arena] = base + loaded.layout.arenaOffset;
      step.buffers.forEach((buffer, k) => {
        words[table + tableHeader.words + k] = addresses[slotOf.get(buffer) as number] as number;
      });
    });
    words.fill(0, loaded.countersAddress / 4, loaded.countersAddress / 4 + counterWords * program.steps.length);
  }

  private execute(loaded: Loaded, { steps }: WasmProgram, base: number): void {
    const scratchAddress = base + loaded.layout.threadOffset;
    const { kernels, stepsAddress } = loaded;
    if (!loaded.parallel) {
      const nobody = (): void => undefined;
      runSteps(this.view(), kernels, stepsAddress, steps.length, 0, scratchAddress, nobody, (error) => {
        throw trapped(error);
      });
      return;
    }
    this.pool.run({
      program: loaded.number,
      kernels,
      moduleAddress: loaded.moduleAddress,
      moduleBytes: loaded.moduleBytes,
      stepsAddress,
      stepCount: steps.length,
      countersAddress: loaded.countersAddress,
      scratchAddress,
      scratchBytes: loaded.layout.threadBytes,
    });
  }

  async sync(): Promise<void> {
    this.needOpen();
    this.pool.check();
    this.pool.settle();
    this.unload();
  }

  memory(): MemoryReport {
    if (!this.closed) this.unload();
    return this.heap.report();
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.pool.close();
  }
}

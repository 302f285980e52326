import { programMemory } from "../../compiler/program-memory.js";
import { BackendUnavailableError, DtypeError, OptionError, OutOfMemoryError, UsageError } from "../../errors.js";
import type { DeviceData, DType, HostArray } from "../../ir/dtype.js";
import type { Graph } from "../../ir/graph.js";
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
import { decode, encode, encodeScalars, partOffset } from "../host-data.js";
import { KernelTimes, ProfileInTurn } from "../kernel-times.js";
import { refuseReleased, refuseSharedDonation } from "../programs.js";
import { counterWords, heapStart, stepWords } from "./control.js";
import { home, keyOf, type Loaded, mostPlacements, nowhere, WasmExecutable } from "./executable.js";
import { hasRelaxedSimd, hasSeveralMemories, hasSimd, moreMemory, planThreads, type ThreadPlan } from "./features.js";
import { isShared, type KernelStep } from "./flat-steps.js";
import { Block, Heap } from "./heap.js";
import { gemmModule } from "./kernels/gemm.js";
import { tableHeader } from "./kernels/kernel.js";
import { bytesOf } from "./kernels/operations.js";
import { layOut } from "./layout.js";
import { blockLimit, endMargin, type LinearMemory, type MemoryOptions, maximumOf, memoryImports, openFor, pageBytes } from "./memories.js";
import { ThreadPool, trapped } from "./pool.js";
import { bufferBytes, buildProgram, type Placement, type ProgramOptions, placeProgram, type WasmProgram } from "./program.js";
import { type KernelEntry, reserved, runSteps } from "./run-steps.js";

export interface WasmOptions extends MemoryOptions {
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
  /** Takes each block from the next memory, so that tests see all of them in one kernel. Default false: from the first that has room. */
  readonly spread?: boolean;
  /** Why faster backends cannot be had. */
  readonly passedOver?: readonly string[];
}

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
  const memories = await openFor(count > 1, options);
  const fused = (options.fusedMultiplyAdd ?? true) && hasRelaxedSimd();
  const memory = { shared: count > 1, maximum: maximumOf(memories) };
  const gemm = compileModule(gemmModule(memory, fused));
  const pool = await ThreadPool.start(memories, gemm, count - 1);
  return new WasmBackend(memories, gemm, pool, fused, plan, options);
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

class WasmBackend implements Backend {
  readonly info: BackendInfo;
  private readonly heap: Heap;
  private readonly gemm: WebAssembly.Instance;
  private readonly shared: boolean;
  private readonly kernels: "auto" | "definitions";
  private readonly poison: boolean;
  private readonly chunks: "auto" | "finest";
  private programs = 0;
  private readonly profile = new ProfileInTurn<KernelTimes>();
  private closed = false;
  private readonly memoryType: ProgramOptions["memory"];
  /** Memory of programs that nobody has any more. */
  private readonly unneeded: Block[] = [];
  private readonly unloaded = new FinalizationRegistry<ReadonlySet<Block>>((blocks) => {
    this.unneeded.push(...blocks);
    if (!this.closed) this.unload();
  });

  constructor(
    private readonly memories: readonly LinearMemory[],
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
    this.gemm = new WebAssembly.Instance(gemm, { env: memoryImports(memories) });
    const window = options.memories === "windows" ? { window: (memories[0] as LinearMemory).maximumPages * pageBytes } : {};
    this.memoryType = { shared: this.shared, maximum: maximumOf(memories), ...window };
    const isLimited = memories.length === 1 && options.maximumBytes === undefined && !hasSeveralMemories();
    this.heap = new Heap(memories, {
      start: heapStart,
      margin: endMargin,
      spread: options.spread,
      advice: isLimited ? moreMemory : undefined,
    });
    const limit = plan.limit === undefined ? "" : ` (${plan.limit})`;
    const threads = pool.size === 1 ? `1 thread${limit}` : `${pool.size} threads`;
    this.info = {
      name: "wasm",
      adapter: `WebAssembly SIMD, ${threads}${fused ? ", fused multiply-add" : ""}`,
      software: true,
      threads: pool.size,
      dtypes: new Set<DType>(["f32", "f16", "bf16", "i32", "u32", "bool"]),
      maxTensorBytes: this.blockBytes,
      maxBytes: memories.reduce((sum, { maximumPages }) => sum + maximumPages * pageBytes, 0),
      passedOver: options.passedOver ?? [],
    };
  }

  /** Bytes that one block can take. */
  private get blockBytes(): number {
    return blockLimit(this.memories.reduce((most, { maximumPages }) => Math.max(most, maximumPages), 0));
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
  private reserve(bytes: number, owner: string, use: "value" | "program" = "value"): Block {
    const block = this.heap.take(bytes, owner, use);
    if (this.poison) this.bytesOf(block).fill(0xff);
    return block;
  }

  /** What is in a block, from a byte on. */
  private bytesOf({ memory, address, bytes }: Block, from = 0, length = bytes - from): Uint8Array {
    return (this.memories[memory] as LinearMemory).bytes(address + from, length);
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
    const source = new Uint8Array(encoded.buffer, encoded.byteOffset, encoded.byteLength);
    this.bytesOf(block, partOffset(block, encoded, begin), encoded.byteLength).set(source);
  }

  async read(buffer: DeviceBuffer, dtype: DType, length: number): Promise<HostArray> {
    this.need(dtype);
    const block = this.live(buffer);
    const { bytes, id } = block;
    this.pool.check();
    const size = length * bytesOf[dtype];
    if (size > bytes) throw new UsageError(`buffer ${id} holds ${bytes} bytes, not ${size}`);
    const copy = new Uint8Array(size);
    copy.set(this.bytesOf(block, 0, size));
    return decode(dtype, copy.buffer, length);
  }

  compile(graph: Graph, options: CompileOptions = {}): Executable {
    return this.executable(graph, this.build(graph, options), options);
  }

  memoryOf(graph: Graph, options: CompileOptions = {}): ProgramMemory {
    const program = this.build(graph, options);
    const { programBytes, runs } = layOut(program, this.pool.size);
    const scratchBytes = runs.reduce((a, b) => a + b, 0);
    return programMemory(graph, program.plan.slots, { bytesOf: bufferBytes, programBytes, scratchBytes });
  }

  private build(graph: Graph, options: CompileOptions): WasmProgram {
    this.needOpen();
    for (const node of graph.nodes) this.need(node.dtype);
    return buildProgram(graph, { kernels: this.kernels, ...this.printing(), ...(options.donated ? { donated: options.donated } : {}) });
  }

  /** How programs are printed here. */
  private printing(): Omit<ProgramOptions, "kernels" | "donated"> {
    const several = this.memories.length > 1 ? { blockBytes: this.blockBytes } : {};
    return { memory: this.memoryType, fused: this.fused, chunks: this.chunks, ...several };
  }

  private executable(graph: Graph, program: WasmProgram, options: CompileOptions): WasmExecutable {
    for (const { bytes } of program.plan.slots) if (bytes > this.info.maxTensorBytes) throw this.tooLarge(bytes);
    return new WasmExecutable(this, graph, options.label ?? "program", program, options.donated ?? [], this.pool.size);
  }

  /** Instantiates a program for a run that has its things where `placement` says, and lays its tables out in memory. */
  private load(executable: WasmExecutable, placement: Placement = home): Loaded {
    const key = keyOf(placement);
    const known = executable.loaded.get(key);
    if (known !== undefined) {
      executable.loaded.delete(key);
      executable.loaded.set(key, known);
      return known;
    }
    const program = key === "" ? executable.program : placeProgram(executable.program, placement, this.printing());
    const { module, steps } = program;
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module), {
      env: memoryImports(this.memories),
      gemm: this.gemm.exports,
    });
    const kernels: KernelEntry[] = [];
    const kernelSteps = steps.filter((step) => step.kind === "kernel");
    for (const { function: number } of kernelSteps) kernels[number] ??= instance.exports[`k${number}`] as KernelEntry;

    const layout = layOut(program, this.pool.size);
    const { tableOffsets, stepsOffset, countersOffset, moduleOffset } = layout;
    const block = this.reserve(layout.programBytes, "program", "program");
    const words = this.words;
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
    if (this.shared) this.bytesOf(block, moduleOffset, module.length).set(module);

    const shareable = kernelSteps.filter(isShared).reduce((sum, { cost, turns }) => sum + cost * turns, 0);
    const countable = kernelSteps.every(({ units, unitsPerChunk, turns }) => turns * Math.ceil(units / unitsPerChunk) <= mostChunks);
    const loaded: Loaded = {
      number: this.programs++,
      program,
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
    if (executable.loaded.size === 0) this.unloaded.register(executable, executable.blocks, executable);
    for (const [old, { block: other }] of executable.loaded) {
      if (executable.loaded.size < mostPlacements) break;
      executable.loaded.delete(old);
      executable.blocks.delete(other);
      this.unneeded.push(other);
    }
    executable.loaded.set(key, loaded);
    executable.blocks.add(block);
    return loaded;
  }

  release(executable: Executable): void {
    if (this.closed || !(executable instanceof WasmExecutable) || executable.backend !== this) return;
    executable.released = true;
    if (executable.loaded.size === 0) return;
    executable.loaded.clear();
    this.unloaded.unregister(executable);
    this.unneeded.push(...executable.blocks);
    executable.blocks.clear();
    this.unload();
  }

  /** Gives memory of programs back, unless a worker is late in a run: it still reads its program. */
  private unload(): void {
    if (!this.pool.idle) return;
    for (const block of this.unneeded.splice(0)) this.heap.give(block);
  }

  /** The words of the first memory, where the tables of programs are. */
  private get words(): Int32Array {
    return (this.memories[0] as LinearMemory).words();
  }

  run(executable: Executable, inputs: readonly DeviceBuffer[], scalars: readonly number[]): DeviceBuffer[] {
    this.needOpen();
    if (!(executable instanceof WasmExecutable) || executable.backend !== this)
      throw new UsageError("this program was compiled by another backend");
    const { program, donated, label, graph, layout } = executable;
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
    // Most runs have everything in the first memory: their tables come before results, which outlive them.
    if (given.every(({ memory }) => memory === 0)) this.load(executable);
    const heirs = new Set<number | undefined>(outputs);
    const made: Block[] = [];
    const scratch: Block[] = [];
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
      for (const bytes of layout.runs) scratch.push(this.reserve(bytes, "program"));
      const run = scratch[scratch.length - 1];
      const { blockBytes } = program.plan;
      const places = slots.map(({ use }, slot): Pick<Block, "memory" | "address"> => {
        if (use.kind !== "scratch") return blocks[slot] as Block;
        const block = Math.floor(use.offset / blockBytes);
        const { memory, address } = scratch[block] ?? nowhere;
        return { memory, address: address + (use.offset % blockBytes) };
      });
      const loaded = this.load(executable, { slots: places.map(({ memory }) => memory), run: run?.memory ?? 0 });
      this.fillTables(
        loaded,
        places.map(({ address }) => address),
        slotOf,
        run?.address ?? 0,
        scalars,
      );
      this.execute(loaded, run);
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
      for (const block of scratch) this.heap.give(block);
    }
  }

  private fillTables(
    loaded: Loaded,
    addresses: readonly number[],
    slotOf: ReadonlyMap<number, number>,
    base: number,
    scalars: readonly number[],
  ): void {
    const { program } = loaded;
    const { words } = this;
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
    if (this.profile.current === undefined) return;
    program.steps.forEach(({ kind }, i) => {
      if (kind === "stretch") words[loaded.countersAddress / 4 + counterWords * i] = reserved;
    });
  }

  private execute(loaded: Loaded, run: Block | undefined): void {
    const scratchAddress = (run?.address ?? 0) + loaded.layout.threadOffset;
    const scratchMemory = run?.memory ?? 0;
    const { kernels, stepsAddress, program } = loaded;
    const { steps } = program;
    const profile = this.profile.current;
    const took = profile && ((step: number, milliseconds: number) => profile.add((steps[step] as KernelStep).label, milliseconds));
    if (!loaded.parallel) {
      const nobody = (): void => undefined;
      runSteps(
        this.words,
        (this.memories[scratchMemory] as LinearMemory).words(),
        kernels,
        stepsAddress,
        steps.length,
        0,
        scratchAddress,
        nobody,
        (error) => {
          throw trapped(error);
        },
        took,
      );
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
      scratchMemory,
      scratchAddress,
      scratchBytes: loaded.layout.threadBytes,
      took,
    });
  }

  startProfile(): void {
    this.needOpen();
    this.profile.start(() => new KernelTimes());
  }

  async endProfile(): Promise<KernelTime[]> {
    return this.profile.end()?.sorted() ?? [];
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

import type { DeviceData, DType, HostArray } from "../ir/dtype.js";
import type { Graph } from "../ir/graph.js";
import type { ProgramReport } from "../ir/program-report.js";

/** A piece of device memory that one tensor owns. Opaque outside of its backend. */
export interface DeviceBuffer {
  /** Unique within its backend and never used again. */
  readonly id: number;
  /** Bytes that the content takes (the capacity may be larger). */
  readonly bytes: number;
}

/** A graph made ready to run. */
export interface Executable {
  readonly graph: Graph;
  /** What will run, for a reader: kernels in order with shapes, bytes and slots. */
  describe(): string;
  /** The same as data, with what each kernel computes and moves; absent where a backend cannot tell. */
  report?(): ProgramReport;
}

export interface CompileOptions {
  /** For each input, whether the caller gives its buffer up; results may then be written into it. */
  readonly donated?: readonly boolean[];
  /** A name for error messages and profiles. */
  readonly label?: string;
  /** What the inputs are called, for error messages. */
  readonly inputs?: readonly string[];
}

/** Bytes that a program takes on its backend while it runs, known before there is memory for any of it. */
export interface ProgramMemory {
  /** What it reads: arguments, and tensors that the function closes over. */
  readonly inputBytes: number;
  /** Results in memory of their own; those that take over a donated input are not in it. */
  readonly resultBytes: number;
  /** What is between, during a run. */
  readonly scratchBytes: number;
  /** What stays from run to run: tables, code, scalars. */
  readonly programBytes: number;
  /** All of that at its most: what `memory().peakBytes` grows to where nothing else is. */
  readonly peakBytes: number;
  /** The largest tensor among it, which `info.maxTensorBytes` bounds. */
  readonly largestTensorBytes: number;
}

/** Memory that a backend holds at this moment. */
export interface MemoryReport {
  readonly liveBytes: number;
  readonly liveBuffers: number;
  readonly peakBytes: number;
  /** Live bytes by owner: "value" (tensors), "program" (scratch), "staging" (transfers), … */
  readonly byOwner: Readonly<Record<string, number>>;
  /** Bytes kept for reuse, owned by nobody. */
  readonly idleBytes: number;
}

/** How long a kernel took on the device, over all of its runs in a profile. */
export interface KernelTime {
  /** The kernel as `explain` names it. */
  readonly label: string;
  readonly calls: number;
  /** Of all calls together. */
  readonly milliseconds: number;
}

export interface BackendInfo {
  readonly name: "webgpu" | "wasm" | "reference";
  /** The adapter or processor as its driver names it. */
  readonly adapter: string;
  /** True where no hardware accelerates it. */
  readonly software: boolean;
  /** The dtypes that values may have here. */
  readonly dtypes: ReadonlySet<DType>;
  /** Bytes that one tensor may take. */
  readonly maxTensorBytes: number;
  /** Bytes that everything together may take, where that is known: a WebAssembly memory ends at 4 GiB. What GPUs have is not told. */
  readonly maxBytes?: number;
  /** Threads that compute, the caller's among them; absent where an adapter computes. */
  readonly threads?: number;
  /** Where `init()` chose: why each backend that it prefers to this one cannot be had, and what to do. Else empty. */
  readonly passedOver: readonly string[];
}

/**
 * What a device must be able to do. A backend sees graphs and buffers; it knows nothing of tensors, of derivatives or of
 * models. Everything but `read` and `sync` returns at once; work happens in the order of the calls.
 */
export interface Backend {
  readonly info: BackendInfo;
  /** Where this one stands before another and uses its buffers: that one. */
  readonly underlying?: Backend;
  /** Whether it tells where values come from: then origins are noted while it is the current one. */
  readonly notesOrigins?: boolean;
  /** Memory for `length` elements of `dtype`. Throws OutOfMemoryError. */
  alloc(dtype: DType, length: number, owner: string): DeviceBuffer;
  /** Gives memory back; runs that were started before still see it. */
  free(buffer: DeviceBuffer): void;
  /**
   * Writes the elements from `begin` on, 0 if left out; the others stay as they are. A Uint16Array holds the bits of halves, which are taken as
   * they are. Devices are written in words of 32 bits: parts of halves begin at an even element, and are of an even length unless they end
   * the buffer (UsageError, as for parts that do not fit).
   */
  write(buffer: DeviceBuffer, dtype: DType, data: DeviceData, begin?: number): void;
  read(buffer: DeviceBuffer, dtype: DType, length: number): Promise<HostArray>;
  compile(graph: Graph, options?: CompileOptions): Executable;
  /** What a run of the program would take. Allocates nothing on the device and refuses no size. */
  memoryOf(graph: Graph, options?: CompileOptions): ProgramMemory;
  /**
   * Runs a program. `inputs` and `scalars` are in the order of the graph's; a donated input belongs to the backend
   * afterwards, unless the run throws. Returns one new buffer for each output. Throws UsageError where a donated buffer is also another
   * input, and for a program that was released.
   */
  run(executable: Executable, inputs: readonly DeviceBuffer[], scalars: readonly number[]): DeviceBuffer[];
  /**
   * Marks the end of a step, and waits while more than a few steps are unfinished: for loops that may wait, so that they do not run
   * ahead of the device without bound. Absent where a run is done when it returns. Throws what went wrong meanwhile.
   */
  throttle?(): Promise<void>;
  /** Gives back at once what a program holds on the device; runs that were started before end as they should. It cannot run again. */
  release(executable: Executable): void;
  /** Waits until all work is done; throws what went wrong meanwhile. */
  sync(): Promise<void>;
  memory(): MemoryReport;
  /**
   * Measures each kernel of the runs between the two, the longest first. Absent where kernels cannot be measured one by one. Throws UsageError
   * where the adapter has no timestamps, or a profile is being taken.
   */
  startProfile?(): void;
  endProfile?(): Promise<KernelTime[]>;
  /** Drains the device and frees everything. */
  close(): Promise<void>;
}

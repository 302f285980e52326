import { DeviceError, OptionError, OutOfMemoryError, UsageError } from "../../errors.js";
import { isNode } from "../../platform/node.js";
import type { AdapterReport } from "./adapter-report.js";
import { type BufferKind, BufferPool, type GpuBuffer } from "./buffer-pool.js";
import { DeviceErrors } from "./device-errors.js";
import { type DeviceCalls, deviceCalls, type FaultPlan, faultyCalls } from "./faults.js";
import { Compiler, type Pipeline } from "./pipelines.js";
import { gpuWait } from "./wait.js";
import { WorkQueue } from "./work-queue.js";

/** Which templates kernels come from: without workgroup memory and barriers for processors, with tiles for GPUs. */
export type KernelClass = "software" | "gpu";

export interface GpuDeviceOptions {
  readonly kernelClass: KernelClass;
  /** Features of WGSL. Default: none. */
  readonly languageFeatures?: ReadonlySet<string>;
  /** Fill every storage buffer that is acquired with NaN bits. */
  readonly poison: boolean;
  /** Idle bytes that the pool keeps beyond 1.25 times its peak. */
  readonly idleBytesCap: number;
  readonly faults?: FaultPlan;
}

/** The flags of GPUBufferUsage, which Node has no global for. */
const USAGE = { MAP_READ: 0x1, COPY_SRC: 0x4, COPY_DST: 0x8, UNIFORM: 0x40, STORAGE: 0x80 } as const;
const usageOf: Record<BufferKind, number> = {
  storage: USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST,
  uniform: USAGE.UNIFORM | USAGE.COPY_DST,
  readback: USAGE.MAP_READ | USAGE.COPY_DST,
};

/** Bytes per mapped buffer and per upload: drivers fail on far larger ones. */
const TRANSFER_BYTES = 64 * 2 ** 20;
/** Written bytes after which the queue is made to let go of its staging memory. */
const FLUSH_BYTES = 16 * 2 ** 20;
const NAN_BITS = 0x7fc0_0bad;

/** A GPU device with its buffers and its errors. Made by `openDevice`. */
export class GpuDevice {
  /** Buffers live here; see `acquire` and `release`. */
  readonly pool: BufferPool;
  readonly features: ReadonlySet<string>;
  readonly limits: GPUSupportedLimits;
  readonly software: boolean;
  readonly kernelClass: KernelClass;
  /** Invocations of every subgroup, where there are subgroups and all have the same size. */
  readonly subgroupSize: number | undefined;
  /** Whether an invocation can tell its subgroup from the others of its workgroup. */
  readonly subgroupIds: boolean;
  private readonly errors: DeviceErrors;
  private readonly calls: DeviceCalls;
  private readonly poison: Uint32Array<ArrayBuffer> | undefined;
  private readonly compiler: Compiler;
  /** What is handed to the queue of the device, in order, and the memory that what waits there touches. */
  private readonly queue = new WorkQueue();
  private readonly touched = new Set<number>();
  private lastLabel = "nothing";
  private unflushedBytes = 0;
  /** Buffers with ids up to this one were handed out before anything of what is yet to be reported. */
  private soundId = 0;
  private readonly suspects: { readonly after: number; readonly upTo: number; readonly error: Error }[] = [];
  private readonly reads = new Set<Promise<unknown>>();
  private readonly marks: Promise<void>[] = [];
  private closing: Promise<void> | undefined;

  constructor(
    readonly gpu: GPUDevice,
    readonly info: AdapterReport,
    options: GpuDeviceOptions,
  ) {
    this.features = new Set(gpu.features);
    this.limits = gpu.limits;
    this.software = info.software;
    this.kernelClass = options.kernelClass;
    const { subgroupMinSize, subgroupMaxSize } = gpu.adapterInfo;
    this.subgroupSize = this.features.has("subgroups") && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : undefined;
    this.subgroupIds = this.features.has("subgroups") && options.languageFeatures?.has("subgroup_id") === true;
    this.calls = options.faults ? faultyCalls(options.faults) : deviceCalls;
    this.poison = options.poison ? new Uint32Array(2 ** 18).fill(NAN_BITS) : undefined;
    this.errors = new DeviceErrors(() => this.lastLabel);
    this.pool = new BufferPool(
      {
        create: (kind, bytes, label) => this.createBuffer(kind, bytes, label),
        fence: () => this.fence(),
        limit: (kind) => this.bufferLimit(kind),
        acquired: (buffer, kind) => this.fillWithNaN(buffer, kind),
      },
      options.idleBytesCap,
    );
    this.compiler = new Compiler(gpu, (promise) => this.wait(promise));
    this.errors.listen(gpu, () => this.pool.byOwner());
  }

  /** Errors so far that no caller was waiting for. */
  get errorCount(): number {
    return this.errors.uncaptured;
  }

  /** Whether the device is gone, through a fault or through `destroy`. */
  get lost(): boolean {
    return this.errors.isLost;
  }

  /**
   * A storage buffer of at least `bytes` bytes with unknown content. Throws OutOfMemoryError at once for more than one buffer
   * may have here; memory that the driver cannot give is reported by the next `check`, `read` or `drain`. Throws
   * DeviceLostError.
   */
  acquire(bytes: number, owner: string): GpuBuffer {
    this.errors.checkLost();
    return this.pool.acquire(bytes, owner, "storage");
  }

  /** A buffer for a uniform binding, from the same pool. Throws as `acquire` does. */
  acquireUniform(bytes: number, owner: string): GpuBuffer {
    this.errors.checkLost();
    return this.pool.acquire(bytes, owner, "uniform");
  }

  /** Gives a buffer back to the pool. Throws UsageError if it was given back before. */
  release(buffer: GpuBuffer): void {
    if (this.closing) return;
    this.pool.release(buffer);
  }

  /**
   * Begins to compile a kernel, beside others. A DeviceError with the compiler's message, its line and the WGSL around it is thrown by the
   * next `check`, `read` or `drain`; the latter two wait for it. Throws DeviceLostError.
   */
  compile(label: string, wgsl: string, layout: GPUPipelineLayout | "auto" = "auto"): Pipeline {
    this.errors.checkLost();
    const pipeline = this.compiler.compile(label, wgsl, layout);
    this.errors.watch(pipeline.making.then(() => pipeline.error));
    return pipeline;
  }

  /**
   * Does `work`, which touches `buffers`, with the queue of the device when all of `pipelines` are made and everything before it is done:
   * at once, if they are. Where one of them was refused, its error is reported and `work` is left out.
   */
  afterPipelines(pipelines: readonly Pipeline[], buffers: readonly GpuBuffer[], work: () => void): void {
    const making = pipelines.flatMap(({ making: made }) => made ?? []);
    const start = (): void => {
      if (this.lost) return;
      const refused = pipelines.find(({ error }) => error !== undefined);
      if (refused?.error === undefined) work();
      else this.errors.record(refused.error);
    };
    const wasIdle = this.queue.idle;
    this.queue.add(start, making.length === 0 ? undefined : Promise.all(making));
    if (this.queue.idle) return;
    if (wasIdle) this.touched.clear();
    for (const { memory } of buffers) this.touched.add(memory);
  }

  /**
   * Queues a write of `data` at byte `offset`, a multiple of 4. A length that is no multiple of 4 is padded with zero bytes.
   * Throws OptionError when it does not fit, UsageError for a buffer that was given back, and DeviceLostError.
   */
  write(buffer: GpuBuffer, data: ArrayBufferView | ArrayBuffer, offset = 0): void {
    this.errors.checkLost();
    this.refuseReleased(buffer);
    const given = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data);
    checkRange("write", buffer, given.byteLength, offset);
    this.inTurn(buffer, given, (bytes) => {
      const whole = bytes.byteLength & ~3;
      for (let at = 0; at < whole; at += TRANSFER_BYTES) {
        this.writePiece(buffer, bytes.subarray(at, Math.min(whole, at + TRANSFER_BYTES)), offset + at);
      }
      if (whole < bytes.byteLength) {
        const tail = new Uint8Array(4);
        tail.set(bytes.subarray(whole));
        this.writePiece(buffer, tail, offset + whole);
      }
    });
  }

  /**
   * The `bytes` bytes from `offset` (a multiple of 4) as they are after everything submitted before this call. Throws
   * OptionError for a range outside of the buffer, and whatever `ensureUsable` and `check` throw: no value is returned that a
   * failure may have spoilt.
   */
  async read(buffer: GpuBuffer, bytes: number, offset = 0): Promise<ArrayBuffer> {
    const reading = this.readNow(buffer, bytes, offset);
    this.reads.add(reading);
    try {
      return await reading;
    } finally {
      this.reads.delete(reading);
    }
  }

  /** Queues commands; `label` is named if the device is lost. Throws DeviceLostError. */
  submit(commands: readonly GPUCommandBuffer[], label: string): void {
    this.errors.checkLost();
    this.queue.add(() => {
      this.lastLabel = label;
      this.unflushedBytes = 0;
      this.calls.submit(this.gpu, commands);
    });
  }

  /** Lets the queue go of the staging memory of writes, which it else keeps until the next submit. */
  flush(): void {
    if (this.unflushedBytes === 0 || this.lost) return;
    this.unflushedBytes = 0;
    this.gpu.queue.submit([]);
  }

  /** Resolves when everything submitted so far is done, or the device is gone. Says nothing of errors. */
  async fence(): Promise<void> {
    if (!this.queue.idle) await this.queue.settled();
    if (this.lost) return;
    this.flush();
    await this.wait(this.gpu.queue.onSubmittedWorkDone());
  }

  /**
   * Marks the end of a step and waits while more than `maxInFlight` (default 3) marked steps are unfinished, so that a loop
   * that reads nothing back cannot run ahead of the GPU without bound.
   */
  async throttle(maxInFlight = 3): Promise<void> {
    this.marks.push(this.fence());
    while (this.marks.length > maxInFlight) await this.marks.shift();
    await this.errors.settle();
    this.check();
  }

  /**
   * Throws what has gone wrong since the last time: DeviceLostError, OutOfMemoryError or DeviceError. An error is thrown
   * once, but the buffers that were handed out while it happened stay suspect: `ensureUsable` and `read` go on refusing them.
   */
  check(): void {
    this.errors.checkLost();
    const error = this.errors.take();
    if (!error) return;
    this.suspects.push({ after: this.soundId, upTo: this.pool.lastId, error });
    this.soundId = this.pool.lastId;
    throw error;
  }

  /** Throws UsageError for a buffer that was given back, and for a suspect one (see `check`) the error that spoilt it. */
  ensureUsable(buffer: GpuBuffer): void {
    this.refuseReleased(buffer);
    this.refuseSuspect(buffer);
  }

  /** Waits until all work is done and all errors are known, then does `check`. */
  async drain(): Promise<void> {
    const soundId = this.pool.lastId;
    await this.settleWork();
    this.check();
    this.soundId = Math.max(this.soundId, soundId);
  }

  /** Waits for all work, then destroys all buffers and the device. Never throws for what went wrong before. */
  destroy(): Promise<void> {
    this.closing ??= this.close();
    return this.closing;
  }

  private async readNow(buffer: GpuBuffer, bytes: number, offset: number): Promise<ArrayBuffer> {
    this.errors.checkLost();
    this.ensureUsable(buffer);
    checkRange("read", buffer, bytes, offset);
    const soundId = this.pool.lastId;
    const result = new Uint8Array(bytes);
    if (!this.queue.idle) this.touched.add(buffer.memory);
    const encoder = this.gpu.createCommandEncoder({ label: `read ${buffer.owner}` });
    const pieces: { at: number; staging: GpuBuffer }[] = [];
    for (let at = 0; at < bytes; at += TRANSFER_BYTES) {
      const size = wholeWords(Math.min(TRANSFER_BYTES, bytes - at));
      const staging = this.pool.acquire(size, "staging", "readback");
      encoder.copyBufferToBuffer(buffer.gpu, offset + at, staging.gpu, 0, size);
      pieces.push({ at, staging });
    }
    this.submit([encoder.finish()], `read ${buffer.owner}`);
    if (!this.queue.idle) await this.queue.settled();
    const copies = await Promise.allSettled(pieces.map(({ at, staging }) => this.copyOut(staging, result, at)));
    await this.errors.settle();
    this.check();
    // Another read may have thrown the error already that spoils this one too.
    this.refuseSuspect(buffer);
    for (const copy of copies) if (copy.status === "rejected") throw copy.reason;
    this.soundId = Math.max(this.soundId, soundId);
    return result.buffer;
  }

  private refuseReleased(buffer: GpuBuffer): void {
    if (this.pool.isLive(buffer)) return;
    throw new UsageError(`the memory of "${buffer.owner}" was given back already`, { hint: "keep the tensor that owns it" });
  }

  private refuseSuspect(buffer: GpuBuffer): void {
    const suspect = this.suspects.find(({ after, upTo }) => after < buffer.id && buffer.id <= upTo);
    if (suspect) throw suspect.error;
  }

  private async close(): Promise<void> {
    await Promise.allSettled([this.settleWork(), ...this.reads]);
    this.errors.close();
    this.pool.destroyAll();
    this.gpu.destroy();
  }

  private async settleWork(): Promise<void> {
    await this.fence();
    await this.errors.settle();
    await this.yieldToLoss();
  }

  private wait<T>(promise: Promise<T>): Promise<T> {
    return gpuWait(promise, { nap: this.software });
  }

  /** A loss is announced by a promise of its own, which may come a little after the call that it spoilt. */
  private async yieldToLoss(): Promise<void> {
    if (!this.lost) await new Promise<void>((resolve) => (isNode ? setImmediate(resolve) : setTimeout(resolve, 0)));
  }

  private createBuffer(kind: BufferKind, bytes: number, label: string): GPUBuffer {
    const { buffer, outOfMemory } = this.calls.createBuffer(this.gpu, { label, size: bytes, usage: usageOf[kind] });
    this.errors.watch(
      this.wait(outOfMemory).then((message) => {
        if (message === undefined) return undefined;
        this.pool.spoil(buffer);
        this.pool.trim();
        return new OutOfMemoryError(`the device has no memory for a ${label}: ${message}`, {
          requestedBytes: bytes,
          liveBytes: this.pool.byOwner(),
          hint: "use a smaller batch with more accumulation steps, checkpointing, or a smaller model",
        });
      }),
    );
    return buffer;
  }

  private bufferLimit(kind: BufferKind): { bytes: number; name: string } {
    const whole = { bytes: this.limits.maxBufferSize, name: "maxBufferSize" };
    if (kind === "readback") return whole;
    const name = kind === "storage" ? "maxStorageBufferBindingSize" : "maxUniformBufferBindingSize";
    return this.limits[name] < whole.bytes ? { bytes: this.limits[name], name } : whole;
  }

  private fillWithNaN(buffer: GpuBuffer, kind: BufferKind): void {
    if (!this.poison || kind !== "storage") return;
    this.inTurn(buffer, this.poison, (poison) => {
      for (let at = 0; at < buffer.capacity; at += poison.byteLength) {
        this.writePiece(buffer, poison.subarray(0, Math.min(poison.length, (buffer.capacity - at) / 4)), at);
      }
    });
  }

  /** Writes to a buffer: at once, unless others who touch it have to wait. */
  private inTurn<T extends Uint8Array | Uint32Array>({ memory }: GpuBuffer, data: T, write: (data: T) => void): void {
    if (this.queue.idle || !this.touched.has(memory)) {
      write(data);
      return;
    }
    // The caller may put something else there before it is this one's turn.
    const copy = data.slice() as T;
    this.queue.add(() => write(copy));
  }

  private writePiece(buffer: GpuBuffer, data: Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer>, offset: number): void {
    this.gpu.queue.writeBuffer(buffer.gpu, offset, data);
    this.unflushedBytes += data.byteLength;
    if (this.unflushedBytes >= FLUSH_BYTES) this.flush();
  }

  private async copyOut(staging: GpuBuffer, result: Uint8Array, at: number): Promise<void> {
    try {
      await this.wait(this.calls.mapAsync(staging.gpu));
    } catch (cause) {
      this.pool.discard(staging);
      await this.yieldToLoss();
      // The driver's own message is empty more often than not.
      throw new DeviceError(`the result of "${this.lastLabel}" cannot be read back: ${messageOf(cause) || "mapAsync was rejected"}`, {
        cause,
      });
    }
    const length = Math.min(TRANSFER_BYTES, result.byteLength - at);
    result.set(new Uint8Array(staging.gpu.getMappedRange()).subarray(0, length), at);
    staging.gpu.unmap();
    this.pool.release(staging);
  }
}

/** The smallest multiple of 4 that is at least `bytes`. */
const wholeWords = (bytes: number): number => Math.ceil(bytes / 4) * 4;

function checkRange(verb: string, buffer: GpuBuffer, bytes: number, offset: number): void {
  const whole = Number.isSafeInteger(bytes) && bytes >= 0 && Number.isSafeInteger(offset) && offset >= 0 && offset % 4 === 0;
  if (whole && offset + bytes <= wholeWords(buffer.bytes)) return;
  throw new OptionError(`cannot ${verb} ${bytes} bytes at offset ${offset} of "${buffer.owner}", a buffer of ${buffer.bytes} bytes`, {
    hint: "the offset must be a multiple of 4, and the range within the buffer",
  });
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

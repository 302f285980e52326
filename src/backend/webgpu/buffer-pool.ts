import { OutOfMemoryError, UsageError } from "../../errors.js";

/** What a buffer is for: tensors, scalars of a program, or transfers to the host. */
export type BufferKind = "storage" | "uniform" | "readback";

/** A buffer that an owner holds, from `acquire` to `release`. */
export interface GpuBuffer {
  /** Names this holding; grows with each `acquire` and `rename`, and is never used again. */
  readonly id: number;
  /** Names the GPUBuffer, which keeps it when it changes hands: bind groups may be kept by it. Never used for another. */
  readonly memory: number;
  readonly gpu: GPUBuffer;
  /** Bytes that were asked for. */
  readonly bytes: number;
  /** Bytes that there are: a size class, a multiple of 4. */
  readonly capacity: number;
  readonly owner: string;
}

/** Bytes and buffers that a pool holds. */
export interface PoolStats {
  /** Acquired and not released. */
  readonly liveBytes: number;
  readonly liveBuffers: number;
  /** Kept for reuse, or waiting until the GPU is done with them. */
  readonly idleBytes: number;
  readonly idleBuffers: number;
  /** Live bytes by owner. */
  readonly byOwner: Record<string, number>;
  /** The most live bytes so far. */
  readonly peakBytes: number;
}

/** What a pool needs of a device. */
export interface PoolDevice {
  /** Makes a buffer; failures show up elsewhere, later. */
  create(kind: BufferKind, bytes: number, label: string): GPUBuffer;
  /** Resolves when all work submitted so far is done, or will never be. */
  fence(): Promise<void>;
  /** The most bytes that one buffer of a kind may have, and which limit says so. */
  limit(kind: BufferKind): { readonly bytes: number; readonly name: string };
  /** Called with each buffer that is handed out. */
  acquired?(buffer: GpuBuffer, kind: BufferKind): void;
}

interface Entry {
  readonly memory: number;
  readonly gpu: GPUBuffer;
  readonly kind: BufferKind;
  readonly bytes: number;
  /** Whether it never got its memory. */
  spoilt: boolean;
}

const SMALLEST = 256;
/** Size classes per power of two: at most an eighth of a buffer is waste. */
const STEPS = 8;

/** The smallest size class, at most `limit`, that holds `bytes`. */
export function sizeClass(bytes: number, limit: number): number {
  if (bytes <= SMALLEST) return SMALLEST;
  const power = 2 ** Math.floor(Math.log2(bytes));
  const step = Math.max(SMALLEST, power / STEPS);
  return Math.min(Math.ceil(bytes / step) * step, Math.floor(limit / 4) * 4);
}

/**
 * Buffers by size class. A released buffer may be handed out again at once, because the queue works in order; it is
 * destroyed only once everything that was submitted before is done. Live and idle bytes together stay within 1.25 times the
 * most that was ever live at once plus `idleBytesCap`, so that a program finds its scratch memory again at every step; of the
 * idle buffers the longest idle go first.
 */
export class BufferPool {
  /** What is held, by the very object that was handed out. */
  private readonly live = new Map<GpuBuffer, Entry>();
  /** Released entries, longest idle first. */
  private readonly idle = new Set<Entry>();
  /** The idle entries by kind and size class, latest released last. */
  private readonly shelves = new Map<string, Entry[]>();
  private readonly retiring = new Set<Entry>();
  private readonly owners = new Map<string, number>();
  private retirement: Promise<void> | undefined;
  private lastMemory = 0;
  /** The id given last. */
  lastId = 0;
  private liveBytes = 0;
  private idleBytes = 0;
  private retiringBytes = 0;
  private peakBytes = 0;

  constructor(
    private readonly device: PoolDevice,
    private readonly idleBytesCap: number,
  ) {}

  /**
   * A buffer of at least `bytes` bytes (0 is a size too) with whatever content it had. Throws OutOfMemoryError for more than
   * one buffer may have on this device.
   */
  acquire(bytes: number, owner: string, kind: BufferKind = "storage"): GpuBuffer {
    const limit = this.device.limit(kind);
    if (!(bytes <= limit.bytes)) {
      throw new OutOfMemoryError(`"${owner}" asks for a buffer of ${bytes} bytes; this device allows ${limit.bytes} (${limit.name})`, {
        requestedBytes: bytes,
        liveBytes: this.byOwner(),
        hint: "make the tensor smaller (batch, context, vocabulary) or split it into pieces below that limit",
      });
    }
    const size = sizeClass(bytes, limit.bytes);
    const shelf = this.shelves.get(`${kind}/${size}`);
    let entry = shelf?.pop();
    if (entry) {
      this.idle.delete(entry);
      this.idleBytes -= size;
    } else {
      const memory = ++this.lastMemory;
      const gpu = this.device.create(kind, size, `${kind} buffer ${memory}, ${size} bytes, made for ${owner}`);
      entry = { memory, gpu, kind, bytes: size, spoilt: false };
    }
    const buffer = this.give(entry, bytes, owner);
    this.device.acquired?.(buffer, kind);
    return buffer;
  }

  /** Whether its owner still holds a buffer. */
  isLive(buffer: GpuBuffer): boolean {
    return this.live.has(buffer);
  }

  /** The same memory for another owner; the old handle is dead. Throws UsageError if it was dead before. */
  rename(buffer: GpuBuffer, owner: string): GpuBuffer {
    return this.give(this.take(buffer), buffer.bytes, owner);
  }

  /** Gives a buffer back; work that was submitted before still sees it. Throws UsageError if its owner no longer holds it. */
  release(buffer: GpuBuffer): void {
    const entry = this.take(buffer);
    if (entry.spoilt) {
      this.retire(entry);
      return;
    }
    this.idle.add(entry);
    this.idleBytes += entry.bytes;
    const name = `${entry.kind}/${entry.bytes}`;
    const shelf = this.shelves.get(name);
    if (shelf) shelf.push(entry);
    else this.shelves.set(name, [entry]);
    this.trim(Math.max(0, this.idleBytesCap + 1.25 * this.peakBytes - this.liveBytes));
  }

  /** Gives a buffer back that must not be used again, because its state is unknown. */
  discard(buffer: GpuBuffer): void {
    this.retire(this.take(buffer));
  }

  /** Notes that a buffer never got its memory, so that it is not handed out again. */
  spoil(gpu: GPUBuffer): void {
    for (const entry of this.live.values()) if (entry.gpu === gpu) entry.spoilt = true;
    for (const entry of this.idle) if (entry.gpu === gpu) this.dropIdle(entry);
  }

  /** Destroys idle buffers, longest idle first and after a fence, until at most `keepBytes` (default 0) are idle. */
  trim(keepBytes = 0): void {
    for (const entry of this.idle) {
      if (this.idleBytes <= keepBytes) return;
      this.dropIdle(entry);
    }
  }

  stats(): PoolStats {
    return {
      liveBytes: this.liveBytes,
      liveBuffers: this.live.size,
      idleBytes: this.idleBytes + this.retiringBytes,
      idleBuffers: this.idle.size + this.retiring.size,
      byOwner: this.byOwner(),
      peakBytes: this.peakBytes,
    };
  }

  /** Live bytes by owner. */
  byOwner(): Record<string, number> {
    return Object.fromEntries(this.owners);
  }

  /** Destroys every buffer, live ones too. To be called when the GPU is idle. */
  destroyAll(): void {
    for (const entry of [...this.live.values(), ...this.idle, ...this.retiring]) entry.gpu.destroy();
    this.live.clear();
    this.idle.clear();
    this.retiring.clear();
    this.shelves.clear();
    this.owners.clear();
    this.liveBytes = 0;
    this.idleBytes = 0;
    this.retiringBytes = 0;
  }

  private give(entry: Entry, bytes: number, owner: string): GpuBuffer {
    const { memory, gpu, bytes: capacity } = entry;
    const buffer: GpuBuffer = { id: ++this.lastId, memory, gpu, bytes, capacity, owner };
    this.live.set(buffer, entry);
    this.owners.set(owner, (this.owners.get(owner) ?? 0) + capacity);
    this.liveBytes += capacity;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    return buffer;
  }

  private take(buffer: GpuBuffer): Entry {
    const entry = this.live.get(buffer);
    if (!entry) throw new UsageError(`buffer ${buffer.id} of "${buffer.owner}" was given back before, or belongs to another device`);
    this.live.delete(buffer);
    this.liveBytes -= entry.bytes;
    const rest = (this.owners.get(buffer.owner) ?? 0) - entry.bytes;
    if (rest > 0) this.owners.set(buffer.owner, rest);
    else this.owners.delete(buffer.owner);
    return entry;
  }

  private dropIdle(entry: Entry): void {
    this.idle.delete(entry);
    this.idleBytes -= entry.bytes;
    const shelf = this.shelves.get(`${entry.kind}/${entry.bytes}`) ?? [];
    shelf.splice(shelf.indexOf(entry), 1);
    this.retire(entry);
  }

  private retire(entry: Entry): void {
    this.retiring.add(entry);
    this.retiringBytes += entry.bytes;
    this.retirement ??= this.finishRetiring();
  }

  private async finishRetiring(): Promise<void> {
    try {
      // Whatever is released within this turn of the event loop shares the fence.
      await Promise.resolve();
      while (this.retiring.size > 0) {
        const batch = [...this.retiring];
        await this.device.fence().catch(() => undefined);
        for (const entry of batch) {
          if (!this.retiring.delete(entry)) continue;
          this.retiringBytes -= entry.bytes;
          entry.gpu.destroy();
        }
      }
    } finally {
      this.retirement = undefined;
    }
  }
}

import { OutOfMemoryError } from "../../errors.js";
import type { DeviceBuffer, MemoryReport } from "../backend.js";

/** A piece of the WebAssembly memory. */
export class Block implements DeviceBuffer {
  live = true;

  constructor(
    readonly heap: Heap,
    readonly id: number,
    readonly address: number,
    /** What was asked for; the block takes a multiple of the alignment. */
    readonly bytes: number,
    public owner: string,
  ) {}
}

/** Blocks begin on cache lines. */
const alignment = 64;
const pageBytes = 65_536;
/** Pages that the memory grows by at least. */
const growth = 64;

/** Hands out pieces of one WebAssembly memory: the free piece that fits best; neighbours that are free become one. */
export class Heap {
  /** Free pieces by address. */
  private readonly free: { address: number; bytes: number }[] = [];
  private readonly byOwner = new Map<string, number>();
  private nextId = 0;
  private top: number;
  private liveBytes = 0;
  private liveBuffers = 0;
  private peakBytes = 0;

  /**
   * @param start the first address to hand out
   * @param margin bytes that stay unused at the end
   */
  constructor(
    private readonly memory: WebAssembly.Memory,
    start: number,
    private readonly margin: number,
    private readonly maximumPages: number,
  ) {
    this.top = memory.buffer.byteLength - margin;
    this.free.push({ address: start, bytes: this.top - start });
  }

  /** Throws OutOfMemoryError where the memory cannot grow that far. */
  take(bytes: number, owner: string): Block {
    if (!(bytes >= 0)) throw new Error(`${bytes} is no number of bytes`);
    const size = Math.max(alignment, Math.ceil(bytes / alignment) * alignment);
    let best = this.bestFit(size);
    if (best < 0) {
      this.grow(size);
      best = this.bestFit(size);
    }
    const piece = this.free[best] as { address: number; bytes: number };
    const block = new Block(this, this.nextId++, piece.address, bytes, owner);
    if (piece.bytes === size) this.free.splice(best, 1);
    else {
      piece.address += size;
      piece.bytes -= size;
    }
    this.count(owner, bytes, 1);
    return block;
  }

  give(block: Block): void {
    block.live = false;
    this.count(block.owner, -block.bytes, -1);
    this.insert(block.address, Math.max(alignment, Math.ceil(block.bytes / alignment) * alignment));
  }

  rename(block: Block, owner: string): void {
    this.count(block.owner, -block.bytes, -1);
    block.owner = owner;
    this.count(owner, block.bytes, 1);
  }

  report(): MemoryReport {
    return {
      liveBytes: this.liveBytes,
      liveBuffers: this.liveBuffers,
      peakBytes: this.peakBytes,
      byOwner: Object.fromEntries(this.byOwner),
      idleBytes: this.free.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }

  private bestFit(size: number): number {
    let best = -1;
    let smallest = Number.POSITIVE_INFINITY;
    this.free.forEach(({ bytes }, i) => {
      if (bytes >= size && bytes < smallest) [best, smallest] = [i, bytes];
    });
    return best;
  }

  private grow(size: number): void {
    const last = this.free[this.free.length - 1];
    const there = last !== undefined && last.address + last.bytes === this.top ? last.bytes : 0;
    const pages = this.memory.buffer.byteLength / pageBytes;
    const needed = Math.ceil((size - there) / pageBytes);
    const wanted = Math.min(Math.max(needed, growth, Math.floor(pages / 4)), this.maximumPages - pages);
    if (wanted < needed || !this.tryGrow(wanted)) {
      if (pages + needed > this.maximumPages || !this.tryGrow(needed)) throw this.outOfMemory(size);
    }
    const end = this.memory.buffer.byteLength - this.margin;
    const from = this.top;
    this.top = end;
    this.insert(from, end - from);
  }

  private tryGrow(pages: number): boolean {
    try {
      this.memory.grow(pages);
      return true;
    } catch {
      return false;
    }
  }

  private outOfMemory(size: number): OutOfMemoryError {
    const most = Math.round((this.maximumPages * pageBytes) / 2 ** 20);
    return new OutOfMemoryError(
      `${size} more bytes are not to be had: ${this.liveBytes} are in use, and the memory holds ${most} MiB at most`,
      {
        requestedBytes: size,
        liveBytes: Object.fromEntries(this.byOwner),
        hint: "use a smaller batch or context, or free tensors that are no longer needed",
      },
    );
  }

  /** Puts a free piece in its place and joins it with its neighbours. */
  private insert(address: number, bytes: number): void {
    let [low, high] = [0, this.free.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.free[middle] as { address: number }).address < address) low = middle + 1;
      else high = middle;
    }
    const [before, after] = [this.free[low - 1], this.free[low]];
    const joinsBefore = before !== undefined && before.address + before.bytes === address;
    const joinsAfter = after !== undefined && address + bytes === after.address;
    if (joinsBefore) before.bytes += bytes + (joinsAfter ? after.bytes : 0);
    if (joinsBefore && joinsAfter) this.free.splice(low, 1);
    else if (joinsAfter) {
      after.address = address;
      after.bytes += bytes;
    } else if (!joinsBefore) this.free.splice(low, 0, { address, bytes });
  }

  private count(owner: string, bytes: number, buffers: number): void {
    const sum = (this.byOwner.get(owner) ?? 0) + bytes;
    if (sum === 0) this.byOwner.delete(owner);
    else this.byOwner.set(owner, sum);
    this.liveBytes += bytes;
    this.liveBuffers += buffers;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
  }
}

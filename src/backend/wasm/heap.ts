import { OutOfMemoryError } from "../../errors.js";
import type { DeviceBuffer, MemoryReport } from "../backend.js";
import { pageBytes } from "./memories.js";

/** A piece of a WebAssembly memory. */
export class Block implements DeviceBuffer {
  live = true;

  constructor(
    readonly heap: Heap,
    readonly id: number,
    /** The number of the memory that it is in. */
    readonly memory: number,
    readonly address: number,
    /** What was asked for; the block takes a multiple of the alignment. */
    readonly bytes: number,
    public owner: string,
  ) {}
}

/** A memory that a heap hands out. */
export interface HeapMemory {
  readonly pages: number;
  readonly maximumPages: number;
  /** Grows by so many pages, or says that it cannot. */
  grow(pages: number): boolean;
}

export interface HeapOptions {
  /** The first address of each memory to hand out. */
  readonly start: number;
  /** Bytes that stay unused at the end of each memory. */
  readonly margin: number;
  /** Takes each block from the next memory. Default: from the first that has room. */
  readonly spread?: boolean | undefined;
  /** What to do where there is no memory left, beside what always helps. */
  readonly advice?: string | undefined;
}

/** Blocks begin on cache lines. */
const alignment = 64;
/** Pages that a memory grows by at least. */
const growth = 64;
/** The part of the first memory that is kept for programs, where there are others for everything else. */
const programShare = 1 / 16;

const sizeOf = (bytes: number): number => Math.max(alignment, Math.ceil(bytes / alignment) * alignment);

/** Hands out pieces of WebAssembly memories, of the first one that has room; programs are in the very first. */
export class Heap {
  private readonly spaces: readonly Space[];
  private readonly byOwner = new Map<string, number>();
  private nextId = 0;
  private liveBytes = 0;
  private liveBuffers = 0;
  private peakBytes = 0;

  constructor(
    private readonly memories: readonly HeapMemory[],
    private readonly options: HeapOptions,
  ) {
    this.spaces = memories.map((memory) => new Space(memory, options));
  }

  /** Throws OutOfMemoryError where no memory can grow that far. */
  take(bytes: number, owner: string, use: "value" | "program" = "value"): Block {
    if (!(bytes >= 0)) throw new Error(`${bytes} is no number of bytes`);
    const size = sizeOf(bytes);
    const count = this.spaces.length;
    const begin = this.options.spread === true ? this.nextId % count : 0;
    // Tables of programs are in the first memory, of which values leave some where they can be in others.
    const order = use === "program" ? [0] : Array.from({ length: count }, (_, i) => (begin + i) % count);
    const leaves = use === "value" && count > 1;
    let address: number | undefined;
    const memory = order.find((i) => {
      const space = this.spaces[i] as Space;
      const { maximumPages } = space.memory;
      address = space.take(size, leaves && i === 0 ? Math.floor((1 - programShare) * maximumPages) : maximumPages);
      return address !== undefined;
    });
    if (memory === undefined || address === undefined) throw this.outOfMemory(size);
    this.count(owner, bytes, 1);
    return new Block(this, this.nextId++, memory, address, bytes, owner);
  }

  give(block: Block): void {
    block.live = false;
    this.count(block.owner, -block.bytes, -1);
    (this.spaces[block.memory] as Space).insert(block.address, sizeOf(block.bytes));
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
      idleBytes: this.spaces.reduce((sum, space) => sum + space.freeBytes, 0),
    };
  }

  private outOfMemory(size: number): OutOfMemoryError {
    const pages = this.memories.reduce((sum, { maximumPages }) => sum + maximumPages, 0);
    const most = `${Math.round((pages * pageBytes) / 2 ** 20)} MiB at most`;
    const count = this.memories.length;
    const held = count === 1 ? `the memory holds ${most}` : `the ${count} memories hold ${most}, none of them so much in one piece now`;
    const { advice } = this.options;
    return new OutOfMemoryError(`${size} more bytes are not to be had: ${this.liveBytes} are in use, and ${held}`, {
      requestedBytes: size,
      liveBytes: Object.fromEntries(this.byOwner),
      hint: `use a smaller batch or context, or free tensors that are no longer needed${advice === undefined ? "" : `; ${advice}`}`,
    });
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

/** One memory: the free piece that fits best is taken, and neighbours that are free become one. */
class Space {
  /** Free pieces by address. */
  private readonly free: { address: number; bytes: number }[] = [];
  private top: number;

  constructor(
    readonly memory: HeapMemory,
    private readonly options: HeapOptions,
  ) {
    this.top = memory.pages * pageBytes - options.margin;
    this.free.push({ address: options.start, bytes: this.top - options.start });
  }

  get freeBytes(): number {
    return this.free.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** The address of a piece within so many pages, taken; undefined where there is none. */
  take(size: number, pages: number): number | undefined {
    const end = pages * pageBytes - this.options.margin;
    let best = this.bestFit(size, end);
    if (best < 0) {
      if (!this.grow(size, pages)) return undefined;
      best = this.bestFit(size, end);
    }
    const piece = this.free[best] as { address: number; bytes: number };
    const { address } = piece;
    if (piece.bytes === size) this.free.splice(best, 1);
    else {
      piece.address += size;
      piece.bytes -= size;
    }
    return address;
  }

  private bestFit(size: number, end: number): number {
    let best = -1;
    let smallest = Number.POSITIVE_INFINITY;
    this.free.forEach(({ address, bytes }, i) => {
      if (bytes >= size && bytes < smallest && address + size <= end) [best, smallest] = [i, bytes];
    });
    return best;
  }

  /** Makes room at the end, as far as the memory can grow to so many pages. */
  private grow(size: number, most: number): boolean {
    const last = this.free[this.free.length - 1];
    const there = last !== undefined && last.address + last.bytes === this.top ? last.bytes : 0;
    const { pages } = this.memory;
    const needed = Math.ceil((size - there) / pageBytes);
    if (needed <= 0) return false;
    const wanted = Math.min(Math.max(needed, growth, Math.floor(pages / 4)), most - pages);
    if (wanted < needed || !this.memory.grow(wanted)) {
      if (pages + needed > most || !this.memory.grow(needed)) return false;
    }
    const end = this.memory.pages * pageBytes - this.options.margin;
    const from = this.top;
    this.top = end;
    this.insert(from, end - from);
    return true;
  }

  /** Puts a free piece in its place and joins it with its neighbours. */
  insert(address: number, bytes: number): void {
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
}

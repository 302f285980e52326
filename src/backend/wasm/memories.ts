import { BackendUnavailableError } from "../../errors.js";
import { memoryName } from "./assembler.js";
import { heapStart } from "./control.js";
import { hasSeveralMemories, memoryBytes, mostBytes } from "./features.js";
import { margin } from "./kernels/places.js";

export const pageBytes = 65_536;

/** Bytes at the end of a memory that no block takes: vectors are read beyond the end of what they read. */
export const endMargin = 4 * margin + 64;

/** Bytes of a memory of so many pages that one block can take. */
export const blockLimit = (pages: number): number => Math.floor((pages * pageBytes - endMargin - heapStart) / 64) * 64;

/** What a worker needs to know of a memory. */
export interface SentMemory {
  readonly memory: WebAssembly.Memory;
  /** Where its address 0 is. */
  readonly begin: number;
}

/** A memory with addresses of 32 bits: one of the engine's, or a part of such a one that stands for it. */
export class LinearMemory {
  private view: Int32Array;

  /** @param begin where its address 0 is in the engine's memory, of which it is then the part of `maximumPages` from there on */
  constructor(
    readonly memory: WebAssembly.Memory,
    readonly maximumPages: number,
    readonly begin?: number,
  ) {
    this.view = this.look();
  }

  get pages(): number {
    return this.begin === undefined ? this.memory.buffer.byteLength / pageBytes : this.maximumPages;
  }

  /** Grows by so many pages, or says that it cannot. */
  grow(pages: number): boolean {
    if (this.begin !== undefined) return false;
    try {
      this.memory.grow(pages);
      return true;
    } catch {
      return false;
    }
  }

  /** All of it as words, also after it grew. */
  words(): Int32Array {
    if (this.view.buffer !== this.memory.buffer) this.view = this.look();
    return this.view;
  }

  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, (this.begin ?? 0) + address, length);
  }

  sent(): SentMemory {
    return { memory: this.memory, begin: this.begin ?? 0 };
  }

  private look(): Int32Array {
    const { buffer } = this.memory;
    return this.begin === undefined ? new Int32Array(buffer) : new Int32Array(buffer, this.begin, (this.maximumPages * pageBytes) / 4);
  }
}

/** How much memory a backend has, and in which pieces. */
export interface MemoryOptions {
  /** Most bytes that all memories together grow to. Default: what the machine has where the engine has several memories, else 4 GiB. */
  readonly maximumBytes?: number;
  /** Most bytes of one memory. Default 4 GiB, which is what addresses of 32 bits reach. */
  readonly memoryBytes?: number;
  /** "windows" uses parts of one memory as if each were one of its own, so that tests see several in every engine. Default "auto". */
  readonly memories?: "auto" | "windows";
}

/** The memories that options ask for. */
export async function openFor(shared: boolean, options: MemoryOptions): Promise<LinearMemory[]> {
  const each = Math.min(memoryBytes, options.memoryBytes ?? memoryBytes);
  const all = options.maximumBytes ?? (await mostBytes());
  if (options.memories === "windows") return openWindows(shared, all, each);
  return openMemories(shared, hasSeveralMemories() ? all : Math.min(all, each), each);
}

/** Pages that modules declare as the most that a memory has. */
export const maximumOf = (memories: readonly LinearMemory[]): number =>
  memories.reduce(
    (most, { memory, maximumPages, begin }) => Math.max(most, begin === undefined ? maximumPages : memory.buffer.byteLength / pageBytes),
    0,
  );

/** What modules import their memories from. */
export const memoryImports = (memories: readonly LinearMemory[]): Record<string, WebAssembly.Memory> =>
  Object.fromEntries(memories.map(({ memory }, i) => [memoryName(i), memory]));

/** Pages that memories begin with. */
const initial = 64;

/**
 * As many memories as `bytes` takes, each of `memoryBytes` at most and the first one at least. Where the engine has no addresses left for
 * the later ones, there are fewer.
 */
function openMemories(shared: boolean, bytes: number, memoryBytes: number): LinearMemory[] {
  const pagesFor = (some: number): number => Math.max(initial, Math.min(65_536, Math.floor(some / pageBytes)));
  const first = openFirst(shared, pagesFor(Math.min(bytes, memoryBytes)));
  const memories = [first];
  // An engine that has not even one as large as it was asked for has no second.
  if (first.maximumPages < pagesFor(Math.min(bytes, memoryBytes))) return memories;
  for (let left = bytes - memoryBytes; left > 0; left -= memoryBytes) {
    const maximum = pagesFor(Math.min(left, memoryBytes));
    try {
      memories.push(new LinearMemory(new WebAssembly.Memory({ initial: 1, maximum, shared }), maximum));
    } catch {
      break;
    }
  }
  return memories;
}

/** Parts of one memory, each of which is used as if it were one of its own. */
function openWindows(shared: boolean, bytes: number, windowBytes: number): LinearMemory[] {
  const pages = Math.floor(windowBytes / pageBytes);
  const count = Math.ceil(bytes / windowBytes);
  const memory = new WebAssembly.Memory({ initial: pages * count, maximum: pages * count, shared });
  return Array.from({ length: count }, (_, i) => new LinearMemory(memory, pages, i * pages * pageBytes));
}

/** A memory that may grow as far as the engine lets it. */
function openFirst(shared: boolean, wanted: number): LinearMemory {
  for (let maximum = wanted; ; maximum = Math.floor(maximum / 2)) {
    try {
      return new LinearMemory(new WebAssembly.Memory({ initial, maximum, shared }), maximum);
    } catch (error) {
      // The engine reserves addresses for all that the memory may become; small devices refuse 4 GiB of them.
      if (maximum <= 1024) throw new BackendUnavailableError("no memory for WebAssembly is to be had", { cause: error });
    }
  }
}

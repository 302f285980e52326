import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Block, Heap } from "../../src/backend/wasm/heap.js";
import { LinearMemory } from "../../src/backend/wasm/memories.js";
import { OutOfMemoryError } from "../../src/errors.js";
import { heapSteps } from "../support/arbitraries.js";
import { piecesOf } from "../support/wasm-internals.js";

const pageBytes = 65_536;
const [start, margin, maximumPages] = [16_384, 576, 150];
const sizeOf = (bytes: number): number => Math.max(64, Math.ceil(bytes / 64) * 64);

const endOf = ({ address, bytes }: { readonly address: number; readonly bytes: number }): number => address + bytes;

/** A heap beside a list of everything that it has handed out. */
class Model {
  readonly memory = new WebAssembly.Memory({ initial: 2, maximum: maximumPages });
  readonly heap = new Heap([new LinearMemory(this.memory, maximumPages)], { start, margin });
  readonly held: Block[] = [];
  peak = 0;
  refusals = 0;

  step(step: { take: number; owner: string } | { give: number } | { rename: number; owner: string }): void {
    if ("take" in step) this.take(step.take, step.owner);
    else if (this.held.length === 0) return;
    else if ("give" in step) this.heap.give(this.held.splice(step.give % this.held.length, 1)[0] as Block);
    else this.heap.rename(this.held[step.rename % this.held.length] as Block, step.owner);
  }

  private take(bytes: number, owner: string): void {
    const before = JSON.stringify(this.heap.report());
    try {
      this.held.push(this.heap.take(bytes, owner));
      this.peak = Math.max(this.peak, this.liveBytes());
    } catch (error) {
      expect(error).toBeInstanceOf(OutOfMemoryError);
      const { requestedBytes, liveBytes } = error as OutOfMemoryError;
      expect(requestedBytes).toBeGreaterThanOrEqual(bytes);
      expect(liveBytes).toEqual(this.byOwner());
      expect(JSON.stringify(this.heap.report())).toBe(before);
      // Only what does not fit even into a memory that has grown as far as it may is refused.
      const last = piecesOf(this.heap).at(-1);
      const tail = last !== undefined && endOf(last) === this.top() ? last.bytes : 0;
      expect(tail + maximumPages * pageBytes - this.memory.buffer.byteLength).toBeLessThan(sizeOf(bytes));
      this.refusals++;
    }
  }

  top = (): number => this.memory.buffer.byteLength - margin;
  liveBytes = (): number => this.held.reduce((sum, { bytes }) => sum + bytes, 0);

  byOwner(): Record<string, number> {
    const sums: Record<string, number> = {};
    for (const { owner, bytes } of this.held) if (bytes > 0) sums[owner] = (sums[owner] ?? 0) + bytes;
    return sums;
  }

  /** Blocks and free pieces tile the memory; no two free pieces touch; the report adds up. */
  check(): void {
    const free = piecesOf(this.heap);
    const taken = this.held.map(({ address, bytes }) => ({ address, bytes: sizeOf(bytes) }));
    const all = [...free, ...taken].sort((a, b) => a.address - b.address);
    let at = start;
    for (const piece of all) {
      expect(piece.address).toBe(at);
      expect(piece.address % 64).toBe(0);
      expect(piece.bytes).toBeGreaterThan(0);
      at = endOf(piece);
    }
    expect(at).toBe(this.top());
    for (const [i, piece] of free.entries()) {
      const next = free[i + 1];
      if (next !== undefined) expect(endOf(piece)).toBeLessThan(next.address);
    }
    expect(new Set(this.held.map(({ id }) => id)).size).toBe(this.held.length);
    expect(this.held.every(({ live }) => live)).toBe(true);
    expect(this.heap.report()).toEqual({
      liveBytes: this.liveBytes(),
      liveBuffers: this.held.length,
      peakBytes: this.peak,
      byOwner: this.byOwner(),
      idleBytes: free.reduce((sum, { bytes }) => sum + bytes, 0),
    });
  }
}

describe("the heap of a WebAssembly memory", () => {
  it("hands out aligned blocks that never overlap, joins free neighbours, and reports what adds up", () => {
    let refusals = 0;
    const holds = fc.property(heapSteps, (steps) => {
      const model = new Model();
      for (const step of steps) {
        model.step(step);
        model.check();
      }
      refusals += model.refusals;
    });
    fc.assert(holds, { seed: 3, numRuns: 200 });
    expect(refusals).toBeGreaterThan(20);
  });

  it("is one piece again once everything came back, in whatever order", () => {
    const holds = fc.property(heapSteps, fc.infiniteStream(fc.nat(1000)), (steps, order) => {
      const model = new Model();
      for (const step of steps) model.step(step);
      while (model.held.length > 0) model.step({ give: order.next().value as number });
      expect(piecesOf(model.heap)).toEqual([{ address: start, bytes: model.top() - start }]);
      expect(model.heap.report()).toMatchObject({ liveBytes: 0, liveBuffers: 0, byOwner: {} });
    });
    fc.assert(holds, { seed: 4, numRuns: 100 });
  });

  it("does not grow while what is asked for fits, and a freed block can be had again", () => {
    const { heap, memory } = new Model();
    const sizes = [100, 64, 30_000, 1, 5000];
    const before = memory.buffer.byteLength;
    const first = sizes.map((bytes) => heap.take(bytes, "value"));
    for (const block of first) heap.give(block);
    for (let round = 0; round < 200; round++) for (const bytes of sizes) heap.give(heap.take(bytes, "value"));
    expect(memory.buffer.byteLength).toBe(before);
    expect(sizes.map((bytes) => heap.take(bytes, "value").address)).toEqual(first.map(({ address }) => address));
  });

  it("takes the free piece that fits best, so that large ones stay whole", () => {
    const { heap } = new Model();
    const [large, , small] = [4096, 64, 640, 64].map((bytes) => heap.take(bytes, "value")) as [Block, Block, Block, Block];
    heap.give(large);
    heap.give(small);
    expect(heap.take(600, "value").address).toBe(small.address);
    expect(heap.take(4096, "value").address).toBe(large.address);
  });

  it("reaches the last page, and not beyond it", () => {
    const { heap, memory } = new Model();
    const most = maximumPages * pageBytes - margin - start;
    expect(() => heap.take(most + 1, "value")).toThrow(OutOfMemoryError);
    expect(memory.buffer.byteLength).toBe(2 * pageBytes);
    const block = heap.take(most, "value");
    expect(memory.buffer.byteLength).toBe(maximumPages * pageBytes);
    expect(() => heap.take(1, "value")).toThrow(/more bytes are not to be had/);
    heap.give(block);
    expect(heap.take(1, "value").address).toBe(start);
  });
});

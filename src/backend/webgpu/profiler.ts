import type { KernelTime } from "../backend.js";
import { KernelTimes } from "../kernel-times.js";

/** Dispatches that one query set measures: two timestamps each, and WebGPU allows 4096. */
const dispatchesPerSet = 2048;
/** The flags of GPUBufferUsage, which Node has no global for. */
const usage = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, queryResolve: 0x200 };
const mapRead = 0x1;

interface QuerySet {
  readonly queries: GPUQuerySet;
  readonly labels: string[];
}

/**
 * Measures dispatches one by one, each in a pass of its own between two timestamps of the device ("timestamp-query"). Passes by themselves
 * take a little longer than one for all, so the sum is more than the program takes when nobody looks.
 */
export class Profiler {
  private readonly full: { readonly labels: readonly string[]; readonly nanoseconds: Promise<BigUint64Array> }[] = [];
  private current: QuerySet | undefined;

  constructor(private readonly gpu: GPUDevice) {}

  /** What a pass for one dispatch begins with. */
  nextPass(encoder: GPUCommandEncoder, label: string): GPUComputePassDescriptor {
    if (this.current?.labels.length === dispatchesPerSet) this.resolve(encoder);
    this.current ??= { queries: this.gpu.createQuerySet({ type: "timestamp", count: 2 * dispatchesPerSet }), labels: [] };
    const { queries, labels } = this.current;
    labels.push(label);
    const [beginningOfPassWriteIndex, endOfPassWriteIndex] = [2 * labels.length - 2, 2 * labels.length - 1];
    return { label, timestampWrites: { querySet: queries, beginningOfPassWriteIndex, endOfPassWriteIndex } };
  }

  /** Begins to bring back what was measured so far, at the end of these commands. */
  resolve(encoder: GPUCommandEncoder): void {
    if (this.current === undefined) return;
    const { queries, labels } = this.current;
    this.current = undefined;
    const bytes = 16 * labels.length;
    const resolved = this.gpu.createBuffer({ label: "profile", size: bytes, usage: usage.queryResolve | usage.copySource });
    const mapped = this.gpu.createBuffer({ label: "profile", size: bytes, usage: usage.copyTarget | usage.mapRead });
    encoder.resolveQuerySet(queries, 0, 2 * labels.length, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, mapped, 0, bytes);
    this.full.push({ labels, nanoseconds: this.afterSubmit(mapped, [queries, resolved]) });
  }

  private async afterSubmit(mapped: GPUBuffer, others: readonly { destroy(): void }[]): Promise<BigUint64Array> {
    await null; // the commands are submitted in this turn of the event loop
    await mapped.mapAsync(mapRead);
    const nanoseconds = new BigUint64Array(mapped.getMappedRange().slice(0));
    for (const each of [mapped, ...others]) each.destroy();
    return nanoseconds;
  }

  /** Every kernel with its dispatches and the time of all of them, the longest first. */
  async times(): Promise<KernelTime[]> {
    const sums = new KernelTimes();
    for (const { labels, nanoseconds } of this.full) {
      const times = await nanoseconds;
      labels.forEach((label, i) => {
        // Timestamps may run backwards where the device's clock was set anew; such a pair says nothing.
        sums.add(label, Math.max(0, Number((times[2 * i + 1] as bigint) - (times[2 * i] as bigint)) / 1e6));
      });
    }
    return sums.sorted();
  }
}

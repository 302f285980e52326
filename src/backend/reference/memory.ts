import type { MemoryReport } from "../backend.js";

/** Counts the bytes that are held, by owner. */
export class MemoryLedger {
  private readonly byOwner = new Map<string, number>();
  private liveBytes = 0;
  private liveBuffers = 0;
  private peakBytes = 0;

  take(owner: string, bytes: number): void {
    this.byOwner.set(owner, (this.byOwner.get(owner) ?? 0) + bytes);
    this.liveBytes += bytes;
    this.liveBuffers += 1;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
  }

  give(owner: string, bytes: number): void {
    const left = (this.byOwner.get(owner) ?? 0) - bytes;
    if (left === 0) this.byOwner.delete(owner);
    else this.byOwner.set(owner, left);
    this.liveBytes -= bytes;
    this.liveBuffers -= 1;
  }

  report(): MemoryReport {
    return {
      liveBytes: this.liveBytes,
      liveBuffers: this.liveBuffers,
      peakBytes: this.peakBytes,
      byOwner: Object.fromEntries(this.byOwner),
      idleBytes: 0,
    };
  }
}

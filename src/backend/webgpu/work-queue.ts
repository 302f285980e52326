/**
 * Work for a device in the order of the calls. Most of it is done at once; but commands need pipelines, and while those are in the
 * making everything from there on waits in line, so that nobody but this queue needs to know of it.
 *
 *   run A      its pipelines are there: at once
 *   run B      its pipelines are being compiled: waits for them
 *   write x    waits for B, which may read x
 *   read y     waits for the write, and then copies what B made
 */
export class WorkQueue {
  private readonly line: { readonly work: () => void; readonly ready: Promise<unknown> | undefined }[] = [];
  private waiting = false;
  /** Whether work is being done at this moment: what it adds is part of it. */
  private doing = false;

  /** Whether what is added now is done at once, unless it waits for something itself. */
  get idle(): boolean {
    return this.doing || this.line.length === 0;
  }

  /**
   * Does `work` as soon as `ready` is settled, which must not reject, and everything is done that was added before. It throws what `work`
   * does where that is at once; else `work` must not throw.
   */
  add(work: () => void, ready?: Promise<unknown>): void {
    if (ready === undefined && this.idle) {
      work();
      return;
    }
    this.line.push({ work, ready });
    if (!this.waiting) void this.workOff();
  }

  /** Resolves when everything is done that was added before this call. */
  settled(): Promise<void> {
    return new Promise((resolve) => this.add(resolve));
  }

  private async workOff(): Promise<void> {
    this.waiting = true;
    for (let next = this.line[0]; next !== undefined; next = this.line[0]) {
      await next.ready;
      this.doing = true;
      try {
        next.work();
      } finally {
        this.doing = false;
        this.line.shift();
      }
    }
    this.waiting = false;
  }
}

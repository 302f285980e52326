import { UsageError } from "../errors.js";
import type { KernelTime } from "./backend.js";

/** How often kernels ran, and for how long together. */
export class KernelTimes {
  private readonly sums = new Map<string, { calls: number; milliseconds: number }>();

  add(label: string, milliseconds: number): void {
    const sum = this.sums.get(label) ?? { calls: 0, milliseconds: 0 };
    this.sums.set(label, { calls: sum.calls + 1, milliseconds: sum.milliseconds + milliseconds });
  }

  /** The longest first. */
  sorted(): KernelTime[] {
    const kernels = [...this.sums].map(([label, sum]): KernelTime => ({ label, ...sum }));
    return kernels.sort((a, b) => b.milliseconds - a.milliseconds);
  }
}

/** One profile at a time. */
export class ProfileInTurn<P> {
  private taken: P | undefined;

  /** The profile that is being taken. */
  get current(): P | undefined {
    return this.taken;
  }

  /** Throws UsageError where one is being taken already. */
  start(make: () => P): void {
    if (this.taken !== undefined)
      throw new UsageError("a profile is being taken already", { hint: "await the first `profile` before the next" });
    this.taken = make();
  }

  end(): P | undefined {
    const { taken } = this;
    this.taken = undefined;
    return taken;
  }
}

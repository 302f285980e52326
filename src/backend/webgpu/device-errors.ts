import { type DawngradError, DeviceError, DeviceLostError, OutOfMemoryError } from "../../errors.js";

const LOST_HINT = "open the device again and start from the last checkpoint; if it is lost again at the same place, use a smaller batch";

/**
 * What has gone wrong on a device. WebGPU reports failures late and elsewhere than where they were caused, so they are
 * collected here and thrown where a caller next looks, always with the root cause first: the device lost, then memory
 * that was not to be had, then the first rejected call.
 */
export class DeviceErrors {
  /** Errors that nobody was waiting for. */
  uncaptured = 0;
  private first: DawngradError | undefined;
  private outOfMemory: OutOfMemoryError | undefined;
  private loss: { reason: string; message: string } | undefined;
  private readonly pending = new Set<Promise<unknown>>();

  constructor(private readonly lastSubmitted: () => string) {}

  /** Listens to a device. `liveBytes` gives the bytes by owner for out-of-memory errors. */
  listen(gpu: GPUDevice, liveBytes: () => Record<string, number>): void {
    gpu.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.uncaptured++;
      const { error } = event;
      const kind = error.constructor.name;
      if (kind === "GPUOutOfMemoryError") {
        this.record(new OutOfMemoryError(`the device ran out of memory: ${error.message}`, { requestedBytes: 0, liveBytes: liveBytes() }));
      } else {
        this.record(
          new DeviceError(`the device rejected a call near "${this.lastSubmitted()}" (${kind}): ${error.message}`, {
            hint: "results computed since then are wrong; this is a defect of dawngrad or of the driver",
          }),
        );
      }
    });
    gpu.lost.then(
      ({ reason, message }) => {
        this.loss ??= { reason, message };
      },
      () => undefined,
    );
  }

  get isLost(): boolean {
    return this.loss !== undefined;
  }

  /** Notes that the device was closed on purpose. */
  close(): void {
    this.loss ??= { reason: "destroyed", message: "it was closed by destroy()" };
  }

  record(error: DawngradError): void {
    if (error instanceof OutOfMemoryError) this.outOfMemory ??= error;
    else this.first ??= error;
  }

  /** Follows a promise that yields an error, or undefined; `settle` waits for it. */
  watch(promise: Promise<DawngradError | undefined>): void {
    const followed = promise
      .then(
        (error) => {
          if (error) this.record(error);
        },
        // A scope fails only when its device is gone, which is reported as such.
        () => undefined,
      )
      .finally(() => this.pending.delete(followed));
    this.pending.add(followed);
  }

  /** Waits until everything that is watched is known. */
  async settle(): Promise<void> {
    while (this.pending.size > 0) await Promise.all(this.pending);
  }

  /** Throws DeviceLostError when the device is gone. */
  checkLost(): void {
    if (!this.loss) return;
    const { reason, message } = this.loss;
    throw new DeviceLostError(`the GPU device is lost (${reason}): ${message}; last submitted: "${this.lastSubmitted()}"`, {
      hint: LOST_HINT,
    });
  }

  /** The root cause of what has gone wrong since the last time, or undefined. */
  take(): DawngradError | undefined {
    const error = this.outOfMemory ?? this.first;
    this.first = undefined;
    this.outOfMemory = undefined;
    return error;
  }
}

/** Which calls fail, counted from 1; for tests of how failures are reported. */
export interface FaultPlan {
  /** This `createBuffer` runs out of memory. */
  readonly failCreateBuffer?: number;
  /** This `mapAsync` is rejected. */
  readonly rejectMapAsync?: number;
  /** The device goes away just before this `submit`. */
  readonly loseAtSubmit?: number;
}

/** The calls by which a device fails; the seam where tests put failures that no driver here produces. */
export interface DeviceCalls {
  createBuffer(device: GPUDevice, descriptor: GPUBufferDescriptor): { buffer: GPUBuffer; outOfMemory: Promise<string | undefined> };
  mapAsync(buffer: GPUBuffer): Promise<void>;
  submit(device: GPUDevice, commands: readonly GPUCommandBuffer[]): void;
}

/** The calls as they are. */
export const deviceCalls: DeviceCalls = {
  createBuffer(device, descriptor) {
    device.pushErrorScope("out-of-memory");
    const buffer = device.createBuffer(descriptor);
    const outOfMemory = device.popErrorScope().then((error) => error?.message ?? undefined);
    return { buffer, outOfMemory };
  },
  mapAsync: (buffer) => buffer.mapAsync(GPU_MAP_READ),
  submit: (device, commands) => device.queue.submit([...commands]),
};

/** `GPUMapMode.READ`; Node has no such global. */
const GPU_MAP_READ = 1;

/** The calls with the failures of a plan among them. */
export function faultyCalls(plan: FaultPlan): DeviceCalls {
  let created = 0;
  let mapped = 0;
  let submitted = 0;
  return {
    createBuffer(device, descriptor) {
      const result = deviceCalls.createBuffer(device, descriptor);
      if (++created !== plan.failCreateBuffer) return result;
      // A destroyed buffer makes submits fail just as one that never got its memory does.
      result.buffer.destroy();
      return { buffer: result.buffer, outOfMemory: result.outOfMemory.then(() => "injected: out of memory") };
    },
    mapAsync(buffer) {
      if (++mapped !== plan.rejectMapAsync) return deviceCalls.mapAsync(buffer);
      return Promise.reject(new Error(""));
    },
    submit(device, commands) {
      if (++submitted === plan.loseAtSubmit) device.destroy();
      deviceCalls.submit(device, commands);
    },
  };
}

import { describe, expect, it } from "vitest";
import { openDevice } from "../../src/backend/webgpu/adapter.js";
import { DeviceError, DeviceLostError, OutOfMemoryError } from "../../src/errors.js";

describe("a device that runs out of memory", () => {
  it("says so when something is next read, with what was asked for and who holds what", async () => {
    const device = await openDevice({ faults: { failCreateBuffer: 2 } });
    const parameters = device.acquire(10_000, "parameters");
    const activations = device.acquire(50_000, "activations");
    device.write(activations, new Float32Array(4));
    const failure = await device.read(activations, 16).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(OutOfMemoryError);
    expect(failure).toMatchObject({
      requestedBytes: activations.capacity,
      liveBytes: { parameters: parameters.capacity, activations: activations.capacity },
    });
    expect((failure as OutOfMemoryError).hint).toContain("smaller batch");
    await device.destroy();
  });

  it("goes on afterwards, without the buffer that failed", async () => {
    const device = await openDevice({ faults: { failCreateBuffer: 1 } });
    const failed = device.acquire(1000, "a");
    await expect(device.drain()).rejects.toThrow(OutOfMemoryError);
    device.release(failed);
    const next = device.acquire(1000, "a");
    expect(next.memory).not.toBe(failed.memory);
    device.write(next, new Uint32Array([5]));
    expect([...new Uint32Array(await device.read(next, 4))]).toEqual([5]);
    await device.destroy();
  });
});

describe("a read-back that the driver refuses", () => {
  it("is an error that names the work, though the driver says nothing, and does not spoil later ones", async () => {
    const device = await openDevice({ faults: { rejectMapAsync: 1 } });
    const buffer = device.acquire(16, "loss");
    device.write(buffer, new Float32Array([1, 2, 3, 4]));
    const failure = await device.read(buffer, 16).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(DeviceError);
    expect((failure as Error).message).toBe('the result of "read loss" cannot be read back: mapAsync was rejected');
    expect([...new Float32Array(await device.read(buffer, 16))]).toEqual([1, 2, 3, 4]);
    expect(device.pool.stats().byOwner).toEqual({ loss: buffer.capacity });
    await device.destroy();
  });
});

describe("a device that is lost", () => {
  it("names the last work at every later call, and can still be closed", async () => {
    const device = await openDevice({ faults: { loseAtSubmit: 2 } });
    const buffer = device.acquire(16, "state");
    device.write(buffer, new Uint32Array([1]));
    await device.read(buffer, 4);
    device.submit([device.gpu.createCommandEncoder({ label: "empty" }).finish()], "step 7");
    await expect(device.drain()).rejects.toThrow(DeviceLostError);
    await expect(device.drain()).rejects.toThrow(/last submitted: "step 7"/);
    expect(() => device.acquire(4, "late")).toThrow(/step 7/);
    await expect(device.read(buffer, 4)).rejects.toThrow(/step 7/);
    await expect(device.throttle()).rejects.toThrow(DeviceLostError);
    await device.destroy();
  });

  it("fails a read that was under way", async () => {
    const device = await openDevice({ faults: { loseAtSubmit: 1 } });
    const buffer = device.acquire(16, "state");
    await expect(device.read(buffer, 4)).rejects.toThrow(/lost.*read state/);
    await device.destroy();
  });
});

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listAdapters, openDevice, surveyAdapters } from "../../src/backend/webgpu/adapter.js";
import type { GpuDevice } from "../../src/backend/webgpu/gpu-device.js";
import { BackendUnavailableError, DeviceError, DeviceLostError, OptionError, OutOfMemoryError, UsageError } from "../../src/errors.js";

const DOUBLE = `@group(0) @binding(0) var<storage, read_write> data: array<f32>;
@compute @workgroup_size(8) fn main(@builtin(global_invocation_id) id: vec3u) {
  data[id.x] = data[id.x] * 2.0;
}`;
const BROKEN = DOUBLE.replace("* 2.0", "* wrongName");

/** A pipeline that is made; throws what the device says where it is refused. */
async function made(device: GpuDevice, label: string, wgsl: string): Promise<GPUComputePipeline> {
  const pipeline = device.compile(label, wgsl);
  await pipeline.making;
  if (pipeline.gpu === undefined) throw pipeline.error;
  return pipeline.gpu;
}

/** Doubles the first `count` numbers of a buffer, `count` a multiple of 8. */
function double(device: GpuDevice, pipeline: GPUComputePipeline, buffer: GPUBuffer, count: number): void {
  const encoder = device.gpu.createCommandEncoder({ label: "double" });
  const pass = encoder.beginComputePass({ label: "double" });
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    device.gpu.createBindGroup({
      label: "double",
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer, size: count * 4 } }],
    }),
  );
  pass.dispatchWorkgroups(count / 8);
  pass.end();
  device.submit([encoder.finish()], "double");
}

describe("a GPU device", () => {
  let device: GpuDevice;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => device.destroy());

  it("is opened at the limits of its adapter", () => {
    expect(device.limits.maxBufferSize).toBe(device.info.limits["maxBufferSize"]);
    expect(device.limits.maxStorageBuffersPerShaderStage).toBe(device.info.limits["maxStorageBuffersPerShaderStage"]);
    expect(device.kernelClass).toBe(device.info.software ? "software" : "gpu");
    expect(device.gpu.label).toContain(device.info.name);
  });

  it("gives back what was written, at any offset and length", async () => {
    const buffer = device.acquire(64, "round trip");
    device.write(buffer, new Uint8Array(64).fill(9));
    device.write(buffer, new Float32Array([1, 2, 3]));
    device.write(buffer, new Uint8Array([5, 6, 7, 8, 9, 10, 11]), 16);
    expect(new Float32Array(await device.read(buffer, 12))).toEqual(new Float32Array([1, 2, 3]));
    expect([...new Uint8Array(await device.read(buffer, 10, 16))]).toEqual([5, 6, 7, 8, 9, 10, 11, 0, 9, 9]);
    expect((await device.read(buffer, 0)).byteLength).toBe(0);
    device.release(buffer);
  });

  it("writes the part of memory that a view shows", async () => {
    const buffer = device.acquire(16, "view");
    device.write(buffer, new Float32Array([0, 1, 2, 3, 4]).subarray(2, 4));
    expect([...new Float32Array(await device.read(buffer, 8))]).toEqual([2, 3]);
    device.release(buffer);
  });

  it("moves more than one staging buffer holds in one piece", async () => {
    const count = 17 * 2 ** 20 + 3;
    const buffer = device.acquire(count * 4, "large");
    const data = new Uint32Array(count);
    for (let i = 0; i < count; i++) data[i] = Math.imul(i, 2654435761);
    device.write(buffer, data);
    const found = new Uint32Array(await device.read(buffer, count * 4));
    expect(Buffer.compare(Buffer.from(found.buffer), Buffer.from(data.buffer))).toBe(0);
    device.release(buffer);
    device.pool.trim();
    await device.drain();
  });

  it("refuses ranges outside of a buffer and offsets between words", async () => {
    const buffer = device.acquire(16, "small");
    expect(() => device.write(buffer, new Uint8Array(4), 2)).toThrow(OptionError);
    expect(() => device.write(buffer, new Uint8Array(buffer.bytes), 4)).toThrow(OptionError);
    await expect(device.read(buffer, buffer.bytes + 4)).rejects.toThrow(OptionError);
    await expect(device.read(buffer, -4)).rejects.toThrow(OptionError);
    device.release(buffer);
  });

  it("reads a buffer as it was when read was called, whatever comes after", async () => {
    const pipeline = await made(device, "double", DOUBLE);
    const buffer = device.acquire(32, "snapshot");
    device.write(buffer, new Float32Array(8).fill(1));
    double(device, pipeline, buffer.gpu, 8);
    const before = device.read(buffer, 32);
    double(device, pipeline, buffer.gpu, 8);
    device.release(buffer);
    const taken = device.acquire(32, "another");
    expect(taken.memory).toBe(buffer.memory);
    device.write(taken, new Float32Array(8).fill(7));
    expect(new Float32Array(await before)).toEqual(new Float32Array(8).fill(2));
    expect(new Float32Array(await device.read(taken, 32))).toEqual(new Float32Array(8).fill(7));
    device.release(taken);
  });

  it("keeps no buffer live for what it has read", async () => {
    const buffer = device.acquire(4096, "value");
    device.write(buffer, new Float32Array(1024));
    await device.read(buffer, 4096);
    const before = device.pool.stats();
    for (let i = 0; i < 20; i++) await device.read(buffer, 4096);
    const { liveBytes, liveBuffers, idleBytes, idleBuffers } = device.pool.stats();
    expect({ liveBytes, liveBuffers, idleBytes, idleBuffers }).toMatchObject({
      liveBytes: before.liveBytes,
      liveBuffers: before.liveBuffers,
      idleBytes: before.idleBytes,
      idleBuffers: before.idleBuffers,
    });
    device.release(buffer);
  });

  it("states the limit for a buffer that is larger than a binding may be, before Dawn sees it", () => {
    const limit = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
    expect(() => device.acquire(limit + 4, "logits")).toThrow(OutOfMemoryError);
    expect(() => device.acquire(limit + 4, "logits")).toThrow(new RegExp(`${limit} \\(max(StorageBufferBinding|Buffer)Size\\)`));
    expect(device.errorCount).toBe(0);
  });

  it("says where a kernel does not compile, with the lines around", async () => {
    device.compile("my kernel", BROKEN);
    const failure = await device.drain().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(DeviceError);
    expect((failure as Error).message).toMatch(/"my kernel" does not compile at line 3, column \d+: .*wrongName/);
    expect((failure as Error).message).toContain("> 3 |   data[id.x] = data[id.x] * wrongName;");
    device.compile("no entry", DOUBLE.replace("fn main", "fn other"));
    await expect(device.drain()).rejects.toThrow(/"no entry" was refused: .*main/s);
    expect(device.errorCount).toBe(0);
    await device.drain();
  });

  it("does what needs pipelines when they are made, and everything after that in order", async () => {
    const buffer = device.acquire(32, "value");
    const numbers = new Float32Array(8).fill(1);
    device.write(buffer, numbers);
    const pipelines = [2, 3, 5].map((factor) => device.compile(`times ${factor}`, DOUBLE.replace("2.0", `${factor}.0`)));
    const multiply = (pipeline: (typeof pipelines)[number]): void => {
      device.afterPipelines([pipeline], [buffer], () => double(device, pipeline.gpu as GPUComputePipeline, buffer.gpu, 8));
    };
    expect(pipelines.every(({ gpu, making }) => gpu === undefined && making !== undefined)).toBe(true);
    for (const pipeline of pipelines) multiply(pipeline);
    // Nobody in line touches this one.
    const other = device.acquire(32, "other");
    device.write(other, numbers);
    const product = device.read(buffer, 32);
    const still = device.read(other, 4);
    device.write(other, numbers.fill(8));
    device.write(buffer, numbers.fill(7));
    numbers.fill(9);
    multiply(pipelines[1] as (typeof pipelines)[number]);
    const [first, second] = await Promise.all([product, device.read(buffer, 32)]);
    expect([...new Float32Array(first)]).toEqual(new Array(8).fill(30));
    expect([...new Float32Array(second)]).toEqual(new Array(8).fill(21));
    expect([...new Float32Array(await still)]).toEqual([1]);
    expect([...new Float32Array(await device.read(other, 4))]).toEqual([8]);
    device.release(other);
    expect(pipelines.every(({ gpu, making }) => gpu !== undefined && making === undefined)).toBe(true);
    device.release(buffer);
  });

  it("reports a refused kernel each time that it was to be used, and does the rest", async () => {
    const [broken, buffer] = [device.compile("broken", BROKEN), device.acquire(32, "value")];
    const pipeline = await made(device, "double", DOUBLE);
    for (let i = 0; i < 2; i++) {
      const failed = device.acquire(32, "failed");
      device.write(buffer, new Float32Array(8).fill(i + 1));
      device.afterPipelines([broken], [failed], () => double(device, pipeline, failed.gpu, 8));
      await expect(device.read(failed, 4)).rejects.toThrow(/"broken" does not compile at line 3/);
      await expect(device.read(failed, 4)).rejects.toThrow(/"broken" does not compile at line 3/);
      device.release(failed);
    }
    const value = device.acquire(32, "later");
    device.write(value, new Float32Array(8).fill(4));
    double(device, pipeline, value.gpu, 8);
    expect([...new Float32Array(await device.read(value, 4))]).toEqual([8]);
    for (const each of [buffer, value]) device.release(each);
  });

  it("reports a kernel that was to be used at once when something is next read", async () => {
    device.compile("deferred kernel", BROKEN);
    const buffer = device.acquire(4, "value");
    await expect(device.read(buffer, 4)).rejects.toThrow(/"deferred kernel" does not compile at line 3/);
    device.release(buffer);
    await device.drain();
    const pipeline = await made(device, "double", DOUBLE);
    const value = device.acquire(32, "value");
    device.write(value, new Float32Array([3]));
    double(device, pipeline, value.gpu, 8);
    expect([...new Float32Array(await device.read(value, 4))]).toEqual([6]);
    device.release(value);
  });

  it("returns no value that a dropped submit may have spoilt, however often it is asked, and all others", async () => {
    const pipeline = await made(device, "double", DOUBLE);
    const [earlier, during] = [device.acquire(32, "earlier"), device.acquire(32, "during")];
    device.write(earlier, new Float32Array(8).fill(1));
    await device.read(earlier, 4);
    const renamed = device.pool.rename(during, "result");
    const destroyed = device.gpu.createBuffer({ label: "gone", size: 32, usage: 0x80 });
    destroyed.destroy();
    const before = device.errorCount;
    double(device, pipeline, destroyed, 8);
    const reads = await Promise.allSettled([device.read(renamed, 4), device.read(renamed, 4)]);
    for (const read of reads) {
      expect(read).toMatchObject({ status: "rejected", reason: { name: "DeviceError" } });
      expect(String((read as PromiseRejectedResult).reason)).toMatch(/rejected a call near ".*destroyed/s);
    }
    expect(device.errorCount).toBe(before + 1);
    await expect(device.read(renamed, 4)).rejects.toThrow(DeviceError);
    expect(() => device.ensureUsable(renamed)).toThrow(DeviceError);
    expect([...new Float32Array(await device.read(earlier, 4))]).toEqual([1]);
    const later = device.acquire(32, "later");
    device.write(later, new Float32Array([2]));
    expect([...new Float32Array(await device.read(later, 4))]).toEqual([2]);
    for (const buffer of [earlier, renamed, later]) device.release(buffer);
  });

  it("refuses a buffer that was given back", async () => {
    const buffer = device.acquire(32, "value");
    device.release(buffer);
    await expect(device.read(buffer, 4)).rejects.toThrow(UsageError);
    expect(() => device.write(buffer, new Uint8Array(4))).toThrow(UsageError);
    expect(() => device.ensureUsable(buffer)).toThrow(/"value" was given back already/);
  });

  it("does not run ahead of the GPU by more than the steps allowed", async () => {
    const pipeline = await made(device, "double", DOUBLE);
    const buffer = device.acquire(32, "steps");
    await device.drain();
    const finished: number[] = [];
    const step = (number: number) => {
      double(device, pipeline, buffer.gpu, 8);
      void device.fence().then(() => finished.push(number));
    };
    step(1);
    await device.throttle(2);
    step(2);
    await device.throttle(2);
    expect(finished).toEqual([]);
    step(3);
    await device.throttle(2);
    expect(finished).toContain(1);
    step(4);
    await device.throttle(0);
    expect(finished).toEqual([1, 2, 3, 4]);
    device.release(buffer);
  });
});

describe("opening a device", () => {
  it("at WebGPU's default limits gives those, and no optional feature", async () => {
    const device = await openDevice({ defaultLimits: true });
    expect(device.limits.maxStorageBuffersPerShaderStage).toBe(8);
    expect(device.limits.maxComputeInvocationsPerWorkgroup).toBe(256);
    expect(device.limits.maxBufferSize).toBe(256 * 2 ** 20);
    expect(device.features).not.toContain("shader-f16");
    await device.destroy();
  });

  it("asks for no more features than kernels and profiles use, and tells of all that the adapter has", async () => {
    const device = await openDevice({ adapter: "null" });
    const optional = [...device.features].filter((feature) => feature !== "core-features-and-limits");
    expect(optional.sort()).toEqual(["shader-f16", "subgroups", "timestamp-query"]);
    expect(device.info.features.length).toBeGreaterThan(device.features.size);
    await device.destroy();
  });

  it("twice in one process gives two that live and die apart", async () => {
    const [a, b] = [await openDevice(), await openDevice()];
    const [x, y] = [a.acquire(4, "x"), b.acquire(4, "y")];
    a.write(x, new Uint32Array([1]));
    b.write(y, new Uint32Array([2]));
    expect([...new Uint32Array(await a.read(x, 4))]).toEqual([1]);
    await a.destroy();
    expect([...new Uint32Array(await b.read(y, 4))]).toEqual([2]);
    expect(() => b.pool.release(x)).toThrow(UsageError);
    await b.destroy();
  });

  it("by part of a name, in any case, finds that adapter", async () => {
    for (const { name, vendor, software } of await listAdapters()) {
      const otherClass = software ? "gpu" : "software";
      const device = await openDevice({ adapter: ` ${name.slice(1).toUpperCase()}`, kernelClass: otherClass });
      expect(device.info).toMatchObject({ name, vendor, software });
      expect(device.kernelClass).toBe(otherClass);
      await device.destroy();
    }
  });

  it("under a name that no adapter has says what there is and how to get more", async () => {
    const adapters = await listAdapters();
    const failure = await openDevice({ adapter: "Voodoo 2" }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(BackendUnavailableError);
    const { message, hint } = failure as BackendUnavailableError;
    const [, others] = message.split("found but not asked for: ");
    expect(message).toContain('no WebGPU adapter that fits "Voodoo 2"');
    expect(adapters.length).toBeGreaterThan(0);
    for (const { name, software } of adapters) expect(others).toContain(`"${name}" (${software ? "software" : "hardware"})`);
    expect(hint).toContain("bookworm-backports");
  });

  it("on the null backend validates kernels with features that this machine need not have", async () => {
    const device = await openDevice({ adapter: "null" });
    expect(device.info.source).toBe("null");
    expect(device.features).toContain("shader-f16");
    expect(device.info.features).toContain("chromium-experimental-subgroup-matrix");
    device.compile("f16", `enable f16;\n${DOUBLE.replace("array<f32>", "array<f16>").replace("2.0", "2.0h")}`);
    await device.drain();
    device.compile("broken", BROKEN);
    await expect(device.drain()).rejects.toThrow(DeviceError);
    await device.destroy();
  });

  it("with poison leaves no buffer at zero, fresh or reused", async () => {
    const device = await openDevice({ poison: true });
    const first = device.acquire(3 * 2 ** 20, "a");
    const isNaNBits = (bits: number) => (bits & 0x7fffffff) > 0x7f800000;
    expect(new Uint32Array(await device.read(first, 3 * 2 ** 20)).every(isNaNBits)).toBe(true);
    device.write(first, new Float32Array([1, 2, 3]));
    device.release(first);
    const second = device.acquire(3 * 2 ** 20, "b");
    expect(second.memory).toBe(first.memory);
    expect(new Uint32Array(await device.read(second, 12)).every(isNaNBits)).toBe(true);
    await device.destroy();
  });

  it("is preceded by a list of all adapters, hardware first, and of the reasons where a source has none", async () => {
    const { adapters, problems } = await surveyAdapters();
    const firstSoftware = adapters.findIndex(({ software }) => software);
    expect(adapters.slice(firstSoftware < 0 ? adapters.length : firstSoftware).every(({ software }) => software)).toBe(true);
    for (const source of ["system", "swiftshader"] as const) {
      const listed = adapters.filter((adapter) => adapter.source === source);
      const reasons = problems.filter((problem) => problem.source === source);
      expect(reasons.length, `${source}: ${listed.length} adapters`).toBe(listed.length > 0 ? 0 : 1);
      for (const { reason } of reasons) expect(reason).toMatch(source === "system" ? /Dawn finds no adapter/ : /@sparticuz\/chromium/);
    }
  });
});

describe("a closed device", () => {
  it("refuses every call as lost, and closes only once", async () => {
    const device = await openDevice();
    const buffer = device.acquire(16, "value");
    await Promise.all([device.destroy(), device.destroy()]);
    expect(device.lost).toBe(true);
    expect(() => device.acquire(4, "late")).toThrow(DeviceLostError);
    expect(() => device.write(buffer, new Uint8Array(4))).toThrow(DeviceLostError);
    expect(() => device.submit([], "late")).toThrow(DeviceLostError);
    expect(() => device.compile("late", DOUBLE)).toThrow(DeviceLostError);
    await expect(device.read(buffer, 4)).rejects.toThrow(DeviceLostError);
    await expect(device.drain()).rejects.toThrow(/closed by destroy/);
    expect(device.pool.stats()).toMatchObject({ liveBytes: 0, idleBytes: 0 });
    device.release(buffer);
  });

  it("waits for a read that was under way", async () => {
    const device = await openDevice();
    const buffer = device.acquire(16, "value");
    device.write(buffer, new Uint32Array([1, 2, 3, 4]));
    const reading = device.read(buffer, 16);
    const closing = device.destroy();
    expect([...new Uint32Array(await reading)]).toEqual([1, 2, 3, 4]);
    await closing;
  });
});

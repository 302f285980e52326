import { describe, expect, it } from "vitest";
import { hasRelaxedSimd } from "../../src/backend/wasm/features.js";
import { createIo } from "../../src/cli/io.js";
import { advise, chooseBackend, formatBytes, type MachineAdapter, type MachineSurvey } from "../../src/cli/machine.js";
import { report, survey as surveyMachine } from "../../src/cli/run/doctor.js";
import { onBackend, switchOnRelaxedSimd } from "../../src/cli/session.js";
import { BackendUnavailableError } from "../../src/errors.js";
import { CapturedStream, cli } from "./capture.js";

const adapter = (name: string, software: boolean, source: string): MachineAdapter => ({
  name,
  vendor: "maker",
  architecture: "",
  device: name,
  description: name,
  backend: "vulkan",
  source,
  software,
  features: ["shader-f16", "timestamp-query"],
  limits: { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 31 },
  subgroupSizes: [4, 32],
});

const gpu = adapter("NVIDIA H200", false, "system");
const lavapipe = adapter("llvmpipe (LLVM 19.1.7)", true, "system");
const swiftshader = adapter("SwiftShader Device", true, "swiftshader");
const engine = {
  simd: true,
  relaxedSimd: true,
  relaxedSimdInCommand: true,
  sharedMemory: true,
  severalMemories: true,
  memoryBytes: 2 ** 34,
  processors: 24,
  threads: 16,
};
const survey = (...adapters: MachineAdapter[]): MachineSurvey => ({
  webgpuPackage: true,
  adapters,
  problems: adapters.length === 0 ? ["system: none"] : [],
  wasm: engine,
  memory: { total: 2 ** 34, free: 3 * 2 ** 30 },
});
const having = (found: MachineSurvey, wasm: Partial<MachineSurvey["wasm"]>): MachineSurvey => ({
  ...found,
  wasm: { ...found.wasm, ...wasm },
});
const noSimd = { simd: false, relaxedSimd: false, relaxedSimdInCommand: false };

describe("the choice", () => {
  it.each([
    ["the first hardware adapter by default", survey(gpu, swiftshader), {}, "webgpu", gpu, undefined],
    ["wasm where there are software adapters only", survey(lavapipe, swiftshader), {}, "wasm", undefined, 16],
    ["wasm where there is no adapter", survey(), {}, "wasm", undefined, 16],
    ["wasm on one thread where memory is not shared", having(survey(), { sharedMemory: false, threads: 1 }), {}, "wasm", undefined, 1],
    ["the reference backend where there is no SIMD", having(survey(lavapipe), noSimd), {}, "reference", undefined, undefined],
    ["the reference backend on request", survey(gpu), { backend: "reference" }, "reference", undefined, undefined],
    ["wasm on request", survey(gpu), { backend: "wasm" }, "wasm", undefined, 16],
    ["wasm where threads are asked for", survey(gpu), { threads: 3 }, "wasm", undefined, 3],
    [
      "wasm with one thread where more are asked for and memory is not shared",
      having(survey(), { sharedMemory: false, threads: 1 }),
      { backend: "wasm", threads: 3 },
      "wasm",
      undefined,
      1,
    ],
    ["hardware where webgpu is asked for", survey(gpu, lavapipe), { backend: "webgpu" }, "webgpu", gpu, undefined],
    ["software where webgpu is asked for and there is no other", survey(lavapipe), { backend: "webgpu" }, "webgpu", lavapipe, undefined],
    ["software on request", survey(gpu, swiftshader), { adapter: "software" }, "webgpu", swiftshader, undefined],
    ["hardware on request", survey(lavapipe, gpu), { adapter: "hardware" }, "webgpu", gpu, undefined],
    ["part of a name in any case", survey(gpu, lavapipe), { adapter: "LLVMpipe" }, "webgpu", lavapipe, undefined],
  ] as const)("is %s", (_, found, options, backend, chosen, threads) => {
    expect(chooseBackend(found, options)).toMatchObject({ backend, adapter: chosen, threads });
  });

  it.each([{ backend: "webgpu" }, { adapter: "hardware" }] as const)("of %j fails without an adapter", (options) => {
    expect(() => chooseBackend(survey(), options)).toThrow(BackendUnavailableError);
  });

  it("of hardware fails with software adapters only", () => {
    expect(() => chooseBackend(survey(lavapipe), { adapter: "hardware" })).toThrow(BackendUnavailableError);
  });

  it("of wasm fails without SIMD", () => {
    expect(() => chooseBackend(having(survey(gpu), noSimd), { backend: "wasm" })).toThrow(BackendUnavailableError);
  });

  it("of a name that nothing has lists what there is", () => {
    expect(() => chooseBackend(survey(lavapipe), { adapter: "radeon" })).toThrow("found: llvmpipe (LLVM 19.1.7)");
  });

  it.each([{}, { backend: "wasm" }, { threads: 2 }, { backend: "webgpu" }, { adapter: "swiftshader" }, { backend: "reference" }] as const)(
    "by %j is what init takes on this machine",
    async (options) => {
      const choice = chooseBackend(await surveyMachine(), options);
      const computedOn = await onBackend(
        options,
        createIo({ stdout: new CapturedStream(), stderr: new CapturedStream(), env: {}, json: false, verbose: false }),
        async (on) => on,
      );
      expect(computedOn.backend).toBe(choice.backend);
      if (choice.adapter !== undefined) expect(computedOn.adapter).toBe(choice.adapter.name);
      if (choice.threads !== undefined) expect(computedOn.adapter).toContain(` ${choice.threads} thread`);
    },
  );
});

describe("the advice", () => {
  it("is silent where a GPU works", () => expect(advise(survey(gpu), "linux")).toEqual([]));

  it("does not offer a software adapter as a way to be faster", () => {
    for (const found of [survey(swiftshader), survey(lavapipe)]) expect(advise(found, "linux").join("\n")).not.toMatch(/mesa|sparticuz/);
    expect(advise(survey(), "linux").join("\n")).toMatch(/To test WebGPU kernels .*wasm is faster.*@sparticuz\/chromium/);
    expect(advise(survey(), "darwin").join("\n")).not.toMatch(/vulkan|sparticuz/i);
  });

  it("names the package that brings WebGPU to Node where it is not installed, first of all", () => {
    const found = { ...survey(), webgpuPackage: false };
    expect(advise(found, "darwin")[0]).toContain("npm install webgpu@0.6.2");
    expect(advise(survey(), "darwin").join("\n")).not.toContain("webgpu@");
    expect(chooseBackend(found, {})).toMatchObject({ backend: "wasm", why: "the package webgpu is not installed" });
    expect(() => chooseBackend(found, { backend: "webgpu" })).toThrow(
      expect.objectContaining({ name: "BackendUnavailableError", hint: "npm install webgpu@0.6.2" }),
    );
  });

  it("says what is wrong where there is no SIMD", () => {
    expect(advise(having(survey(), noSimd), "linux")[0]).toContain("no WebAssembly SIMD");
    expect(advise(survey(), "linux").join("\n")).not.toContain("no WebAssembly SIMD");
  });
});

describe("doctor", () => {
  const doctor = (argv: string[], found: MachineSurvey) =>
    cli(["doctor", ...argv], ({ io }, { options }) => {
      report(found, { json: false, verbose: false, ...options }, { io });
      return undefined;
    });

  it("says what is there, what was chosen and why", async () => {
    const { code, stdout } = await doctor([], survey(lavapipe));
    expect(code).toBe(0);
    expect(stdout).toContain("llvmpipe (LLVM 19.1.7)");
    expect(stdout).toContain("largest tensor 128 MiB, largest buffer 2 GiB, subgroups of 4 to 32");
    expect(stdout).toContain("webgpu     1 adapter, software only: for testing kernels, used when asked for");
    expect(stdout).toContain("wasm       here: WebAssembly on 16 threads");
    expect(stdout).toMatch(/Chosen: wasm, 16 threads \(no hardware adapter was found; software adapters are slower .*asked for\)/);
  });

  it("names the GPU where there is one, and then calls no adapter a mere test", async () => {
    const { stdout } = await doctor([], survey(gpu, lavapipe));
    expect(stdout).toContain("webgpu     2 adapters\n");
    expect(stdout).toContain("Chosen: webgpu, NVIDIA H200 (the first hardware adapter that works)");
  });

  it("says yes where the engine has everything", async () => {
    const { stdout } = await doctor([], survey());
    for (const line of ["yes  SIMD", "yes  relaxed SIMD (fused multiply-add)\n", "yes  shared memory", "16 threads on 24 processors"]) {
      expect(stdout).toContain(line);
    }
  });

  it("says how to get fused multiply-add where the engine hides it", async () => {
    const { stdout } = await doctor([], having(survey(), { relaxedSimd: false }));
    expect(stdout).toMatch(/no +relaxed SIMD .*--experimental-wasm-relaxed-simd, or use a newer one; this command switches it on/);
    const without = await doctor([], having(survey(), { relaxedSimd: false, relaxedSimdInCommand: false }));
    expect(without.stdout).not.toContain("this command switches it on");
  });

  it("says no where there is no SIMD and no shared memory", async () => {
    const { stdout } = await doctor([], having(survey(), { ...noSimd, sharedMemory: false, threads: 1, processors: 1 }));
    for (const line of ["no   SIMD", "no   shared memory", "1 thread on 1 processor", "wasm       not here: no WebAssembly SIMD"]) {
      expect(stdout).toContain(line);
    }
    expect(stdout).toContain("Chosen: reference (no hardware adapter was found, and this Node has no WebAssembly SIMD)");
  });

  it("is one document under --json", async () => {
    const { stdout } = await doctor(["--json"], survey());
    expect(JSON.parse(stdout)).toMatchObject({
      node: process.version,
      backends: { webgpu: false, wasm: true, reference: true },
      wasm: engine,
      adapters: [],
      problems: ["system: none"],
      memory: { total: 2 ** 34, free: 3 * 2 ** 30 },
      chosen: { backend: "wasm", adapter: null, threads: 16, software: true },
    });
    expect(JSON.parse((await doctor(["--json"], survey(gpu))).stdout).chosen).toMatchObject({
      backend: "webgpu",
      adapter: "NVIDIA H200",
      threads: null,
      software: false,
    });
  });

  it("fails with exit code 1 where the request cannot be met, after showing what there is", async () => {
    const { code, stdout, stderr } = await doctor(["--adapter", "hardware"], survey(lavapipe));
    expect(code).toBe(1);
    expect(stdout).toContain("llvmpipe");
    expect(stderr).toMatch(/^error: no WebGPU adapter fits --adapter hardware; found: llvmpipe/);
  });
});

describe("relaxed SIMD", () => {
  it("is there in the command's process, because every engine from Node 20 on has it", () => {
    expect(switchOnRelaxedSimd()).toBe(true);
    expect(hasRelaxedSimd()).toBe(true);
  });
});

describe("bytes", () => {
  it.each([
    [0, "0 B"],
    [16_384, "16 KiB"],
    [134_217_728, "128 MiB"],
    [1.5 * 2 ** 30, "1.5 GiB"],
  ])("%d are %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));
});

import { describe, expect, it } from "vitest";
import { advise, chooseBackend, formatBytes, type MachineAdapter, type MachineSurvey } from "../../src/cli/machine.js";
import { report } from "../../src/cli/run/doctor.js";
import { BackendUnavailableError } from "../../src/errors.js";
import { cli } from "./capture.js";

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
const survey = (...adapters: MachineAdapter[]): MachineSurvey => ({ adapters, problems: adapters.length === 0 ? ["system: none"] : [] });

describe("the choice", () => {
  it.each([
    ["the first adapter by default", survey(gpu, swiftshader), {}, "webgpu", gpu],
    ["a software adapter where there is no other", survey(lavapipe, swiftshader), {}, "webgpu", lavapipe],
    ["the reference backend where there is none", survey(), {}, "reference", undefined],
    ["the reference backend on request", survey(gpu), { backend: "reference" }, "reference", undefined],
    ["software on request", survey(gpu, swiftshader), { adapter: "software" }, "webgpu", swiftshader],
    ["hardware on request", survey(lavapipe, gpu), { adapter: "hardware" }, "webgpu", gpu],
    ["part of a name in any case", survey(gpu, lavapipe), { adapter: "LLVMpipe" }, "webgpu", lavapipe],
  ] as const)("is %s", (_, found, options, backend, chosen) => {
    expect(chooseBackend(found, options)).toMatchObject({ backend, adapter: chosen });
  });

  it.each([{ backend: "webgpu" }, { adapter: "hardware" }] as const)("of %j fails without an adapter", (options) => {
    expect(() => chooseBackend(survey(), options)).toThrow(BackendUnavailableError);
  });

  it("of a name that nothing has lists what there is", () => {
    expect(() => chooseBackend(survey(lavapipe), { adapter: "radeon" })).toThrow("found: llvmpipe (LLVM 19.1.7)");
  });
});

describe("the advice", () => {
  it("is silent where a GPU works", () => expect(advise(survey(gpu), "linux")).toEqual([]));

  it("names the driver that works on Debian 12 where there is only the packaged one", () => {
    expect(advise(survey(swiftshader), "linux").join("\n")).toContain("bookworm-backports mesa-vulkan-drivers");
    expect(advise(survey(lavapipe), "linux").join("\n")).not.toContain("bookworm-backports");
  });

  it("names the packaged driver where there is nothing", () => {
    expect(advise(survey(), "linux").join("\n")).toContain("@sparticuz/chromium");
    expect(advise(survey(), "darwin").join("\n")).not.toContain("vulkan");
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
    expect(stdout).toMatch(/Chosen: webgpu, llvmpipe .*no hardware adapter was found/);
  });

  it("is one document under --json", async () => {
    const { stdout } = await doctor(["--json"], survey());
    expect(JSON.parse(stdout)).toMatchObject({
      node: process.version,
      backends: { webgpu: false, reference: true },
      adapters: [],
      problems: ["system: none"],
      chosen: { backend: "reference", adapter: null },
    });
  });

  it("fails with exit code 1 where the request cannot be met, after showing what there is", async () => {
    const { code, stdout, stderr } = await doctor(["--adapter", "hardware"], survey(lavapipe));
    expect(code).toBe(1);
    expect(stdout).toContain("llvmpipe");
    expect(stderr).toMatch(/^error: no WebGPU adapter fits --adapter hardware; found: llvmpipe/);
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

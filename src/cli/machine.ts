import type { WasmSurvey } from "../backend/wasm/features.js";
import { BackendUnavailableError } from "../errors.js";
import type { BackendName } from "../init.js";
import { installLine } from "../platform/optional-packages.js";
import { type BackendOptions, wantedBackend } from "./options.js";

/** A GPU adapter as doctor shows it. */
export interface MachineAdapter {
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** "vulkan", "metal" and so on. */
  readonly backend: string;
  /** "system", "swiftshader" (a driver that comes with an npm package) and so on. */
  readonly source: string;
  /** True where the processor computes. */
  readonly software: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  readonly subgroupSizes: readonly [min: number, max: number] | undefined;
}

/** What WebAssembly can do here, as doctor shows it. */
export interface MachineWasm extends WasmSurvey {
  /** Relaxed SIMD after the command has asked the engine for it; `relaxedSimd` is what any program gets. */
  readonly relaxedSimdInCommand: boolean;
}

/** What a look at the machine found; adapters in the order in which they are preferred. */
export interface MachineSurvey {
  /** Whether the package `webgpu` is installed, without which Node has no WebGPU. */
  readonly webgpuPackage: boolean;
  readonly adapters: readonly MachineAdapter[];
  /** Where no adapter was found, and why. */
  readonly problems: readonly string[];
  readonly wasm: MachineWasm;
  readonly memory: MachineMemory;
}

/** Bytes of memory: what this process may have, and what nobody uses at the moment. */
export interface MachineMemory {
  readonly total: number;
  readonly free: number;
}

/** Which backend a program gets here, and the reason in words. */
export interface Choice {
  readonly backend: BackendName;
  readonly adapter: MachineAdapter | undefined;
  /** Of the wasm backend, else undefined. */
  readonly threads: number | undefined;
  readonly why: string;
}

/**
 * What `init` takes with these options: a hardware adapter, else wasm, else the reference backend; a software adapter only when it or
 * webgpu is asked for. Throws BackendUnavailableError where what was asked for cannot be had.
 */
export function chooseBackend(survey: MachineSurvey, options: BackendOptions): Choice {
  switch (wantedBackend(options)) {
    case "webgpu":
      return chooseAdapter(survey, options.adapter);
    case "wasm": {
      const why = `${options.backend === undefined ? `--threads ${options.threads}` : "--backend wasm"} asks for it`;
      if (survey.wasm.simd) return onThreads(survey, options.threads, why);
      throw new BackendUnavailableError("this Node has no WebAssembly SIMD", { hint: `${simdAdvice}, or use --backend reference` });
    }
    case "reference":
      return { backend: "reference", adapter: undefined, threads: undefined, why: "--backend reference asks for it" };
    case undefined:
      return chooseBest(survey);
  }
}

function chooseBest(survey: MachineSurvey): Choice {
  const adapter = survey.adapters.find((one) => !one.software);
  if (adapter !== undefined) return { backend: "webgpu", adapter, threads: undefined, why: "the first hardware adapter that works" };
  const software = survey.adapters.length === 0 ? "" : "; software adapters are slower and only used when asked for";
  const none = survey.webgpuPackage ? "no hardware adapter was found" : missingWebGpu;
  if (survey.wasm.simd) return onThreads(survey, undefined, `${none}${software}`);
  return { backend: "reference", adapter: undefined, threads: undefined, why: `${none}, and this Node has no WebAssembly SIMD` };
}

function onThreads({ wasm }: MachineSurvey, wanted: number | undefined, why: string): Choice {
  return { backend: "wasm", adapter: undefined, threads: wasm.sharedMemory ? (wanted ?? wasm.threads) : 1, why };
}

function chooseAdapter(survey: MachineSurvey, wanted: string | undefined): Choice {
  const adapter = survey.adapters.find((one) => fits(one, wanted?.trim()));
  if (adapter !== undefined) {
    const only = adapter.software ? "; no hardware adapter was found" : "";
    const why = wanted === undefined ? `--backend webgpu asks for it${only}` : `--adapter ${wanted} asks for it`;
    return { backend: "webgpu", adapter, threads: undefined, why };
  }
  const found = survey.adapters.map((one) => one.name).join(", ");
  if (!survey.webgpuPackage) throw new BackendUnavailableError(missingWebGpu, { hint: installLine("webgpu") });
  throw new BackendUnavailableError(
    `no WebGPU adapter${wanted === undefined ? "" : ` fits --adapter ${wanted}`}; found: ${found === "" ? "none" : found}`,
    { hint: found === "" ? "install a driver (see the advice above), or use --backend wasm" : "name one of those, or leave --adapter out" },
  );
}

function fits(adapter: MachineAdapter, wanted: string | undefined): boolean {
  if (wanted === undefined) return true;
  if (wanted === "hardware") return !adapter.software;
  if (wanted === "software") return adapter.software;
  const { name, vendor, architecture, device, description, source } = adapter;
  return [name, vendor, architecture, device, description, source].some((text) => text.toLowerCase().includes(wanted.toLowerCase()));
}

const missingWebGpu = "the package webgpu is not installed";
const simdAdvice = "use Node 20 or newer, without --jitless";

/** What would make this machine faster, one sentence each; empty where there is a hardware adapter. */
export function advise(survey: MachineSurvey, platform: NodeJS.Platform): string[] {
  if (survey.adapters.some((adapter) => !adapter.software)) return [];
  const advice: string[] = [];
  if (!survey.wasm.simd) advice.push(`This Node has no WebAssembly SIMD, which is what makes a processor fast: ${simdAdvice}.`);
  if (!survey.webgpuPackage) advice.push(`With a GPU: \`${installLine("webgpu")}\` brings WebGPU to Node.`);
  if (platform === "linux") {
    advice.push(
      "With a GPU: install its vendor's Vulkan driver and check it with `vulkaninfo --summary`.",
      "NVIDIA in a container: start it with NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility, because WebGPU needs the Vulkan part.",
    );
    if (survey.adapters.length === 0) {
      advice.push(
        `To test WebGPU kernels without a GPU (wasm is faster): \`${installLine("@sparticuz/chromium", "koffi")}\` brings a software adapter.`,
      );
    }
  } else {
    advice.push(
      "With a GPU: install its vendor's driver. A remote desktop or a virtual machine may hide the GPU; try on the machine itself.",
    );
  }
  return advice;
}

/** What there is of memory, in a line for a terminal. */
export const describeMemory = ({ total, free }: MachineMemory, { memoryBytes }: WasmSurvey): string =>
  `${formatBytes(total)}, of which ${formatBytes(free)} are free; the wasm backend holds ${formatBytes(Math.min(total, memoryBytes))} at most`;

/** The wasm backend in a few lines for a terminal. */
export function describeWasm(wasm: MachineWasm): string[] {
  const { simd, relaxedSimd, relaxedSimdInCommand, sharedMemory, severalMemories, processors, threads } = wasm;
  const mark = (has: boolean): string => (has ? "yes" : "no ");
  const how = relaxedSimd
    ? ""
    : `: start Node 20 with --experimental-wasm-relaxed-simd, or use a newer one${relaxedSimdInCommand ? "; this command switches it on by itself" : ""}`;
  return [
    `${mark(simd)}  SIMD (vectors of four numbers; nothing works without)`,
    `${mark(relaxedSimd)}  relaxed SIMD (fused multiply-add)${how}`,
    `${mark(sharedMemory)}  shared memory (more than one thread)`,
    `${mark(severalMemories)}  several memories (more than 4 GiB)${severalMemories ? "" : ": use Node 22 or newer"}`,
    `${count(threads, "thread")} on ${count(processors, "processor")}`,
  ];
}

/** "1 thread", "2 threads". */
export function count(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}

/** Features worth a word of their own, and what they bring. */
const featureNotes: readonly (readonly [string, string])[] = [
  ["shader-f16", "half-precision arithmetic"],
  ["subgroups", "fast reductions"],
  ["chromium-experimental-subgroup-matrix", "matrix units"],
  ["timestamp-query", "GPU timing"],
];

/** The adapter in a few lines for a terminal. */
export function describeAdapter(adapter: MachineAdapter): string[] {
  const facts = [
    adapter.software ? "software" : "hardware",
    adapter.vendor,
    adapter.architecture,
    adapter.backend,
    `driver: ${adapter.source}`,
  ];
  const notes = featureNotes.map(([feature, use]) => `${adapter.features.includes(feature) ? "yes" : "no "}  ${feature} (${use})`);
  const limits: [string, string][] = [
    ["maxStorageBufferBindingSize", "largest tensor"],
    ["maxBufferSize", "largest buffer"],
    ["maxComputeInvocationsPerWorkgroup", "invocations per workgroup"],
    ["maxComputeWorkgroupStorageSize", "workgroup memory"],
  ];
  const sizes = limits.flatMap(([limit, words]) => {
    const value = adapter.limits[limit];
    if (value === undefined) return [];
    return [`${words} ${limit.endsWith("Size") ? formatBytes(value) : value}`];
  });
  const subgroups = adapter.subgroupSizes;
  if (subgroups !== undefined) {
    const [min, max] = subgroups;
    sizes.push(`subgroups of ${min === max ? min : `${min} to ${max}`}`);
  }
  return [[...new Set(facts)].filter((fact) => fact !== "").join(", "), ...notes, ...(sizes.length === 0 ? [] : [sizes.join(", ")])];
}

/** "16 KiB", "128 MiB", "1.5 GiB". */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Math.round(value * 10) / 10} ${units[unit]}`;
}

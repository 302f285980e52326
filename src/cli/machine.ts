import { BackendUnavailableError } from "../errors.js";
import type { CommonOptions } from "./options.js";

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

/** What a look at the machine found; adapters in the order in which they are preferred. */
export interface MachineSurvey {
  readonly adapters: readonly MachineAdapter[];
  /** Where no adapter was found, and why. */
  readonly problems: readonly string[];
}

/** Which backend a program gets here, and the reason in words. */
export interface Choice {
  readonly backend: "webgpu" | "reference";
  readonly adapter: MachineAdapter | undefined;
  readonly why: string;
}

/**
 * The backend and adapter that `init` takes with these options: a hardware adapter, else a software one, else the reference
 * backend; only WebGPU when it or an adapter is asked for. Throws BackendUnavailableError where that cannot be had.
 */
export function chooseBackend(survey: MachineSurvey, options: Pick<CommonOptions, "backend" | "adapter">): Choice {
  const { backend, adapter: wanted } = options;
  if (backend === "reference") return { backend, adapter: undefined, why: "--backend reference asks for it" };
  const adapter = survey.adapters.find((one) => fits(one, wanted));
  if (adapter !== undefined) {
    const kind = adapter.software ? "software adapter" : "hardware adapter";
    const only = survey.adapters.some((one) => !one.software) ? "" : "; no hardware adapter was found";
    const why = wanted === undefined ? `the first ${kind} that works${adapter.software ? only : ""}` : `--adapter ${wanted} asks for it`;
    return { backend: "webgpu", adapter, why };
  }
  if (backend === "webgpu" || wanted !== undefined) {
    const found = survey.adapters.map((one) => one.name).join(", ");
    throw new BackendUnavailableError(
      `no WebGPU adapter${wanted === undefined ? "" : ` fits --adapter ${wanted}`}; found: ${found === "" ? "none" : found}`,
      {
        hint:
          found === ""
            ? "install a driver (see the advice above), or use --backend reference"
            : "name one of those, or leave --adapter out",
      },
    );
  }
  return { backend: "reference", adapter: undefined, why: "no WebGPU adapter was found" };
}

function fits(adapter: MachineAdapter, wanted: string | undefined): boolean {
  switch (wanted?.toLowerCase()) {
    case undefined:
      return true;
    case "hardware":
      return !adapter.software;
    case "software":
      return adapter.software;
    default:
      return [adapter.name, adapter.vendor, adapter.architecture, adapter.device, adapter.description].some((text) =>
        text.toLowerCase().includes(wanted?.toLowerCase() ?? ""),
      );
  }
}

/** What would make this machine faster, one sentence each; empty where there is a hardware adapter. */
export function advise(survey: MachineSurvey, platform: NodeJS.Platform): string[] {
  if (survey.adapters.some((adapter) => !adapter.software)) return [];
  const advice: string[] = [];
  if (platform === "linux") {
    advice.push(
      "With a GPU: install its vendor's Vulkan driver and check it with `vulkaninfo --summary`.",
      "NVIDIA in a container: start it with NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility, because WebGPU needs the Vulkan part.",
    );
    if (!survey.adapters.some((adapter) => adapter.source === "system")) {
      advice.push(
        "Without a GPU: Mesa's software driver of version 25 is several times faster than the packaged one; on Debian 12: " +
          "`apt-get install -t bookworm-backports mesa-vulkan-drivers` (Debian 12's own 22.3 does not work).",
      );
    }
    if (survey.adapters.length === 0) {
      advice.push("Without a GPU and without root: `npm install --save-dev @sparticuz/chromium@153.0.0 koffi` brings a software driver.");
    }
  } else {
    advice.push(
      "With a GPU: install its vendor's driver. A remote desktop or a virtual machine may hide the GPU; try on the machine itself.",
    );
  }
  return advice;
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

import { BackendUnavailableError } from "../../errors.js";
import { isNode, nodeModule, nodeProcess } from "../../platform/node.js";
import { installLine } from "../../platform/optional-packages.js";
import { type AdapterReport, type AdapterSource, describeAdapter } from "./adapter-report.js";
import { type DawnAdapter, dawnAdapters, loadDawn } from "./dawn.js";
import type { FaultPlan } from "./faults.js";
import { GpuDevice, type KernelClass } from "./gpu-device.js";

export interface OpenDeviceOptions {
  /**
   * Part of an adapter's name, in any case, or "hardware", "software", "swiftshader", or "null" (Dawn's null backend, which
   * validates WGSL with every feature and computes nothing). Default: a hardware adapter of the system, else a software
   * adapter of the system, else SwiftShader.
   */
  readonly adapter?: string;
  /** Default: "software" on software adapters, else "gpu". */
  readonly kernelClass?: KernelClass;
  /** Open at WebGPU's default limits and without optional features: what every adapter has. Default false. */
  readonly defaultLimits?: boolean;
  /** Fill every storage buffer with NaN bits when it is acquired. Default false. */
  readonly poison?: boolean;
  /** Idle bytes that the pool keeps beyond 1.25 times its peak. Default 64 MiB. */
  readonly idleBytesCap?: number;
  /** Calls that fail, for tests. */
  readonly faults?: FaultPlan;
}

/** A source without an adapter, and why. */
export interface AdapterProblem {
  readonly source: AdapterSource;
  readonly reason: string;
}

/** How to get a driver. */
export const DRIVER_HINT = [
  "a GPU needs its vendor's Vulkan driver with libvulkan1 (NVIDIA in a container: libegl1 too)",
  "without a GPU, lavapipe: apt-get install libvulkan1 mesa-vulkan-drivers (Debian 12: add -t bookworm-backports)",
  `or, with no system package, SwiftShader: ${installLine("@sparticuz/chromium", "koffi")}`,
].join("; ");

/** The optional features that kernels use, and the one that profiles do. */
const FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const satisfies readonly GPUFeatureName[];

interface Candidate {
  readonly report: AdapterReport;
  readonly adapter: GPUAdapter;
  readonly languageFeatures: ReadonlySet<string>;
}

/** All adapters of this machine, the one that `openDevice()` would take first. */
export async function listAdapters(): Promise<AdapterReport[]> {
  return (await surveyAdapters()).adapters;
}

/** All adapters, best first, and for each source without one the reason. */
export async function surveyAdapters(): Promise<{ adapters: AdapterReport[]; problems: AdapterProblem[] }> {
  const problems: AdapterProblem[] = [];
  const found: Candidate[] = [];
  for (const source of sources(undefined)) found.push(...(await candidates(source, problems)));
  return { adapters: found.sort(hardwareFirst).map(({ report }) => report), problems };
}

/**
 * Opens a device with the optional features that kernels use (`shader-f16`, `subgroups`) where the adapter has them. Throws BackendUnavailableError with the reason for each source that was tried, and how to get
 * a driver; MissingPackageError in Node where the package `webgpu` is not installed.
 */
export async function openDevice(options: OpenDeviceOptions = {}): Promise<GpuDevice> {
  const wanted = options.adapter?.trim();
  if (wanted === "hardware" && !(await mayHaveHardware())) {
    throw new BackendUnavailableError("this machine shows no GPU: no device file of one is in /dev", { hint: DRIVER_HINT });
  }
  if (isNode) await loadDawn();
  const problems: AdapterProblem[] = [];
  const others: string[] = [];
  for (const source of sources(wanted)) {
    const found = (await candidates(source, problems)).sort(hardwareFirst);
    for (const candidate of found) {
      if (!matches(candidate.report, wanted)) {
        others.push(`"${candidate.report.name}" (${candidate.report.software ? "software" : "hardware"})`);
        continue;
      }
      try {
        return await open(candidate, options);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        problems.push({ source, reason: `"${candidate.report.name}" gives no device: ${reason}` });
      }
    }
  }
  const asked = wanted === undefined ? "there is no WebGPU adapter" : `there is no WebGPU adapter that fits "${wanted}"`;
  const reasons = problems.map(({ source, reason }) => `${source}: ${reason}`);
  if (others.length > 0) reasons.push(`found but not asked for: ${others.join(", ")}`);
  throw new BackendUnavailableError([asked, ...reasons].join("; "), { hint: isNode ? DRIVER_HINT : BROWSER_HINT });
}

/**
 * False on Linux where the kernel offers no GPU. A look at /dev takes no time, whereas loading Dawn to be told the same takes a
 * tenth of a second and writes warnings about drivers to the terminal of people who have no use for one.
 */
async function mayHaveHardware(): Promise<boolean> {
  if (!isNode || nodeProcess().platform !== "linux") return true;
  const { readdir } = await nodeModule("fs/promises");
  const files = async (folder: string): Promise<string[]> => readdir(folder).catch(() => []);
  const drivers = /^(renderD\d+|nvidia\d+|nvidiactl|dxg|kgsl-3d0|mali\d+)$/;
  return [...(await files("/dev")), ...(await files("/dev/dri"))].some((name) => drivers.test(name));
}

const BROWSER_HINT =
  "use a browser with WebGPU (a recent Chrome, Edge, Safari or Firefox) on a secure origin, with hardware acceleration on";

/** Where to look, in order. */
function sources(wanted: string | undefined): AdapterSource[] {
  if (!isNode) return ["browser"];
  if (wanted === "null") return ["null"];
  return wanted === "hardware" ? ["system"] : ["system", "swiftshader"];
}

function matches(report: AdapterReport, wanted: string | undefined): boolean {
  if (wanted === undefined || wanted === "null") return true;
  if (wanted === "hardware") return !report.software;
  if (wanted === "software") return report.software;
  const { name, vendor, architecture, device, description, source } = report;
  return [name, vendor, architecture, device, description, source].some((text) => text.toLowerCase().includes(wanted.toLowerCase()));
}

const hardwareFirst = (a: Candidate, b: Candidate): number => Number(a.report.software) - Number(b.report.software);

async function candidates(source: AdapterSource, problems: AdapterProblem[]): Promise<Candidate[]> {
  try {
    const found = source === "browser" ? await browserAdapters() : await dawnAdapters(source);
    return found.map((entry) => ({ ...entry, report: describeAdapter(entry, source) }));
  } catch (error) {
    if (!(error instanceof BackendUnavailableError)) throw error;
    // Without Dawn no source has an adapter, and once is enough to say so.
    const { message: reason } = error;
    if (!problems.some((known) => known.reason === reason)) problems.push({ source, reason });
    return [];
  }
}

async function browserAdapters(): Promise<DawnAdapter[]> {
  const gpu: GPU | undefined = globalThis.navigator?.gpu;
  if (!gpu) throw new BackendUnavailableError("navigator.gpu does not exist");
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new BackendUnavailableError("navigator.gpu gives no adapter");
  const { description, device, architecture, vendor } = adapter.info;
  const name = description || device || [vendor, architecture].filter(Boolean).join(" ") || "browser";
  return [{ backend: "browser", name, adapter, languageFeatures: gpu.wgslLanguageFeatures }];
}

async function open({ adapter, report, languageFeatures }: Candidate, options: OpenDeviceOptions): Promise<GpuDevice> {
  const requiredLimits: Record<string, number> = {};
  const requiredFeatures: GPUFeatureName[] = [];
  if (options.defaultLimits !== true) {
    Object.assign(requiredLimits, report.limits);
    requiredFeatures.push(...FEATURES.filter((feature) => adapter.features.has(feature)));
  }
  const gpu = await adapter.requestDevice({ label: `dawngrad on ${report.name}`, requiredFeatures, requiredLimits });
  return new GpuDevice(gpu, report, {
    kernelClass: options.kernelClass ?? (report.software ? "software" : "gpu"),
    languageFeatures,
    poison: options.poison ?? false,
    idleBytesCap: options.idleBytesCap ?? 64 * 2 ** 20,
    ...(options.faults ? { faults: options.faults } : {}),
  });
}

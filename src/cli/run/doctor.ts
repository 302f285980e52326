import { surveyWasm } from "../../backend/wasm/features.js";
import { importOptional } from "../../platform/optional-packages.js";
import type { DoctorOptions } from "../commands/doctor.js";
import { freeMemory, hostMemory } from "../fit.js";
import {
  advise,
  type Choice,
  chooseBackend,
  count,
  describeAdapter,
  describeMemory,
  describeWasm,
  type MachineSurvey,
  type MachineWasm,
} from "../machine.js";
import type { CommandContext, Runner } from "../runner.js";
import { switchOnRelaxedSimd } from "../session.js";
import { packageVersion } from "../version.js";

/** Looks at the machine and says what is there, what is chosen and why, and how to get better. */
export const run: Runner<DoctorOptions> = async (options, context) => {
  report(await survey(), options, context);
  return undefined;
};

/** What is there to compute on: adapters, WebAssembly, memory. */
export async function survey(): Promise<MachineSurvey> {
  return { ...(await surveyWebGpu()), wasm: await surveyWasmHere(), memory: { total: hostMemory(), free: freeMemory() } };
}

/** What WebAssembly can do in any program, and what more it can in the command's own process. */
async function surveyWasmHere(): Promise<MachineWasm> {
  const found = await surveyWasm();
  return { ...found, relaxedSimdInCommand: switchOnRelaxedSimd() };
}

/** What the WebGPU layer finds here; a layer that cannot even be loaded is a finding too. */
async function surveyWebGpu(): Promise<Omit<MachineSurvey, "wasm" | "memory">> {
  try {
    const { surveyAdapters } = await import("../../backend/webgpu/adapter.js");
    const { adapters, problems } = await surveyAdapters();
    const webgpuPackage = (await importOptional("webgpu")) !== undefined;
    return { webgpuPackage, adapters, problems: problems.map(({ source, reason }) => `${source}: ${reason}`) };
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    return { webgpuPackage: true, adapters: [], problems: [`webgpu cannot be loaded: ${reason}`] };
  }
}

/** Prints the survey, and the JSON document of it. Throws BackendUnavailableError where the request of the options cannot be met. */
export function report(found: MachineSurvey, options: DoctorOptions, { io }: Pick<CommandContext, "io">): void {
  const advice = advise(found, process.platform);
  const machine = { dawngrad: packageVersion(), node: process.version, platform: process.platform, arch: process.arch };
  io.print(`dawngrad ${machine.dawngrad}, Node ${machine.node}, ${machine.platform} ${machine.arch}`);
  io.print("");
  io.print(io.style("bold", "Backends"));
  io.print(`  webgpu     ${webgpuInShort(found)}`);
  io.print(
    `  wasm       ${found.wasm.simd ? `here: WebAssembly on ${count(found.wasm.threads, "thread")}` : "not here: no WebAssembly SIMD"}`,
  );
  io.print("  reference  always here: plain loops in double precision, slow, the yardstick of the tests");
  io.print("");
  io.print(io.style("bold", "wasm"));
  for (const line of describeWasm(found.wasm)) io.print(`  ${line}`);
  io.print("");
  io.print(io.style("bold", "Memory"));
  io.print(`  ${describeMemory(found.memory, found.wasm)}`);
  for (const adapter of found.adapters) {
    io.print("");
    io.print(io.style("bold", adapter.name));
    for (const line of describeAdapter(adapter)) io.print(`  ${line}`);
    if (options.verbose) {
      io.print(`  features: ${adapter.features.join(", ")}`);
      for (const [limit, value] of Object.entries(adapter.limits)) io.print(`  ${limit}: ${value}`);
    }
  }
  section(io, "Not found", found.problems);
  section(io, "How to get better", advice);
  const choice = chooseBackend(found, options);
  io.print("");
  const detail = choice.adapter?.name ?? (choice.threads === undefined ? undefined : count(choice.threads, "thread"));
  io.print(`${io.style("bold", "Chosen:")} ${choice.backend}${detail === undefined ? "" : `, ${detail}`} (${choice.why})`);
  io.result({
    ...machine,
    backends: { webgpu: found.adapters.length > 0, wasm: found.wasm.simd, reference: true },
    wasm: found.wasm,
    memory: found.memory,
    adapters: found.adapters,
    problems: found.problems,
    chosen: chosenDocument(choice),
    advice,
  });
}

function webgpuInShort({ webgpuPackage, adapters }: MachineSurvey): string {
  if (!webgpuPackage) return "not here: the package webgpu is not installed";
  if (adapters.length === 0) return "not here: no adapter";
  const hardware = adapters.some((adapter) => !adapter.software);
  return `${count(adapters.length, "adapter")}${hardware ? "" : ", software only: for testing kernels, used when asked for"}`;
}

function chosenDocument({ backend, adapter, threads, why }: Choice): object {
  return { backend, adapter: adapter?.name ?? null, threads: threads ?? null, software: adapter?.software ?? true, why };
}

function section(io: CommandContext["io"], title: string, lines: readonly string[]): void {
  if (lines.length === 0) return;
  io.print("");
  io.print(io.style("bold", title));
  for (const line of lines) io.print(`  ${line}`);
}

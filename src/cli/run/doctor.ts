import type { DoctorOptions } from "../commands/doctor.js";
import { advise, type Choice, chooseBackend, describeAdapter, type MachineSurvey } from "../machine.js";
import { packageVersion } from "../program.js";
import type { CommandContext, Runner } from "../runners.js";

/** Looks at the machine and says what is there, what is chosen and why, and how to get better. */
export const run: Runner<DoctorOptions> = async (options, context) => {
  report(await survey(), options, context);
  return undefined;
};

/** What the WebGPU layer finds here; a layer that cannot even be loaded is a finding too. */
async function survey(): Promise<MachineSurvey> {
  try {
    const { surveyAdapters } = await import("../../backend/webgpu/adapter.js");
    const { adapters, problems } = await surveyAdapters();
    return { adapters, problems: problems.map(({ source, reason }) => `${source}: ${reason}`) };
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    return { adapters: [], problems: [`webgpu cannot be loaded: ${reason}`] };
  }
}

/** Prints the survey, and the JSON document of it. Throws BackendUnavailableError where the request of the options cannot be met. */
export function report(found: MachineSurvey, options: DoctorOptions, { io }: Pick<CommandContext, "io">): void {
  const advice = advise(found, process.platform);
  const machine = { dawngrad: packageVersion(), node: process.version, platform: process.platform, arch: process.arch };
  io.print(`dawngrad ${machine.dawngrad}, Node ${machine.node}, ${machine.platform} ${machine.arch}`);
  io.print("");
  io.print(io.style("bold", "Backends"));
  io.print(`  webgpu     ${found.adapters.length === 0 ? "not here: no adapter" : count(found.adapters.length, "adapter")}`);
  io.print("  reference  always here: plain loops in double precision, slow, the yardstick of the tests");
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
  io.print(
    `${io.style("bold", "Chosen:")} ${choice.backend}${choice.adapter === undefined ? "" : `, ${choice.adapter.name}`} (${choice.why})`,
  );
  io.result({
    ...machine,
    backends: { webgpu: found.adapters.length > 0, reference: true },
    adapters: found.adapters,
    problems: found.problems,
    chosen: chosenDocument(choice),
    advice,
  });
}

function chosenDocument(choice: Choice): object {
  return { backend: choice.backend, adapter: choice.adapter?.name ?? null, software: choice.adapter?.software ?? true, why: choice.why };
}

function section(io: CommandContext["io"], title: string, lines: readonly string[]): void {
  if (lines.length === 0) return;
  io.print("");
  io.print(io.style("bold", title));
  for (const line of lines) io.print(`  ${line}`);
}

function count(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}

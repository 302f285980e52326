import { checkOptions, flag, integer, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { KernelReport, ProgramReport } from "../../ir/program-report.js";
import { graphToDot } from "./dot.js";
import type { ExplainedGraph } from "./graph.js";
import { drawExplanation } from "./svg.js";
import type { ExplainedKernel, Explanation, MemoryTimeline, SvgOptions } from "./types.js";

interface Parts extends Pick<Explanation, "name" | "backend" | "traces" | "text" | "graph"> {
  readonly report: ProgramReport;
}

export class ProgramExplanation implements Explanation {
  readonly name: string;
  readonly backend: string;
  readonly traces: number;
  readonly text: string;
  readonly graph: ExplainedGraph;
  readonly kernels: readonly ExplainedKernel[];
  readonly memory: MemoryTimeline;
  readonly flops: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly intensity: number;
  readonly #report: ProgramReport;

  constructor({ name, backend, traces, text, graph, report }: Parts) {
    this.name = name;
    this.backend = backend;
    this.traces = traces;
    this.text = text;
    this.graph = graph;
    this.#report = report;
    this.kernels = report.kernels.map((kernel, number) => ({ ...kernel, number, intensity: intensityOf(kernel) }));
    const liveBytes = report.kernels.map((kernel) => kernel.liveBytes);
    const peakBytes = liveBytes.reduce((a, b) => Math.max(a, b), 0);
    const peakKernel = peakBytes > 0 ? liveBytes.indexOf(peakBytes) : -1;
    this.memory = { values: report.values, liveBytes, peakBytes, peakKernel, scratchBytes: report.scratchBytes };
    const sum = (what: "flops" | "bytesRead" | "bytesWritten"): number => report.kernels.reduce((n, kernel) => n + kernel[what], 0);
    this.flops = sum("flops");
    this.bytesRead = sum("bytesRead");
    this.bytesWritten = sum("bytesWritten");
    this.intensity = intensityOf(this);
  }

  listing(kernel: number): string {
    if (!(Number.isInteger(kernel) && kernel >= 0 && kernel < this.kernels.length)) {
      throw new OptionError(`listing: ${this.name} has no kernel ${String(kernel)}`, {
        hint: `it has the kernels 0 … ${this.kernels.length - 1}`,
      });
    }
    return this.#report.listing(kernel);
  }

  toString(): string {
    return this.text;
  }

  toDot(): string {
    return graphToDot(this.name, this.graph);
  }

  toSvg(options: SvgOptions = {}): string {
    checkOptions("toSvg", options, { maxNodes: optional(integer(1)), listings: optional(flag) });
    return drawExplanation(this, { maxNodes: 300, listings: false, ...options });
  }
}

const intensityOf = ({ flops, bytesRead, bytesWritten }: Pick<KernelReport, "flops" | "bytesRead" | "bytesWritten">): number =>
  flops === 0 ? 0 : flops / Math.max(1, bytesRead + bytesWritten);

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { describeGraph } from "../../src/backend/reference/describe.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { buildProgram } from "../../src/backend/webgpu/program.js";
import { fuse } from "../../src/compiler/fuse.js";
import { heirsOf } from "../../src/compiler/heirs.js";
import { inline } from "../../src/compiler/inline.js";
import { lower } from "../../src/compiler/lower.js";
import { plan } from "../../src/compiler/plan.js";
import { prepare } from "../../src/compiler/prepare.js";
import { type BufferInfo, kernelsOf } from "../../src/compiler/program.js";
import { schedule } from "../../src/compiler/schedule.js";
import { prune, simplify } from "../../src/compiler/simplify.js";
import * as dawngrad from "../../src/index.js";
import type { Graph } from "../../src/ir/graph.js";
import { describeGroups, describeKernels, describePlan } from "./stages.js";

const path = fileURLToPath(new URL("../../docs/architecture.md", import.meta.url));
const block = /^```(\w+) (\w+)\n([\s\S]*?)^```$/gm;

/** The code of the page, with what it prints and the function that it differentiates. */
async function runExample(code: string): Promise<{ f: (w: dawngrad.Tensor) => dawngrad.Tensor; w: dawngrad.Tensor; printed: string }> {
  const imported = /^import (\{[^}]*\}) from "dawngrad";$/m;
  const AsyncFunction = (async () => {}).constructor as new (...lines: string[]) => (...given: unknown[]) => Promise<never>;
  const body = code.replace(imported, "const $1 = dawngrad;").replaceAll("console.log(", "print(");
  const printed: string[] = [];
  const run = new AsyncFunction("dawngrad", "print", `${body}\nreturn { f, w };`);
  const { f, w } = (await run(dawngrad, (value: unknown) => printed.push(JSON.stringify(value)))) as Awaited<ReturnType<typeof runExample>>;
  return { f, w, printed: printed.join("\n") };
}

/** The graph that a compiled function is, as backends are given it. */
function graphOf(f: (w: dawngrad.Tensor) => unknown, w: dawngrad.Tensor): Graph {
  const backend = createReferenceBackend();
  let graph: Graph | undefined;
  const listening: Backend = Object.assign(Object.create(backend) as Backend, {
    compile: (given: Graph) => {
      graph = given;
      return backend.compile(given);
    },
  });
  dawngrad.withBackend(listening, () => dawngrad.explain(f, w));
  return graph as Graph;
}

const withoutHead = (text: string): string => text.slice(text.indexOf("\n") + 1);

/** What stands in the blocks of the page, by their names, from the example on. */
async function stagesOf(code: string): Promise<Readonly<Record<string, string>>> {
  const { f, w, printed } = await runExample(code);
  const gradient = dawngrad.grad(f);
  const graph = graphOf(gradient, w);
  const simple = simplify(prune(inline(graph)));
  const ready = prepare(simple, { minRows: 256, maxOperands: 4, expandScatter: false });
  const fused = fuse(ready, { fuse: true, maxBuffers: 7 });
  const lowered = lower(ready, fused);
  const heirs = heirsOf(lowered, []);
  const bytesOf = ({ length }: BufferInfo): number => 4 * length;
  const planned = plan(schedule(lowered, heirs, bytesOf), heirs, { bytesOf, scratch: "block", alignment: 4 });
  const program = buildProgram(graph, { kernels: "auto", target: { kernelClass: "gpu", maxWorkgroupsPerDimension: 65_535 } });
  expect(kernelsOf(program.plan.steps)).toEqual(kernelsOf(planned.steps));
  return {
    tensors: withoutHead(dawngrad.explain(f, w)),
    gradient: withoutHead(dawngrad.explain(gradient, w)),
    simplified: describeGraph(simple),
    groups: describeGroups(ready, fused.groups),
    kernels: describeKernels(kernelsOf(planned.steps)),
    wgsl: /^fn finish[\s\S]*?^}/m.exec(program.kernels[0]?.wgsl ?? "")?.[0] ?? "",
    plan: describePlan(planned),
    numbers: printed,
  };
}

describe("docs/architecture.md", () => {
  let page = "";
  beforeAll(async () => {
    page = await readFile(path, "utf8");
  });

  it("prints at each stage what the example becomes there (vitest -u brings the page up to date)", async () => {
    const code = [...page.matchAll(block)].find(([, , name]) => name === "example")?.[3] ?? "";
    const stages = await stagesOf(code);
    const found = [...page.matchAll(block)].map(([, , name]) => name).filter((name) => name !== "example");
    expect(found).toEqual(Object.keys(stages));
    const current = page.replace(block, (whole, language: string, name: string) =>
      name in stages ? `\`\`\`${language} ${name}\n${stages[name]}\n\`\`\`` : whole,
    );
    await expect(current).toMatchFileSnapshot(path);
  });
});

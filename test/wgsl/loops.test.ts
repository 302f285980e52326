import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { assemble, describeProgram } from "../../src/backend/webgpu/program.js";
import { UsageError } from "../../src/errors.js";
import { literal } from "../../src/ir/index-expression.js";
import { type KernelLint, openKernelLint } from "../support/kernel-lint.js";
import { largestError, loopPrograms, manyTurns, outline, runSteps, scalarTypes } from "../support/loop-programs.js";
import { internalsOf } from "../support/webgpu-internals.js";
import { maxWorkgroupsPerDimension } from "./targets.js";

const classes = ["software", "gpu"] as const;

describe.each(classes)("loops of %s kernels", (kernelClass) => {
  let backend: Backend;
  let lint: KernelLint;
  beforeAll(async () => {
    backend = await createWebGpuBackend({ kernelClass, defaultLimits: true, poison: true });
    lint = await openKernelLint();
  });
  afterAll(async () => {
    lint.close();
    await backend.close();
  });

  it.each(kernelClass === "software" ? [...loopPrograms, manyTurns()] : loopPrograms.filter((_, i) => i % 2 === 0))(
    "$name",
    async (program) => {
      const { target } = internalsOf(backend);
      const assembled = assemble(program.lowered, scalarTypes(program), { target });
      expect(await lint.problems(assembled)).toEqual([]);
      const values = await runSteps(backend, program, (graph) => internalsOf(backend).executable(graph, assembled, {}));
      expect(largestError(values, program)).toBeLessThanOrEqual(program.tolerance);
    },
  );
});

it("a loop's body stands once in what a program says of itself, under how often it runs", () => {
  const program = loopPrograms.find(({ name }) => name.startsWith("4 × 3 iterations"));
  if (program === undefined) throw new Error("there is no such program");
  const assembled = assemble(program.lowered, [], { target: { kernelClass: "gpu", maxWorkgroupsPerDimension } });
  expect(outline(describeProgram(assembled))).toEqual(["map", "loop × 4", "  map", "  loop × 3", "    map", "  map", "  map"]);
});

it("more iterations of loops in loops than can be counted are refused", () => {
  const value = { id: 0, kind: "const", value: 0, dtype: "f32" } as const;
  const stores = [{ buffer: 0, index: literal(0), value, inner: false }];
  const kernel = { kind: "map", label: "", values: [value], stores, outer: { name: "o", extent: 1 } } as const;
  const body = { kind: "loop", label: "", iteration: { name: "i1", extent: 2 ** 20 }, body: [kernel] } as const;
  const steps = [{ kind: "loop", label: "", iteration: { name: "i0", extent: 2 ** 13 }, body: [body] }] as const;
  const lowered = { steps, buffers: new Map([[0, { dtype: "f32", length: 1 } as const]]), inputs: [], outputs: [0] };
  const building = (): unknown => assemble(lowered, [], { target: { kernelClass: "gpu", maxWorkgroupsPerDimension } });
  expect(building).toThrow(UsageError);
  expect(building).toThrow(/8192 × 1048576 iterations/);
});

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { type PrimitiveName, primitives } from "../../src/ir/primitives.js";
import { backendVariants, thinned } from "../support/backends.js";
import { allowanceOf, casesOf, computationOf, isSum, magnitude } from "../support/cases.js";
import { difference } from "../support/compare.js";
import { compute, type HostTensor } from "../support/graphs.js";
import { samples } from "../support/samples.js";

const reference = createReferenceBackend();

async function failures<P extends PrimitiveName>(backend: Backend, primitive: P, stride: number): Promise<string[]> {
  const found: string[] = [];
  for (const testCase of thinned(casesOf(primitive, samples[primitive]), stride)) {
    const computation = computationOf(testCase);
    const [expected] = (await compute(reference, computation)) as [HostTensor];
    const [magnitudes] = isSum(primitive) ? await compute(reference, computationOf(testCase, magnitude)) : [];
    const [result] = (await compute(backend, computation)) as [HostTensor];
    const message = difference(result, expected, allowanceOf(testCase, expected, magnitudes));
    if (message !== undefined) found.push(`${testCase.title}: ${message}`);
  }
  return found;
}

describe.each(backendVariants())("$name agrees with the reference in every dtype, view and size of", ({ create, stride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => backend.close());

  for (const primitive of Object.keys(primitives) as PrimitiveName[]) {
    it(primitive, { timeout: 120_000 }, async () => {
      expect(await failures(backend, primitive, stride)).toEqual([]);
    });
  }

  it("and holds no memory once every case gave its buffers back", () => {
    const { byOwner } = backend.memory();
    expect([byOwner["test"] ?? 0, byOwner["value"] ?? 0]).toEqual([0, 0]);
  });
});

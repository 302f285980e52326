import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { hostArray } from "../../src/ir/dtype.js";
import type { PrimitiveName } from "../../src/ir/primitives.js";
import { type Case, casesOf, computationOf, operandsOf } from "../support/cases.js";
import { allow, difference } from "../support/compare.js";
import { definitions } from "../support/definitions.js";
import { compute, type HostTensor } from "../support/graphs.js";
import { samples } from "../support/samples.js";
import { unitRoundoff } from "../support/tolerances.js";
import { coordinates } from "../support/views.js";

const reference = createReferenceBackend();

/** The result of a case by its definition, one coordinate after another. */
async function defined<P extends PrimitiveName>(testCase: Case<P>, { shape, dtype }: HostTensor): Promise<HostTensor> {
  const operands = await compute(reference, operandsOf(testCase));
  const element = definitions[testCase.primitive](operands as [HostTensor, HostTensor, HostTensor], testCase.sample.params, {
    shape,
    dtype,
  });
  const data = hostArray(dtype, 0).constructor as new (values: Iterable<number>) => HostTensor["data"];
  return { shape, dtype, data: new data([...coordinates(shape)].map(element)) };
}

async function failures<P extends PrimitiveName>(primitive: P): Promise<string[]> {
  const found: string[] = [];
  for (const testCase of casesOf(primitive, samples[primitive])) {
    const [result] = (await compute(reference, computationOf(testCase))) as [HostTensor];
    // One rounding to f32 on each side; what happens before it is f64.
    const message = difference(result, await defined(testCase, result), allow({ relative: 2 * unitRoundoff, absolute: 1e-12 }));
    if (message !== undefined) found.push(`${testCase.title}: ${message}`);
  }
  return found;
}

describe("the reference backend computes each primitive as it is defined, coordinate by coordinate:", () => {
  for (const primitive of Object.keys(definitions) as PrimitiveName[]) {
    it(primitive, async () => {
      expect(samples[primitive].length).toBeGreaterThan(0);
      expect(await failures(primitive)).toEqual([]);
    });
  }
});

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import type { DType } from "../../src/ir/dtype.js";
import { type PrimitiveName, type PrimitiveParams, primitiveRecord, primitives } from "../../src/ir/primitives.js";
import { backends } from "../support/backends.js";
import { allow, difference } from "../support/compare.js";
import { edges } from "../support/edges.js";
import { compute, GraphBuilder, type HostTensor, hostTensor } from "../support/graphs.js";

/** Edge texts that speak of accuracy or of what is left open, which no value can show. */
const withoutValues: readonly PrimitiveName[] = ["sin", "cos", "dot"];

/** The call of a primitive on inputs that only the run knows. */
function onInputs(primitive: PrimitiveName, operands: readonly HostTensor[], params: PrimitiveParams[PrimitiveName]) {
  const builder = new GraphBuilder();
  const inputs = operands.map((x) => builder.input(x));
  return builder.build([builder.operation(primitive, inputs, params)]);
}

/** The same elementwise call on constants, one element at a time, which a compiler may compute beforehand. */
function onConstants(primitive: PrimitiveName, operands: readonly HostTensor[], params: PrimitiveParams[PrimitiveName]) {
  const builder = new GraphBuilder();
  const elements = Array.from(operands[0]?.data ?? [], (_, i) => {
    const constants = operands.map(({ dtype, data }) => builder.operation("const", [], { value: data[i] as number, shape: [1], dtype }));
    return builder.operation(primitive, constants, params);
  });
  return builder.build([builder.operation("concat", elements, { axis: 0 })]);
}

/** A difference in NaN, infinities, the sign of zero, or more than the tolerance. */
function problem(found: HostTensor, expected: readonly number[], tolerance: { relative: number; absolute: number }): string | undefined {
  const wanted = hostTensor(found.dtype, [expected.length], expected);
  const flat = { ...found, shape: [found.data.length] };
  const zero = expected.findIndex((value, i) => Object.is(value, -0) && !Object.is(found.data[i], -0));
  return zero < 0 ? difference(flat, wanted, allow(tolerance)) : `element ${zero}: found ${found.data[zero]}, expected -0`;
}

it("every primitive that promises something at its edges is tested there", () => {
  const promising = (Object.keys(primitives) as PrimitiveName[]).filter((name) => primitiveRecord(name).edge !== undefined);
  expect(promising.filter((name) => edges[name] === undefined && !withoutValues.includes(name))).toEqual([]);
});

describe.each(backends())("$name keeps the promises of the primitive table at special values:", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => backend.close());

  for (const primitive of Object.keys(edges) as PrimitiveName[]) {
    const cases = edges[primitive] ?? [];
    const dtypes = (operands: readonly HostTensor[]): DType[] => operands.map(({ dtype }) => dtype);

    it(primitive, { timeout: 60_000 }, async () => {
      for (const { operands, params, expected, tolerance } of cases) {
        const [found] = (await compute(backend, onInputs(primitive, operands, params))) as [HostTensor];
        expect(problem(found, expected, tolerance), `${primitive} of ${dtypes(operands)}`).toBeUndefined();
      }
    });

    if (primitives[primitive].tag !== "elementwise") continue;
    it(`${primitive} of constants`, { timeout: 60_000 }, async () => {
      for (const { operands, params, expected, tolerance } of cases) {
        const [found] = (await compute(backend, onConstants(primitive, operands, params))) as [HostTensor];
        expect(problem(found, expected, tolerance), `${primitive} of constant ${dtypes(operands)}`).toBeUndefined();
      }
    });
  }
});

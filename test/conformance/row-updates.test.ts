import { fc } from "@fast-check/vitest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { updateRows } from "../../src/autograd/update-rows.js";
import { type Backend, compile, DtypeError, ShapeError, scan, type Tensor, tensor, useBackend, valueAndGrad } from "../../src/index.js";
import { backendVariants } from "../support/backends.js";

interface Case {
  readonly outer: number[];
  readonly S: number;
  readonly T: number;
  readonly D: number;
  readonly start: number;
  readonly dtype: "f32" | "i32";
  readonly donated: boolean;
  /** What the rows are: given, computed where they are written, or read at other places. */
  readonly rows: "given" | "computed" | "turned";
}

const cases = fc.record<Case>({
  outer: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
  S: fc.integer({ min: 1, max: 9 }),
  T: fc.integer({ min: 1, max: 10 }),
  D: fc.constantFrom(1, 2, 3, 4, 5, 6, 8, 64, 70),
  start: fc.integer({ min: -11, max: 10 }),
  dtype: fc.constantFrom("f32", "i32"),
  donated: fc.boolean(),
  rows: fc.constantFrom("given", "computed", "turned"),
});

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const make: { readonly [R in Case["rows"]]: (rows: Tensor) => Tensor } = {
  given: (rows) => rows,
  computed: (rows) => rows.mul(2).add(1),
  turned: (rows) => rows.flip(-1).mul(3).flip(-2),
};

/** Row-major numbers of the result, one coordinate after another. */
function expected({ outer, S, T, D, start, rows: how }: Case): number[] {
  const n = sizeOf(outer);
  const row = (b: number, t: number, d: number): number => {
    const at = (t: number, d: number): number => 1000 + (b * T + t) * D + d;
    return how === "given" ? at(t, d) : how === "computed" ? 2 * at(t, d) + 1 : 3 * at(T - 1 - t, D - 1 - d);
  };
  return Array.from({ length: n * S * D }, (_, i) => {
    const [b, s, d] = [Math.floor(i / (S * D)), Math.floor(i / D) % S, i % D];
    return s >= start && s < start + T ? row(b, s - start, d) : i;
  });
}

describe.each(backendVariants())("rows written into a tensor on $name", ({ create, stride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  }, 60_000);
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });
  const counting = (shape: readonly number[], dtype: Case["dtype"], from = 0): Tensor =>
    tensor(
      Array.from({ length: sizeOf(shape) }, (_, i) => from + i),
      { shape, dtype },
    );
  const start = (value: number): Tensor => tensor(value, { dtype: "i32" });

  it("are where they belong, wherever they begin, and the rest is as it was", { timeout: 120_000 }, async () => {
    const run = fc.asyncProperty(cases, async (one) => {
      const { outer, S, T, D, dtype, donated } = one;
      const x = counting([...outer, S, D], dtype);
      const rows = counting([...outer, T, D], dtype, 1000);
      const update = compile((x: Tensor, rows: Tensor, at: Tensor) => updateRows(x, make[one.rows](rows), at), {
        ...(donated ? { donate: [0] } : {}),
      });
      const found = update(x, rows, start(one.start));
      expect([...(await found.data())]).toEqual(expected(one));
      if (!donated) expect([...(await x.data())].every((value, i) => value === i)).toBe(true);
    });
    await fc.assert(run, { numRuns: Math.ceil(60 / stride) + 4, seed: 11 });
  });

  it("keep what is read of the old tensor, before and after", async () => {
    const f = compile(
      (x: Tensor, rows: Tensor, at: Tensor) => [updateRows(x, rows, at), x.sum(), updateRows(x, x.slice([[0, 1]]).mul(2), at)],
      {
        donate: [0],
      },
    );
    const [y, sum, twice] = f(counting([3, 2], "f32"), counting([1, 2], "f32", 9), start(2)) as [Tensor, Tensor, Tensor];
    expect([...(await y.data())]).toEqual([0, 1, 2, 3, 9, 10]);
    expect(await sum.item()).toBe(15);
    expect([...(await twice.data())]).toEqual([0, 1, 2, 3, 0, 2]);
  });

  it("follow one another in a loop", async () => {
    const written = compile((x: Tensor, rows: Tensor) =>
      scan(
        ([y, at]: [Tensor, Tensor], row: Tensor): [[Tensor, Tensor], Tensor] => [[updateRows(y, row, at), at.add(1)], row.sum()],
        [x, start(1)],
        rows,
      ),
    );
    const [[y]] = written(counting([4, 2], "f32"), counting([3, 1, 2], "f32", 50));
    expect([...(await y.data())]).toEqual([0, 1, 50, 51, 52, 53, 54, 55]);
  });

  it("take the cotangents of their places", async () => {
    const weights = counting([4, 2], "f32", 1);
    const f = ([x, rows]: [Tensor, Tensor]): Tensor => updateRows(x, rows.mul(2), start(1)).mul(weights).sum();
    const [, [dx, dRows]] = valueAndGrad(f)([counting([4, 2], "f32"), counting([2, 2], "f32")]);
    expect([...(await dx.data())]).toEqual([1, 2, 0, 0, 0, 0, 7, 8]);
    expect([...(await dRows.data())]).toEqual([6, 8, 10, 12]);
  });
});

describe("rows written into a tensor", () => {
  it("are refused where they do not fit", () => {
    const x = tensor(new Float32Array(24), { shape: [2, 4, 3] });
    const at = tensor(0, { dtype: "i32" });
    const rows = (shape: readonly number[], dtype: "f32" | "i32" = "f32") => tensor(new Array(sizeOf(shape)).fill(0), { shape, dtype });
    expect(() => updateRows(x, rows([2, 1, 4]), at)).toThrow(ShapeError);
    expect(() => updateRows(x, rows([1, 3]), at)).toThrow(ShapeError);
    expect(() => updateRows(x, rows([2, 1, 3], "i32"), at)).toThrow(DtypeError);
    expect(() => updateRows(x, rows([2, 1, 3]), tensor([0], { dtype: "i32" }))).toThrow(ShapeError);
  });
});

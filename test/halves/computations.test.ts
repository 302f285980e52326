import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  cast,
  concat,
  flip,
  gather,
  grad,
  less,
  matmul,
  pad,
  scatterAdd,
  slice,
  softmax,
  type Tensor,
  tensor,
  useBackend,
  where,
} from "../../src/index.js";
import { type Half, halfUnit, halves, toNearestHalf } from "../support/halves.js";
import { uniformSource } from "../support/samples.js";

const reference = createReferenceBackend();

/** Half a unit of the last place of 1. */
const roundoff: Readonly<Record<Half, number>> = { f16: 2 ** -11, bf16: 2 ** -8 };

const variants = [
  { name: "fused", create: () => createWasmBackend({ threads: 3, chunks: "finest", poison: true }) },
  { name: "by definition", create: () => createWasmBackend({ threads: 2, kernels: "definitions", poison: true }) },
] as const;

describe.each(variants)("halves on wasm, $name,", ({ name, create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  const numbers = (shape: readonly number[], seed: number, half: Half): Float32Array => {
    const uniform = uniformSource(seed);
    return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => toNearestHalf(Math.fround(4 * uniform() - 2), half));
  };

  /**
   * Computes on the same halves with wasm, stored in 16 bits, and with the reference in f64. The results may differ by half a unit
   * of the result's last place and by `error`, relative to the largest result: what is lost of f32. Where every primitive stores its
   * result, each of `between` roundings adds a unit roundoff.
   */
  async function agree(
    half: Half,
    shapes: readonly (readonly number[])[],
    f: (...operands: Tensor[]) => Tensor,
    { between = 0, error = 1e-6 } = {},
  ): Promise<void> {
    const run = async (on: Backend, dtype: Half | "f32"): Promise<{ dtype: string; data: ArrayLike<number> }> => {
      useBackend(on);
      const operands = shapes.map((shape, i) => tensor(numbers(shape, i + 1, half), { shape, dtype }));
      const result = f(...operands);
      return { dtype: result.dtype, data: await result.data() };
    };
    const exact = await run(reference, "f32");
    const found = await run(backend, half);
    expect(found.dtype).toBe(half);
    const size = Math.max(...Array.from(exact.data, Math.abs));
    expect(size).toBeGreaterThan(0);
    expect(found.data.length).toBe(exact.data.length);
    for (let i = 0; i < exact.data.length; i++) {
      const [x, y] = [found.data[i] as number, exact.data[i] as number];
      const earlier = name === "fused" ? 0 : between * roundoff[half] * Math.abs(y);
      const allowed = halfUnit(y, half) / 2 + earlier + error * size;
      if (!(Math.abs(x - y) <= allowed)) expect({ i, found: x, expected: y, allowed }).toBeUndefined();
    }
  }

  describe.each(halves)("%s,", (half) => {
    it("arithmetic and where", async () => {
      for (const shape of [[1], [7], [64], [13, 33]]) {
        await agree(half, [shape, shape], (a, b) => a.add(b));
        await agree(half, [shape, shape], (a, b) => a.mul(b));
        await agree(half, [shape, shape], (a, b) => a.div(b.abs().add(1)), { between: 1 });
        await agree(half, [shape, shape], (a, b) => where(less(a, b), a, b.neg()), { error: 0 });
      }
    });

    it("views that cut, fill, join and turn around", async () => {
      await agree(
        half,
        [[9, 37]],
        (a) =>
          pad(
            slice(a, [
              [1, 8],
              [3, 36],
            ]),
            [
              [2, 0],
              [5, 1],
            ],
          ),
        { error: 0 },
      );
      await agree(half, [[9, 37]], (a) => flip(a, [1]).transpose(), { error: 0 });
      await agree(
        half,
        [
          [9, 7],
          [9, 12],
        ],
        (a, b) => concat([a, flip(b, [0]), a], 1),
        { error: 0 },
      );
      await agree(
        half,
        [
          [9, 7],
          [9, 12],
        ],
        (a, b) => concat([a.neg(), b.mul(2)], 1),
        { error: 0 },
      );
    });

    it("reductions along either axis, of rows of odd and of large lengths", async () => {
      for (const shape of [
        [5, 7],
        [3, 4099],
        [130, 33],
      ]) {
        for (const axis of [0, 1]) {
          await agree(half, [shape], (a) => a.sum(axis), { error: 1e-5 });
          await agree(half, [shape], (a) => a.max(axis), { error: 0 });
          await agree(half, [shape], (a) => a.mul(a).mean(axis), { between: 3, error: 1e-5 });
        }
      }
    });

    it("products with either operand turned, of one row and of blocks that do not fit", async () => {
      for (const [m, n, k] of [
        [1, 64, 96],
        [1, 65, 130],
        [37, 29, 61],
        [64, 64, 64],
        [3, 257, 5],
      ] as const) {
        await agree(
          half,
          [
            [m, k],
            [k, n],
          ],
          (a, b) => matmul(a, b),
          { error: 1e-5 },
        );
        await agree(
          half,
          [
            [m, k],
            [n, k],
          ],
          (a, b) => matmul(a, b.transpose()),
          { error: 1e-5 },
        );
        await agree(
          half,
          [
            [k, m],
            [k, n],
          ],
          (a, b) => matmul(a.transpose(), b),
          { error: 1e-5 },
        );
      }
    });

    it("gather and scatterAdd, with bins that meet many rows", async () => {
      const index = (): Tensor => tensor(Int32Array.from({ length: 50 }, (_, i) => (7 * i) % 11));
      await agree(half, [[11, 19]], (a) => gather(a, index()), { error: 0 });
      await agree(half, [[50, 19]], (a) => scatterAdd(a, index(), 12));
    });

    it("softmax", async () => {
      for (const shape of [
        [3, 5],
        [4, 1024],
        [65, 33],
      ])
        await agree(half, [shape], (a) => softmax(a), { between: 12 });
    });

    it("the gradient of f32 weights through a computation in halves is f32 and near that of f32", async () => {
      const weights = numbers([12, 20], 9, "bf16");
      const loss =
        (dtype: Half | "f32") =>
        (w: Tensor): Tensor => {
          const narrow = cast(w, dtype);
          return cast(matmul(narrow, narrow.transpose()).mul(0.1).tanh(), "f32").square().mean();
        };
      useBackend(reference);
      const expected = await grad(loss("f32"))(tensor(weights, { shape: [12, 20] })).data();
      useBackend(backend);
      const gradient = grad(loss(half))(tensor(weights, { shape: [12, 20] }));
      expect(gradient.dtype).toBe("f32");
      const found = await gradient.data();
      const size = Math.hypot(...expected);
      expect(size).toBeGreaterThan(0);
      expect(Math.hypot(...found.map((value, i) => value - (expected[i] as number))) / size).toBeLessThan(half === "f16" ? 3e-3 : 2e-2);
    });
  });
});

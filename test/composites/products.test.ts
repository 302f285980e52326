import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  dot,
  einsum,
  inner,
  kron,
  matmul,
  OptionError,
  outer,
  ShapeError,
  type Tensor,
  tensor,
  tensordot,
  useBackend,
  vdot,
  withBackend,
  zeros,
} from "../../src/index.js";
import { type CompositeCase, element, mixed, on, type Plain, tabulate, testComposites } from "../support/composite-cases.js";

const sum = (n: number, f: (k: number) => number): number => Array.from({ length: n }, (_, k) => f(k)).reduce((a, b) => a + b, 0);

/** NumPy's matmul, one element after another: leading axes broadcast, a vector is a row on the left and a column on the right. */
function multiplied(a: Plain, b: Plain): Plain {
  const x = a.shape.length === 1 ? { ...a, shape: [1, ...a.shape] } : a;
  const y = b.shape.length === 1 ? { ...b, shape: [...b.shape, 1] } : b;
  const [ofX, ofY] = [x.shape.slice(0, -2), y.shape.slice(0, -2)];
  const rank = Math.max(ofX.length, ofY.length);
  const fill = (shape: readonly number[]): number[] => [...Array(rank - shape.length).fill(1), ...shape];
  const batch = fill(ofX).map((n, i) => (n === 1 ? (fill(ofY)[i] as number) : n));
  const at = (plain: Plain, own: readonly number[], place: readonly number[], ...rest: number[]): number =>
    element(plain, ...own.map((n, i) => (n === 1 ? 0 : (place[i + rank - own.length] as number))), ...rest);
  const [m, k, n] = [x.shape.at(-2), x.shape.at(-1), y.shape.at(-1)] as [number, number, number];
  const product = tabulate([...batch, m, n], (...place) => {
    const [i, j] = place.slice(-2) as [number, number];
    return sum(k, (l) => at(x, ofX, place, i, l) * at(y, ofY, place, l, j));
  });
  const shape = [...batch, ...(a.shape.length === 1 ? [] : [m]), ...(b.shape.length === 1 ? [] : [n])];
  return { shape, data: product.data };
}

const matrices = (a: readonly number[], b: readonly number[], smooth = false): CompositeCase => {
  const [x, y] = [mixed(a), mixed(b, 2)];
  return on((s: Tensor, t: Tensor) => matmul(s, t), [x, y], multiplied(x, y), smooth);
};

const [ab, ba] = [mixed([2, 3]), mixed([3, 4], 2)];
const cube = mixed([2, 3, 2], 3);
const [u, v] = [mixed([3]), mixed([3], 2)];
const at = element;

testComposites(
  "products",
  {
    "matmul of any ranks": [
      // Every pair of ranks up to 4, with and without extents of 1 to repeat.
      ...[[3], [2, 3], [2, 2, 3], [1, 2, 3], [2, 1, 2, 3]].flatMap((a) =>
        [[3], [3, 2], [2, 3, 2], [1, 3, 2], [2, 2, 3, 2]].map((b, i) => matrices(a, b, i === 2)),
      ),
      matrices([1, 1, 2, 3], [2, 3, 3, 1]),
      matrices([2, 0], [0, 3]),
      matrices([0, 2, 3], [3, 2]),
      matrices([2, 3], [0, 3, 2]),
      matrices([0], [0]),
      matrices([1], [1, 1]),
    ],
    outer: [
      on(
        outer,
        [u, v],
        tabulate([3, 3], (i, j) => at(u, i) * at(v, j)),
      ),
      on(
        outer,
        [ab, v],
        tabulate([6, 3], (i, j) => (ab.data[i] as number) * at(v, j)),
      ),
    ],
    inner: [
      on(inner, [u, v], { shape: [], data: [sum(3, (k) => at(u, k) * at(v, k))] }),
      on(
        inner,
        [ab, mixed([4, 3], 2)],
        tabulate([2, 4], (i, j) => sum(3, (k) => at(ab, i, k) * at(mixed([4, 3], 2), j, k))),
      ),
      on(inner, [mixed([]), v], { shape: [3], data: v.data.map((x) => x * (mixed([]).data[0] as number)) }),
    ],
    dot: [
      on(dot, [u, v], { shape: [], data: [sum(3, (k) => at(u, k) * at(v, k))] }),
      on(
        dot,
        [ab, ba],
        tabulate([2, 4], (i, j) => sum(3, (k) => at(ab, i, k) * at(ba, k, j))),
      ),
      on(
        dot,
        [ab, cube],
        tabulate([2, 2, 2], (i, p, j) => sum(3, (k) => at(ab, i, k) * at(cube, p, k, j))),
      ),
      on(
        dot,
        [cube, mixed([2])],
        tabulate([2, 3], (i, j) => sum(2, (k) => at(cube, i, j, k) * at(mixed([2]), k))),
      ),
      on(dot, [ab, mixed([])], { shape: [2, 3], data: ab.data.map((x) => x * (mixed([]).data[0] as number)) }),
    ],
    vdot: [
      on(vdot, [ab, { ...mixed([3, 2], 2) }], {
        shape: [],
        data: [sum(6, (k) => (ab.data[k] as number) * (mixed([3, 2], 2).data[k] as number))],
      }),
    ],
    tensordot: [
      on(
        (a: Tensor, b: Tensor) => tensordot(a, b, 1),
        [ab, ba],
        tabulate([2, 4], (i, j) => sum(3, (k) => at(ab, i, k) * at(ba, k, j))),
      ),
      on(
        (a: Tensor, b: Tensor) => tensordot(a, b),
        [cube, mixed([3, 2, 2], 4)],
        tabulate([2, 2], (i, j) =>
          sum(6, (k) => at(cube, i, Math.floor(k / 2), k % 2) * at(mixed([3, 2, 2], 4), Math.floor(k / 2), k % 2, j)),
        ),
      ),
      on(
        (a: Tensor, b: Tensor) =>
          tensordot(a, b, [
            [1, -3],
            [0, 2],
          ]),
        [cube, mixed([3, 1, 2], 4)],
        tabulate([2, 1], (i, j) =>
          sum(6, (k) => at(cube, k % 2, Math.floor(k / 2), i) * at(mixed([3, 1, 2], 4), Math.floor(k / 2), j, k % 2)),
        ),
      ),
      on(
        (a: Tensor, b: Tensor) => tensordot(a, b, 0),
        [u, ab],
        tabulate([3, 2, 3], (i, j, k) => at(u, i) * at(ab, j, k)),
      ),
      on(
        (a: Tensor, b: Tensor) => tensordot(a, b, [0, 1]),
        [u, ab],
        tabulate([2], (i) => sum(3, (k) => at(u, k) * at(ab, i, k))),
      ),
    ],
    kron: [
      on(
        kron,
        [ab, mixed([2, 2], 2)],
        tabulate([4, 6], (i, j) => at(ab, Math.floor(i / 2), Math.floor(j / 2)) * at(mixed([2, 2], 2), i % 2, j % 2)),
      ),
      on(
        kron,
        [u, mixed([2, 2], 2)],
        tabulate([2, 6], (i, j) => at(u, Math.floor(j / 2)) * at(mixed([2, 2], 2), i, j % 2)),
      ),
      on(kron, [mixed([]), v], { shape: [3], data: v.data.map((x) => x * (mixed([]).data[0] as number)) }),
    ],
  },
  { thin: true, linear: true },
);

describe("Einstein sums", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });
  const [a, b] = [zeros([2, 3]), zeros([3, 4])];

  it("of integers are integers, of bools counts", async () => {
    const x = tensor(
      [
        [2 ** 24, 1],
        [1, 1],
      ],
      { dtype: "i32" },
    );
    const product = einsum("ij,jk->ik", x, x);
    expect(product.dtype).toBe("i32");
    expect(await einsum("ij,j->i", x, tensor([1, 1], { dtype: "i32" })).array()).toEqual([2 ** 24 + 1, 2]);
    expect(await einsum("i,i", tensor([true, true, false]), tensor([true, true, true])).item()).toBe(2);
    expect(einsum("ij,jk", a.cast("f16"), b).dtype).toBe("f32");
  });

  it("of halves are halves, whose products need not fit one", async () => {
    const backend = await createWasmBackend({ threads: 1 });
    await withBackend(backend, async () => {
      const sum = einsum("i,i", tensor([300, 300], { dtype: "f16" }), tensor([300, -299], { dtype: "f16" }));
      expect([sum.dtype, await sum.item()]).toEqual(["f16", 300]);
    });
    await backend.close();
  });

  it("multiply that pair first which takes the fewest products", () => {
    const [p, q, r] = [zeros([2, 900]), zeros([900, 800]), zeros([800, 3])];
    const sizes = (t: Tensor): number[] => {
      const { source } = t;
      return source.kind === "operation" ? [t.size, ...source.inputs.flatMap(sizes)] : [t.size];
    };
    // (p·q)·r has 2 × 800 numbers between, p·(q·r) would have 900 × 3.
    expect(sizes(einsum("ij,jk,kl->il", p, q, r))).toContain(1600);
    expect(sizes(einsum("kl,jk,ij->il", r, q, p))).not.toContain(2700);
  });

  it.each([
    ["an axis on the right alone", "ij->ik", [a]],
    ["two arrows", "i->j->k", [a]],
    ["too few operands", "ij,jk->ik", [a]],
    ["too many operands", "ij->ij", [a, b]],
    ["too few letters", "i->i", [a]],
    ["too many letters", "ijk->i", [a]],
    ["extents that differ", "ij,jk->ik", [a, a]],
    ["a diagonal of extents that differ", "ii->i", [a]],
    ["an axis twice on the right", "ij->ii", [a]],
    ["two ellipses", "...i...->i", [a]],
    ["two dots", "..ij->ij", [a]],
    ["digits", "i1->i", [a]],
    ["an ellipsis that is left out on the right", "i...->i", [a]],
    ["ellipses that do not broadcast", "...i,...i->...", [zeros([2, 3]), zeros([3, 3])]],
  ] as const)("refuse %s", (_, equation, operands) => expect(() => einsum(equation, ...operands)).toThrow(ShapeError));

  it.each([
    ["tensordot over axes that do not pair", ShapeError, () => tensordot(a, b, [[0], [0, 1]])],
    ["tensordot over extents that differ", ShapeError, () => tensordot(a, b, [0, 0])],
    [
      "tensordot over an axis twice",
      ShapeError,
      () =>
        tensordot(a, a, [
          [1, -1],
          [1, 1],
        ]),
    ],
    ["tensordot over more axes than there are", ShapeError, () => tensordot(a, b, 3)],
    ["tensordot over half an axis", OptionError, () => tensordot(a, b, 0.5)],
    ["inner products of extents that differ", ShapeError, () => inner(a, b)],
    ["products that do not chain", ShapeError, () => dot(a, a)],
    ["vectors of different sizes", ShapeError, () => vdot(a, b)],
    ["matrices that do not chain", ShapeError, () => matmul(a, a)],
    ["batches that do not broadcast", ShapeError, () => matmul(zeros([2, 2, 3]), zeros([3, 3, 2]))],
  ] as const)("refuse %s", (_, error, call) => expect(call).toThrow(error));
});

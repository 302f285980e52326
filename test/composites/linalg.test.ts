import fc from "fast-check";
import { eigs, inv, lusolve, det as mathDet } from "mathjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  type Backend,
  checkGrads,
  compile,
  eye,
  grad,
  linalg,
  matmul,
  OptionError,
  ShapeError,
  type Tensor,
  tensor,
  tril,
  triu,
  useBackend,
  vmap,
  where,
} from "../../src/index.js";
import { backends } from "../support/backends.js";
import { floats, numbersOf } from "../support/floats.js";

const reference = createReferenceBackend();
beforeAll(() => {
  useBackend(reference);
});

const T = (a: Tensor): Tensor => a.transpose();
const one = (n: number): Tensor => eye(n, { dtype: "f64" });
const largest = async (t: Tensor): Promise<number> => (await numbersOf(t.abs())).reduce((a, b) => Math.max(a, b), 0);
/** The largest difference of two tensors of one shape. */
const apart = (a: Tensor, b: Tensor): Promise<number> => {
  expect(a.shape).toEqual(b.shape);
  return largest(a.sub(b));
};
/** Symmetric with eigenvalues of at least ½. */
const definite = (a: Tensor): Tensor => matmul(a, T(a)).add(one(a.shape.at(-1) as number).mul(0.5));
const symmetric = (a: Tensor): Tensor => a.add(T(a));
/** Far from singular. */
const regular = (a: Tensor): Tensor => a.add(one(a.shape.at(-1) as number).mul(3));
const rows = async (t: Tensor): Promise<number[][]> => (await t.array()) as number[][];

const sizes = fc.integer({ min: 1, max: 5 });
const seeds = fc.nat(1000);
/** Matrices with scattered, equal or vanishing singular values: products of a matrix, few values and another matrix. */
const spectra = fc.constantFrom("scattered", "equal", "deficient", "zero");
type Spectrum = typeof spectra extends fc.Arbitrary<infer S> ? S : never;
function ofSpectrum(m: number, n: number, seed: number, spectrum: Spectrum): Tensor {
  if (spectrum === "scattered") return floats([m, n], { seed });
  if (spectrum === "zero") return floats([m, n], { seed }).mul(0);
  const k = Math.min(m, n);
  const [left] = linalg.qr(floats([m, k], { seed }));
  const [right] = linalg.qr(floats([n, k], { seed: seed + 1 }));
  const values = Float64Array.from({ length: k }, (_, i) => (spectrum === "equal" ? 1 + (i % 2) : i % 3 === 0 ? 1 + i : 0));
  return matmul(left.mul(tensor(values)), T(right));
}

describe("laws of factors, in double precision", () => {
  const check = (property: fc.IAsyncProperty<unknown>, seed: number): Promise<void> => fc.assert(property, { seed, numRuns: 10 });

  it("cholesky: L is lower with a positive diagonal and L·Lᵀ = a", async () => {
    const holds = fc.asyncProperty(sizes, seeds, async (n, seed) => {
      const a = definite(floats([n, n], { seed }));
      const l = linalg.cholesky(a);
      expect(await apart(matmul(l, T(l)), a)).toBeLessThan(1e-13 * n);
      expect(await apart(l, tril(l))).toBe(0);
      for (let i = 0; i < n; i++) expect((await rows(l))[i]?.[i]).toBeGreaterThan(0);
    });
    await check(holds, 1);
  });

  it("triangularSolve: op(a)·x = b, whatever a holds outside of its triangle", async () => {
    const options = fc.record({ lower: fc.boolean(), transpose: fc.boolean(), unitDiagonal: fc.boolean() });
    const holds = fc.asyncProperty(sizes, fc.nat(3), seeds, options, async (n, k, seed, given) => {
      const { lower, transpose, unitDiagonal } = given;
      const full = regular(floats([n, n], { seed, low: -0.5, high: 0.5 }));
      const kept = lower ? tril(full, unitDiagonal ? -1 : 0) : triu(full, unitDiagonal ? 1 : 0);
      const meant = unitDiagonal ? kept.add(one(n)) : kept;
      const outside = lower ? triu(full.mul(0).add(1), 1) : tril(full.mul(0).add(1), -1);
      const a = where(outside.equal(1), Number.NaN, full);
      const b = floats([n, k], { seed: seed + 1 });
      const x = linalg.triangularSolve(a, b, given);
      expect(await apart(matmul(transpose ? T(meant) : meant, x), b)).toBeLessThan(1e-12);
    });
    await check(holds, 2);
  });

  it("solve, inverse, det and slogdet give what mathjs gives", async () => {
    const holds = fc.asyncProperty(fc.integer({ min: 1, max: 5 }), seeds, async (n, seed) => {
      const a = floats([n, n], { seed });
      const b = floats([n], { seed: seed + 1 });
      const numbers = await rows(a);
      const expected = mathDet(numbers);
      fc.pre(Math.abs(expected) > 1e-3);
      const solution = lusolve(numbers, await numbersOf(b)) as number[][];
      expect(await apart(linalg.solve(a, b), tensor(Float64Array.from(solution.flat())))).toBeLessThan(1e-9);
      expect(await apart(linalg.inverse(a), tensor(inv(numbers), { dtype: "f64" }))).toBeLessThan(1e-9);
      expect(await linalg.det(a).item()).toBeCloseTo(expected, 12);
      const [sign, log] = linalg.slogdet(a);
      expect(await sign.item()).toBe(Math.sign(expected));
      expect(await log.item()).toBeCloseTo(Math.log(Math.abs(expected)), 10);
    });
    await check(holds, 3);
  });

  it("qr: q has orthonormal columns, r is upper with no negative diagonal, and q·r = a, of any rank", async () => {
    const holds = fc.asyncProperty(sizes, sizes, seeds, spectra, async (m, n, seed, spectrum) => {
      const a = spectrum === "scattered" || spectrum === "zero" ? ofSpectrum(m, n, seed, spectrum) : floats([m, 1], { seed }).mul(floats([1, n], { seed })); // biome-ignore format: one line
      const [q, r] = linalg.qr(a);
      const k = Math.min(m, n);
      expect([q.shape, r.shape]).toEqual([
        [m, k],
        [k, n],
      ]);
      expect(await apart(matmul(q, r), a)).toBeLessThan(1e-14 * (m + n));
      expect(await apart(matmul(T(q), q), one(k))).toBeLessThan(1e-14 * m);
      expect(await apart(r, triu(r))).toBe(0);
      const found = await rows(r);
      for (let i = 0; i < k; i++) expect(found[i]?.[i]).toBeGreaterThanOrEqual(0);
    });
    await check(holds, 4);
  });

  it("eigh: values ascend as those of mathjs, vectors are orthogonal, and V·Λ·Vᵀ = a, also where values are equal", async () => {
    const holds = fc.asyncProperty(sizes, seeds, spectra, async (n, seed, spectrum) => {
      const a = symmetric(ofSpectrum(n, n, seed, spectrum === "scattered" ? spectrum : "zero")).add(
        spectrum === "equal" || spectrum === "deficient" ? matmul(...gram(ofSpectrum(n, n, seed, spectrum))) : 0,
      );
      const [values, vectors] = linalg.eigh(a);
      expect(await apart(matmul(vectors.mul(values), T(vectors)), a)).toBeLessThan(4e-14 * n);
      expect(await apart(matmul(T(vectors), vectors), one(n))).toBeLessThan(1e-14 * n);
      const found = await numbersOf(values);
      const expected = spectrum === "zero" ? found.map(() => 0) : [...(eigs(await rows(a), { eigenvectors: false }).values as number[])];
      for (const [i, value] of expected.sort((x, y) => x - y).entries()) expect(found[i]).toBeCloseTo(value, 6);
      const columns = await rows(T(vectors));
      for (const column of columns) {
        expect(Math.max(...column)).toBeGreaterThanOrEqual(-Math.min(...column));
      }
    });
    await check(holds, 5);
  });

  it("svd: values descend from no negative ones, both factors are orthonormal, and u·diag(s)·vt = a, of any rank", async () => {
    const holds = fc.asyncProperty(sizes, sizes, seeds, spectra, async (m, n, seed, spectrum) => {
      const a = ofSpectrum(m, n, seed, spectrum);
      const k = Math.min(m, n);
      const [u, s, vt] = linalg.svd(a);
      expect([u.shape, s.shape, vt.shape]).toEqual([[m, k], [k], [k, n]]);
      expect(await apart(matmul(u.mul(s), vt), a)).toBeLessThan(4e-14 * (m + n));
      expect(await apart(matmul(T(u), u), one(k))).toBeLessThan(1e-14 * (m + n));
      expect(await apart(matmul(vt, T(vt)), one(k))).toBeLessThan(1e-14 * (m + n));
      const found = await numbersOf(s);
      expect(found).toEqual([...found].sort((x, y) => y - x));
      expect(found.at(-1)).toBeGreaterThanOrEqual(0);
      // The sum of squares is that of the elements.
      expect(await s.square().sum().item()).toBeCloseTo(await a.square().sum().item(), 10);
    });
    await check(holds, 6);
  });
});

const gram = (a: Tensor): [Tensor, Tensor] => [a, T(a)];

describe("derivatives", () => {
  const a = floats([2, 3, 3], { seed: 11 });
  const b = floats([3, 2], { seed: 12 });
  const twice = { order: 2, places: 2 };

  it("of cholesky", () => checkGrads((x: Tensor) => linalg.cholesky(definite(x)), [a], twice));
  it.each([{}, { lower: false }, { transpose: true, unitDiagonal: true }])("of triangularSolve %j", (options) =>
    checkGrads((x: Tensor, y: Tensor) => linalg.triangularSolve(regular(x), y, options), [a, b], twice),
  );
  it("of solve, whose leading axes broadcast", () => checkGrads((x: Tensor, y: Tensor) => linalg.solve(regular(x), y), [a, b], twice));
  it("of inverse", () => checkGrads((x: Tensor) => linalg.inverse(regular(x)), [a], twice));
  it("of det", () => checkGrads((x: Tensor) => linalg.det(x), [a], twice));
  it("of slogdet", () => checkGrads((x: Tensor) => linalg.slogdet(x), [a], twice));
  it("of qr of tall matrices", () => checkGrads((x: Tensor) => linalg.qr(x), [floats([4, 2], { seed: 13 })], twice));
  it("of qr of wide matrices", () => checkGrads((x: Tensor) => linalg.qr(x), [floats([2, 4], { seed: 14 })], twice));
  it("of eigh", () => checkGrads((x: Tensor) => linalg.eigh(x), [floats([3, 3], { seed: 15 })], twice));
  it("of svd of tall matrices", () => checkGrads((x: Tensor) => linalg.svd(x), [floats([4, 2], { seed: 16 })], twice));
  it("of svd of wide matrices", () => checkGrads((x: Tensor) => linalg.svd(x), [floats([2, 3], { seed: 17 })], twice));

  it("of det are cofactors where the matrix is singular", async () => {
    for (const singular of [
      [
        [1, 2, 3],
        [2, 4, 6],
        [1, 0, 1],
      ],
      [
        [0, 1, 2],
        [0, 3, 1],
        [0, 2, 2],
      ],
      [
        [0, 0, 0],
        [1, 2, 3],
        [4, 5, 7],
      ],
    ]) {
      // biome-ignore format: one row a line
      await checkGrads((x: Tensor) => linalg.det(x), [tensor(singular, { dtype: "f64" })], { order: 2, places: 4 });
    }
    // Of rank 1 there are no cofactors.
    expect(await largest(grad((x: Tensor) => linalg.det(x))(tensor([[1, 1, 1], [1, 1, 1], [1, 1, 1]], { dtype: "f64" })))).toBe(0); // biome-ignore format: one line
  });

  it("of values, and of vectors where their choice does not matter, are right where values are equal", async () => {
    const x = matmul(...gram(ofSpectrum(4, 4, 3, "equal")));
    // Σ λ² and Σ s² are Σ x².
    expect(await apart(grad((y: Tensor) => linalg.eigh(y)[0].square().sum())(x), x.mul(2))).toBeLessThan(1e-12);
    expect(await apart(grad((y: Tensor) => linalg.svd(y)[1].square().sum())(x), x.mul(2))).toBeLessThan(1e-12);
    // The projection to the vectors of the larger value, which is double.
    const projection = (vectors: Tensor): Tensor => matmul(vectors, T(vectors));
    const upper = (y: Tensor): Tensor => projection(linalg.eigh(y)[1].slice([null, [2, 4]]));
    await checkGrads((y: Tensor) => upper(y), [x], { absolute: 1e-5, modes: ["reverse"], places: 4 });
    await checkGrads((y: Tensor) => projection(linalg.svd(y)[0].slice([null, [0, 2]])), [x], {
      absolute: 1e-5,
      modes: ["reverse"],
      places: 4,
    });
    expect(await largest(grad((y: Tensor) => linalg.svd(y)[1].sum())(x.mul(0)))).toBeLessThan(2);
  });
});

describe("edges", () => {
  it("stacks of none, and matrices of no rows or one", async () => {
    for (const shape of [
      [0, 0],
      [3, 0, 0],
      [0, 2, 2],
      [1, 1],
    ]) {
      // biome-ignore format: one line
      const a = floats(shape, { low: 0.5, high: 1 });
      const batch = shape.slice(0, -2);
      const n = shape.at(-1) as number;
      const spd = n === 2 ? definite(a) : a;
      const first = async (t: Tensor): Promise<number> => (await numbersOf(t))[0] as number;
      expect(linalg.cholesky(spd).shape).toEqual(shape);
      expect(linalg.inverse(a).shape).toEqual(shape);
      expect(linalg.solve(a, a).shape).toEqual(shape);
      expect(linalg.triangularSolve(a, a).shape).toEqual(shape);
      expect(linalg.det(a).shape).toEqual(batch);
      expect(linalg.slogdet(a).map((t) => t.shape)).toEqual([batch, batch]);
      expect(linalg.qr(a).map((t) => t.shape)).toEqual([shape, shape]);
      expect(linalg.eigh(a).map((t) => t.shape)).toEqual([[...batch, n], shape]);
      expect(linalg.svd(a).map((t) => t.shape)).toEqual([shape, [...batch, n], shape]);
      const everything = [linalg.cholesky(spd), linalg.inverse(a), ...linalg.qr(a), ...linalg.eigh(a), ...linalg.svd(a)];
      for (const t of everything) expect((await numbersOf(t)).every(Number.isFinite)).toBe(true);
      if (n === 1) expect(await linalg.det(a).item()).toBe(await first(a));
    }
    expect(await linalg.det(floats([0, 0])).item()).toBe(1);
    expect(linalg.qr(floats([3, 0])).map((t) => t.shape)).toEqual([[3, 0], [0, 0]]); // biome-ignore format: one line
    expect(linalg.svd(floats([0, 3])).map((t) => t.shape)).toEqual([[0, 0], [0], [0, 3]]);
    expect(linalg.solve(regular(floats([2, 2])), floats([2, 0])).shape).toEqual([2, 0]);
  });

  it("matrices without what is asked for give NaN, infinities or 0, as is said", async () => {
    const indefinite = tensor([[1, 2], [2, 1]]); // biome-ignore format: one line
    const both = tensor([[[1, 2], [2, 1]], [[4, 0], [0, 9]]]); // biome-ignore format: one line
    expect(await numbersOf(linalg.cholesky(both))).toEqual([Number.NaN, Number.NaN, Number.NaN, Number.NaN, 2, 0, 0, 3]);
    expect((await numbersOf(linalg.cholesky(indefinite.mul(0)))).every(Number.isNaN)).toBe(true);
    const singular = tensor([[1, 2], [2, 4]]); // biome-ignore format: one line
    expect((await numbersOf(linalg.inverse(singular))).some(Number.isFinite)).toBe(false);
    expect(await linalg.det(singular).item()).toBe(0);
    expect(await Promise.all(linalg.slogdet(singular).map((t) => t.item()))).toEqual([0, Number.NEGATIVE_INFINITY]);
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const broken = tensor([[1, 2], [wrong, 4]]); // biome-ignore format: one line
      for (const t of [...linalg.eigh(broken), ...linalg.svd(broken), linalg.cholesky(broken)]) {
        expect((await numbersOf(t)).every(Number.isNaN)).toBe(true);
      }
    }
  });

  it("sizes of elements near the ends of f32 do not overflow", async () => {
    const a = floats([3, 3], { seed: 21, dtype: "f32" });
    for (const scale of [1e30, 1e-30]) {
      const scaled = a.mul(scale);
      const [q, r] = linalg.qr(scaled);
      const [u, s, vt] = linalg.svd(scaled);
      const [values, vectors] = linalg.eigh(symmetric(scaled));
      expect(await apart(matmul(q, r.div(scale)), a)).toBeLessThan(1e-6);
      expect(await apart(matmul(u.mul(s.div(scale)), vt), a)).toBeLessThan(1e-6);
      expect(await apart(matmul(vectors.mul(values.div(scale)), T(vectors)), symmetric(a))).toBeLessThan(2e-6);
    }
  });

  it("integers and halves are computed in f32, and halves come back as halves", async () => {
    const whole = tensor([[2, 1], [1, 3]], { dtype: "i32" }); // biome-ignore format: one line
    expect(linalg.cholesky(whole).dtype).toBe("f32");
    expect(await linalg.det(whole).item()).toBeCloseTo(5, 6);
    const half = whole.cast("f16");
    expect(linalg.solve(half, half).dtype).toBe("f16");
    expect(linalg.eigh(half).map((t) => t.dtype)).toEqual(["f16", "f16"]);
    expect(linalg.svd(whole.cast("f64")).map((t) => t.dtype)).toEqual(["f64", "f64", "f64"]);
  });

  it("what is no matrix is refused with a typed error that names the function", () => {
    const vector = tensor([1, 2]);
    const wide = tensor([[1, 2, 3], [4, 5, 6]]); // biome-ignore format: one line
    for (const [name, f] of Object.entries(linalg)) {
      expect(() => (f as (...args: Tensor[]) => unknown)(vector, vector), name).toThrow(ShapeError);
      expect(() => (f as (...args: Tensor[]) => unknown)(vector, vector), name).toThrow(`linalg.${name}`);
    }
    for (const name of ["cholesky", "det", "slogdet", "inverse", "eigh"] as const) expect(() => linalg[name](wide)).toThrow(ShapeError);
    for (const name of ["solve", "triangularSolve"] as const) {
      expect(() => linalg[name](wide, vector)).toThrow(ShapeError);
      expect(() => linalg[name](one(3), vector)).toThrow(ShapeError);
      expect(() => linalg[name](floats([2, 2, 2]), floats([3, 2, 2]))).toThrow(ShapeError);
    }
    expect(() => linalg.triangularSolve(one(2), one(2), { upper: true } as never)).toThrow(OptionError);
  });
});

describe("large matrices on wasm", () => {
  let wasm: Backend;
  beforeAll(async () => {
    wasm = await createWasmBackend({ threads: 1 });
    useBackend(wasm);
  });
  afterAll(async () => {
    useBackend(reference);
    await wasm.close();
  });

  it("have factors to the accuracy that is said, with values that are scattered, equal or of all sizes", async () => {
    const n = 50;
    const u = 2 ** -24;
    const identity = eye(n);
    const random = (seed: number): Tensor => floats([n, n], { seed, dtype: "f32" });
    const [[left], [right]] = [linalg.qr(random(1)), linalg.qr(random(2))];
    const spectrum = (value: (i: number) => number): Tensor => tensor(Float32Array.from({ length: n }, (_, i) => value(i)));
    const spectra = [spectrum((i) => (i % 3) - 1), spectrum((i) => 10 ** (-i / 6)), spectrum((i) => i / n - 0.3)];
    for (const values of spectra) {
      const a = symmetric(matmul(left.mul(values), T(left))).mul(0.5);
      const [found, vectors] = linalg.eigh(a);
      expect(await apart(matmul(T(vectors), vectors), identity)).toBeLessThan(4 * Math.sqrt(n) * u);
      expect(await apart(matmul(a, vectors), vectors.mul(found))).toBeLessThan(4 * Math.sqrt(n) * u);
      const general = matmul(left.mul(values), T(right));
      const [us, s, vt] = linalg.svd(general);
      expect(await apart(matmul(T(us), us), identity)).toBeLessThan(4 * Math.sqrt(n) * u);
      expect(await apart(matmul(vt, T(vt)), identity)).toBeLessThan(4 * Math.sqrt(n) * u);
      expect(await apart(matmul(us.mul(s), vt), general)).toBeLessThan(4 * Math.sqrt(n) * u);
      const sizes = (await numbersOf(values.abs())).sort((x, y) => y - x);
      expect(await apart(s, tensor(Float32Array.from(sizes)))).toBeLessThan(4 * Math.sqrt(n) * u);
    }
    const spd = matmul(random(3), T(random(3))).add(identity);
    const b = random(4);
    expect(await apart(matmul(linalg.cholesky(spd), T(linalg.cholesky(spd))), spd)).toBeLessThan(n * u * (await largest(spd)));
    expect(await apart(matmul(random(3), linalg.solve(random(3), b)), b)).toBeLessThan(2e-3);
  });
});

/** Everything at once, of a stack [2, 5, 5] and right-hand sides, with derivatives: numbers that do not depend on the choice of vectors but for signs. */
function everything(a: Tensor, b: Tensor): Tensor[] {
  const spd = matmul(a, T(a)).add(eye(5));
  const values = linalg.eigh(spd);
  const factors = linalg.svd(a);
  const sum = (x: Tensor): Tensor => {
    const products = matmul(x, T(x)).add(eye(5));
    const l = linalg.cholesky(products);
    return linalg.solve(products, b).sum().add(l.sum()).add(linalg.slogdet(products)[1].sum()).add(linalg.qr(x)[0].sum());
  };
  const spectral = (x: Tensor): Tensor => linalg.svd(x)[1].sqrt().sum().add(linalg.eigh(matmul(x, T(x)))[0].square().sum()); // biome-ignore format: one line
  return [
    linalg.cholesky(spd),
    linalg.triangularSolve(a.add(eye(5).mul(3)), b, { lower: false }),
    linalg.solve(spd, b),
    linalg.inverse(spd),
    linalg.det(a),
    ...linalg.slogdet(a),
    ...linalg.qr(a),
    ...values,
    ...factors,
    grad(sum)(a),
    grad(spectral)(a),
  ];
}

/** One of each kind of loop. */
function some(a: Tensor, b: Tensor): Tensor[] {
  const spd = matmul(a, T(a)).add(eye(5));
  return [linalg.solve(spd, b), ...linalg.eigh(spd), grad((x: Tensor) => linalg.cholesky(x).sum())(spd)];
}

const ofDevices = backends().filter(({ name }) => !name.startsWith("reference"));
describe.each(ofDevices)("linalg on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => {
    useBackend(reference);
    await backend.close();
  });

  it("gives what the reference gives, compiled and for each example of a vmap", { timeout: 120_000 }, async () => {
    const a = floats([2, 5, 5], { seed: 31 });
    const b = floats([5, 2], { seed: 32 });
    useBackend(reference);
    const webgpu = backend.info.name === "webgpu";
    // Programs of many kernels take seconds to compile there.
    const all = webgpu ? some : everything;
    const expected = await Promise.all(all(a, b).map(numbersOf));
    useBackend(backend);
    const [x, y] = [a, b].map((t) => t.cast("f32")) as [Tensor, Tensor];
    const host = async (t: Tensor): Promise<Tensor> => tensor(await t.data() as Float32Array, { shape: t.shape }); // biome-ignore format: one line
    useBackend(reference);
    const [hostX, hostY] = [await host(x), await host(y)];
    useBackend(backend);
    const indefinite = tensor([[1, 2], [2, 1]]); // biome-ignore format: one line
    expect((await numbersOf(linalg.cholesky(indefinite))).every(Number.isNaN)).toBe(true);
    const runs = [compile(all), ...(webgpu ? [] : [compile(vmap(all, { inAxes: [0, null] }))])];
    for (const run of runs) {
      const found = await Promise.all(run(hostX, hostY).map(numbersOf));
      expected.forEach((values, i) => {
        const scale = Math.max(1, ...values.map(Math.abs));
        values.forEach((value, j) => {
          expect(Math.abs((found[i]?.[j] as number) - value) / scale, `result ${i} at ${j}`).toBeLessThan(3e-4);
        });
      });
    }
  });
});

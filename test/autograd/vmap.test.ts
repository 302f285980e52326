import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { apply } from "../../src/autograd/tensor.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  attention,
  bernoulli,
  checkpoint,
  compile,
  grad,
  hessian,
  hvp,
  jacobian,
  jvp,
  key,
  matmul,
  OptionError,
  randn,
  ShapeError,
  scan,
  softmax,
  split,
  stack,
  type Tensor,
  tensor,
  useBackend,
  vjp,
  vmap,
} from "../../src/index.js";
import { type PrimitiveName, type PrimitiveParams, primitives } from "../../src/ir/primitives.js";
import { functionRecipes } from "../support/arbitraries.js";
import { floats, numbersOf, weighted } from "../support/floats.js";
import type { HostTensor } from "../support/graphs.js";
import { law } from "../support/law.js";
import { randomFunction } from "../support/random-functions.js";
import { loopRecipes, scanned } from "../support/random-loops.js";
import { regionCases } from "../support/region-cases.js";
import { fill, samples } from "../support/samples.js";
import { lawF64 } from "../support/tolerances.js";

beforeAll(() => {
  useBackend(createReferenceBackend());
});

const examples = 3;

/** One example of each tensor that has some. */
const at = (x: Tensor, b: number): Tensor => x.slice([[b, b + 1]]).reshape(x.shape.slice(1));

async function expectSame(found: Tensor, expected: Tensor, relative = lawF64): Promise<void> {
  expect(found.shape).toEqual(expected.shape);
  expect(found.dtype).toBe(expected.dtype);
  const [a, b] = [await numbersOf(found), await numbersOf(expected)];
  const scale = Math.max(1, ...b.filter(Number.isFinite).map(Math.abs));
  for (const [i, value] of b.entries()) {
    if (Object.is(a[i], value) || a[i] === value) continue;
    expect(Math.abs((a[i] as number) - value)).toBeLessThanOrEqual(relative * scale);
  }
}

/** Which operands are stacks: every choice but none. */
const choices = (count: number): boolean[][] =>
  Array.from({ length: 2 ** count - 1 }, (_, mask) => Array.from({ length: count }, (_, i) => ((mask + 1) >> i) % 2 === 1));

const given = ({ data, shape, dtype }: HostTensor): Tensor => tensor(data, { shape, dtype });

describe("the batching rule of", () => {
  const names = (Object.keys(primitives) as PrimitiveName[]).filter((name) => primitives[name].tag !== "source" || name === "randomBits");
  for (const name of names) {
    const withOperands = samples[name];
    it(`${name} computes what one example after another gives`, async () => {
      for (const [n, { operands, params }] of withOperands.entries()) {
        for (const is of choices(operands.length).slice(0, 3)) {
          const stacks = operands.map((operand, i) =>
            is[i]
              ? stack(Array.from({ length: examples }, (_, b) => given(fill(operand, 31 * n + i + 1000 * b))))
              : given(fill(operand, 31 * n + i)),
          );
          const f = (...xs: Tensor[]): Tensor => apply(name, xs, params as PrimitiveParams[PrimitiveName]);
          const found = vmap(f, { inAxes: is.map((batched) => (batched ? 0 : null)) })(...stacks);
          const each = Array.from({ length: examples }, (_, b) => f(...stacks.map((x, i) => (is[i] ? at(x, b) : x))));
          await expectSame(found, stack(each), 1e-6);
        }
      }
    });
  }
});

describe("vmap of calls and loops equals one example after another", () => {
  for (const { name, shapes, f } of regionCases) {
    const inputs = shapes.map((shape, i) => floats([examples, ...shape], { seed: 7 + i, low: -0.8, high: 0.8 }));
    const ofAll = (...xs: Tensor[]): Tensor =>
      f(...xs)
        .map((y, i) => weighted(y, 50 + i))
        .reduce((a, b) => a.add(b));

    it(`${name}: values, with every input a stack and with every other one shared`, async () => {
      for (const is of [shapes.map(() => true), shapes.map((_, i) => i % 2 === 0), shapes.map((_, i) => i % 2 === 1)]) {
        if (!is.some(Boolean)) continue;
        const xs = inputs.map((x, i) => (is[i] ? x : at(x, 0)));
        const found = vmap(f, { inAxes: is.map((batched) => (batched ? 0 : null)) })(...xs);
        const each = Array.from({ length: examples }, (_, b) => f(...xs.map((x, i) => (is[i] ? at(x, b) : x))));
        for (const [i, y] of found.entries()) await expectSame(y, stack(each.map((ys) => ys[i] as Tensor)));
      }
    });

    it(`${name}: vmap of grad, grad of vmap, and both with a shared input`, async () => {
      const argnums = shapes.map((_, i) => i).slice(0, 2);
      for (const argnum of argnums) {
        const expected = Array.from({ length: examples }, (_, b) => grad(ofAll, argnum)(...inputs.map((x) => at(x, b))));
        await expectSame(vmap(grad(ofAll, argnum))(...inputs) as Tensor, stack(expected as Tensor[]));
        await expectSame(grad((...xs: Tensor[]) => vmap(ofAll)(...xs).sum(), argnum)(...inputs) as Tensor, stack(expected as Tensor[]));

        const shared = inputs.map((x, i) => (i === argnum ? at(x, 0) : x));
        const inAxes = shapes.map((_, i) => (i === argnum ? null : 0));
        if (inAxes.every((axis) => axis === null)) continue;
        const total = Array.from({ length: examples }, (_, b) =>
          grad(ofAll, argnum)(...shared.map((x, i) => (i === argnum ? x : at(x, b)))),
        ) as Tensor[];
        const found = grad((...xs: Tensor[]) => vmap(ofAll, { inAxes })(...xs).sum(), argnum)(...shared) as Tensor;
        await expectSame(
          found,
          total.reduce((a, b) => a.add(b)),
        );
      }
    });
  }
});

describe("vmap of attention", () => {
  const shape = [examples, 2, 4, 5, 6];
  const [q, k, v] = [floats(shape, { seed: 1 }), floats([examples, 2, 2, 5, 6], { seed: 2 }), floats([examples, 2, 2, 5, 6], { seed: 3 })];
  for (const [name, options] of Object.entries({
    plain: {},
    causal: { causal: true },
    windowed: { causal: true, window: 2, offset: 1 },
    scored: {
      causal: true,
      score: (s: Tensor, { batch, query, key: j }: { batch: Tensor; query: Tensor; key: Tensor }) =>
        s.sub(query.sub(j).mul(0.1)).add(batch.mul(0.3)),
    },
  })) {
    it(`${name}, with its derivatives by stacks and by shared keys`, async () => {
      const f = (a: Tensor, b: Tensor, c: Tensor): Tensor => attention(a, b, c, options);
      const each = Array.from({ length: examples }, (_, b) => f(at(q, b), at(k, b), at(v, b)));
      await expectSame(vmap(f)(q, k, v), stack(each));
      const loss = (a: Tensor, b: Tensor, c: Tensor): Tensor => weighted(f(a, b, c).tanh());
      for (const argnum of [0, 1, 2]) {
        const alone = Array.from({ length: examples }, (_, b) => grad(loss, argnum)(at(q, b), at(k, b), at(v, b)) as Tensor);
        await expectSame(vmap(grad(loss, argnum))(q, k, v) as Tensor, stack(alone));
        await expectSame(grad((a: Tensor, b: Tensor, c: Tensor) => vmap(loss)(a, b, c).sum(), argnum)(q, k, v) as Tensor, stack(alone));
      }
      const sharedKeys = grad((b: Tensor) => vmap((a: Tensor, c: Tensor) => loss(a, b, c))(q, v).sum())(at(k, 0));
      const added = Array.from({ length: examples }, (_, b) => grad(loss, 1)(at(q, b), at(k, 0), at(v, b)) as Tensor);
      await expectSame(
        sharedKeys,
        added.reduce((x, y) => x.add(y)),
      );
    });
  }
});

describe("vmap composes", () => {
  it("with random functions, their gradients, and compile", async () => {
    const holds = fc.asyncProperty(functionRecipes, async (recipe) => {
      const { rows, columns, seed } = recipe;
      const f = randomFunction(recipe);
      const [x, y] = [floats([examples, rows, columns], { seed }), floats([examples, rows, columns], { seed: seed + 1 })];
      const all = Array.from({ length: examples }, (_, b) => [at(x, b), at(y, b)] as const);
      await expectSame(vmap(f)(x, y), stack(all.map(([a, b]) => f(a, b))));
      await expectSame(vmap(f, { inAxes: [0, null] })(x, at(y, 1)), stack(all.map(([a]) => f(a, at(y, 1)))));
      const loss = (a: Tensor, b: Tensor): Tensor => weighted(f(a, b));
      const gradients = stack(all.map(([a, b]) => grad(loss)(a, b)));
      await expectSame(vmap(grad(loss))(x, y), gradients);
      await expectSame(compile((a: Tensor, b: Tensor) => vmap(grad(loss))(a, b))(x, y), gradients);
    });
    await fc.assert(holds, { seed: 43, numRuns: 20 });
  });

  law(
    "vmap of a scan",
    "A batch of loops is the loops of the examples, nested ones too, with every carried value a stack or with shared ones.",
    async () => {
      const holds = fc.asyncProperty(loopRecipes, async (recipe) => {
        const { carries, slices, count } = recipe;
        const size = 2;
        const index = tensor(Int32Array.from([1, 0]));
        const make = (n: number, lead: number[], seed: number): Tensor[] =>
          Array.from({ length: n }, (_, i) => floats([examples, ...lead, size, size], { seed: seed + i, low: -0.7, high: 0.7 }));
        const args = { carry: make(carries, [], 1), xs: make(slices, [count], 20), constants: make(1, [], 40) };
        const f = (inputs: typeof args): Tensor[] => scanned(recipe, inputs, index).flat();
        const pick = (b: number): typeof args => ({
          carry: args.carry.map((x) => at(x, b)),
          xs: args.xs.map((x) => at(x, b)),
          constants: args.constants.map((x) => at(x, b)),
        });
        const found = vmap(f)(args);
        const each = Array.from({ length: examples }, (_, b) => f(pick(b)));
        for (const [i, y] of found.entries()) await expectSame(y, stack(each.map((ys) => ys[i] as Tensor)));
        // Constants alone differ: whatever the carry depends on becomes a stack.
        const shared = { ...pick(0), constants: args.constants };
        const some = vmap(f, { inAxes: [{ carry: null, xs: null, constants: 0 }] })(shared);
        const those = Array.from({ length: examples }, (_, b) => f({ ...pick(0), constants: pick(b).constants }));
        for (const [i, y] of some.entries()) await expectSame(y, stack(those.map((ys) => ys[i] as Tensor)));
      });
      await fc.assert(holds, { seed: 44, numRuns: 12 });
    },
  );

  it("with itself, other axes and trees", async () => {
    const x = floats([4, 3, 2, 5], { seed: 5 });
    const w = floats([5, 3], { seed: 6 });
    const f = (a: Tensor, m: { w: Tensor }): { y: Tensor; n: number } => ({ y: softmax(matmul(a, m.w)), n: 2 });
    const twice = vmap(vmap(f, { inAxes: [0, null] }), { inAxes: [0, null] })(x, { w });
    await expectSame(twice.y, softmax(matmul(x, w)));
    expect(twice.n).toBe(2);
    const byLast = vmap((column: Tensor) => column.sum(), { inAxes: -1 })(x);
    await expectSame(byLast, x.sum([0, 1, 2]));
    const moved = vmap((a: Tensor) => ({ a, b: a.mul(2) }), { inAxes: 1, outAxes: { a: 1, b: -1 } })(x);
    await expectSame(moved.a, x);
    await expectSame(moved.b, x.permute([0, 2, 3, 1]).mul(2));
    const same = vmap((a: Tensor, b: Tensor) => [a, b.exp()] as const, { inAxes: [0, null], outAxes: [0, null] })(x, w);
    await expectSame(same[1], w.exp());
    await expectSame(vmap((a: Tensor) => a.sum())(floats([0, 3])), floats([0]));
  });

  it("with keys: one for each example, or one for all", async () => {
    const keys = stack(split(key(3), 4));
    const draws = vmap((k: Tensor) => randn(k, [2, 3]))(keys);
    await expectSame(draws, stack(split(key(3), 4).map((k) => randn(k, [2, 3]))));
    const shared = vmap((x: Tensor) => x.mul(bernoulli(key(1), [3]).cast("f64")))(floats([2, 3]));
    await expectSame(shared, floats([2, 3]).mul(bernoulli(key(1), [3]).cast("f64")));
  });

  it("with scan and checkpoint around it", async () => {
    const x = floats([3, 4], { seed: 8 });
    const w = floats([3, 4], { seed: 9 });
    const step = (c: Tensor, s: Tensor): [Tensor, Tensor] => [vmap((a: Tensor, b: Tensor) => a.mul(b.sum()).tanh())(c, s), c.sum()];
    const run = (at: Tensor): Tensor => weighted(scan(step, at, stack([w, w.mul(0.5)]))[0]);
    const written = (at: Tensor): Tensor => {
      const once = at.mul(w.sum(1, true)).tanh();
      return weighted(once.mul(w.mul(0.5).sum(1, true)).tanh());
    };
    await expectSame(grad(run)(x), grad(written)(x));
    await expectSame(
      grad((at: Tensor) => run(checkpoint((y: Tensor) => vmap((row: Tensor) => row.sin())(y))(at)))(x),
      grad((at: Tensor) => written(at.sin()))(x),
    );
  });

  it("with vjp and jvp inside", async () => {
    const x = floats([3, 4], { seed: 10 });
    const u = floats([3, 4], { seed: 11 });
    const f = (a: Tensor): Tensor => a.mul(a.sum()).sin();
    const forth = vmap((a: Tensor, t: Tensor) => jvp(f, [a], [t])[1])(x, u);
    await expectSame(forth, stack([0, 1, 2].map((b) => jvp(f, [at(x, b)], [at(u, b)])[1])));
    const back = vmap((a: Tensor, t: Tensor) => vjp(f, a)[1](t)[0])(x, u);
    await expectSame(back, stack([0, 1, 2].map((b) => vjp(f, at(x, b))[1](at(u, b))[0])));
  });
});

describe("vmap refuses", () => {
  const x = floats([2, 3]);
  it.each([
    [
      "a number of axes that is not that of the arguments",
      () => vmap((a: Tensor, b: Tensor) => a.add(b), { inAxes: [0] })(x, x),
      OptionError,
    ],
    ["different numbers of examples", () => vmap((a: Tensor, b: Tensor) => a.sum().add(b.sum()))(x, floats([3, 3])), ShapeError],
    ["nothing to map", () => vmap((a: Tensor) => a, { inAxes: null })(x), ShapeError],
    ["a scalar", () => vmap((a: Tensor) => a)(floats([])), ShapeError],
    ["an axis that is not there", () => vmap((a: Tensor) => a, { inAxes: 2 })(x), ShapeError],
    ["a tree of axes without the field", () => vmap((a: { w: Tensor }) => a.w, { inAxes: [{ v: 0 }] })({ w: x }), OptionError],
    ["a shared result that differs", () => vmap((a: Tensor) => a, { outAxes: null })(x), OptionError],
    ["axes that are none", () => vmap((a: Tensor) => a, { inAxes: "0" as never })(x), OptionError],
  ])("%s", (_, run, error) => {
    expect(run).toThrow(error);
  });
});

describe("jacobian and hessian", () => {
  it("are the same forward and in reverse, and by hand", async () => {
    const x = floats([2, 3], { seed: 12 });
    const f = (a: Tensor): Tensor => matmul(a, a.permute([1, 0])).tanh();
    const [rows, columns] = [jacobian(f)(x), jacobian(f, { mode: "forward" })(x)];
    expect(rows.shape).toEqual([2, 2, 2, 3]);
    await expectSame(columns, rows);
    const square = jacobian((a: Tensor) => a.mul(a))(tensor([1, 2], { dtype: "f64" }));
    expect(await square.array()).toEqual([
      [2, 0],
      [0, 4],
    ]);
  });

  it("hold for trees, by any argument", async () => {
    const model = { w: floats([3, 2], { seed: 13 }), b: floats([2], { seed: 14 }) };
    const f = (x: Tensor, m: typeof model): { y: Tensor; s: Tensor } => {
      const y = matmul(x, m.w).add(m.b).tanh();
      return { y, s: y.sum() };
    };
    const x = floats([4, 3], { seed: 15 });
    const J = jacobian(f, { argnum: 1 })(x, model) as unknown as { y: typeof model; s: typeof model };
    expect([J.y.w.shape, J.y.b.shape, J.s.w.shape, J.s.b.shape]).toEqual([[4, 2, 3, 2], [4, 2, 2], [3, 2], [2]]);
    await expectSame(J.s.w, grad((m: typeof model) => f(x, m).s)(model).w);
    const forward = jacobian(f, { argnum: 1, mode: "forward" })(x, model) as unknown as { y: typeof model };
    await expectSame(forward.y.w, J.y.w);
  });

  it("hessian is symmetric and gives the products of hvp", async () => {
    const x = floats([5], { seed: 16 });
    const f = (a: Tensor): Tensor => a.mul(a.sum()).sin().sum().add(a.pow(3).sum());
    const H = hessian(f)(x);
    await expectSame(H, H.permute([1, 0]));
    const v = floats([5], { seed: 17 });
    await expectSame(matmul(H, v), hvp(f, x, v));
    await expectSame(compile((a: Tensor) => hessian(f)(a))(x), H);
  });
});

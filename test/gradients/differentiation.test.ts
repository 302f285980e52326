import { beforeAll, describe, expect, it } from "vitest";
import { checkGrads } from "../../src/autograd/check-grads.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  add,
  compile,
  crossEntropy,
  DawngradError,
  GradientError,
  grad,
  hvp,
  jvp,
  max,
  maximum,
  min,
  minimum,
  mul,
  OptionError,
  relu,
  stopGradient,
  type Tensor,
  tensor,
  useBackend,
  valueAndGrad,
  vjp,
} from "../../src/index.js";
import { distinct, floats, numbersOf, weighted } from "../support/floats.js";

const f64 = (...values: number[]): Tensor => tensor(Float64Array.from(values));
const scalar = (value: number): Tensor => tensor(Float64Array.from([value]), { shape: [] });

/** The message of what f throws, and its class. */
function thrown(f: () => unknown): Error {
  try {
    f();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("nothing was thrown");
}

beforeAll(() => {
  useBackend(createReferenceBackend());
});

describe("where a function has no derivative, the gradient", () => {
  it("of a maximum is shared evenly among the largest", async () => {
    expect(await numbersOf(grad((x: Tensor) => max(x))(f64(3, 1, 3, 3)))).toEqual([1 / 3, 0, 1 / 3, 1 / 3]);
    expect(await numbersOf(grad((x: Tensor) => min(x))(f64(1, 1, 3)))).toEqual([0.5, 0.5, 0]);
  });

  it("of max(a, b) and min(a, b) at a = b is a half for each", async () => {
    for (const f of [maximum, minimum]) {
      const [da, db] = grad((ab: [Tensor, Tensor]) => f(ab[0], ab[1]).sum())([f64(2, 5), f64(2, 5)]);
      expect([await numbersOf(da), await numbersOf(db)]).toEqual([
        [0.5, 0.5],
        [0.5, 0.5],
      ]);
    }
  });

  it("of |x| at 0 is 0, of relu at 0 is 0, and of clip at numbers is 0 and at tensors shared", async () => {
    expect(await numbersOf(grad((x: Tensor) => x.abs().sum())(f64(-1, 0, 1)))).toEqual([-1, 0, 1]);
    expect(await numbersOf(grad((x: Tensor) => relu(x).sum())(f64(-1, 0, 1)))).toEqual([0, 0, 1]);
    expect(await numbersOf(grad((x: Tensor) => x.clip(-1, 1).sum())(f64(-2, -1, 0, 1, 2)))).toEqual([0, 0, 1, 0, 0]);
    expect(await numbersOf(grad((x: Tensor) => x.clip(-1).sum())(f64(-2, -1, 0, 9)))).toEqual([0, 0, 1, 1]);
    expect(await numbersOf(grad((x: Tensor) => x.clip(undefined, 1).sum())(f64(-9, 1, 2)))).toEqual([1, 0, 0]);
    expect(await numbersOf(grad((x: Tensor) => x.clip(1, -1).sum())(f64(-2, -1, 0, 1, 2)))).toEqual([0, 0, 0, 0, 0]);
    const [low, high] = grad((bounds: [Tensor, Tensor]) =>
      f64(-2, -1, 0, 1, 2)
        .clip(...bounds)
        .sum(),
    )([f64(-1), f64(1)]);
    expect([await numbersOf(low), await numbersOf(high)]).toEqual([[1.5], [1.5]]);
  });

  it("of the deviation of equal numbers is 0", async () => {
    expect(await numbersOf(grad((x: Tensor) => x.std(1).sum())(tensor(Float64Array.of(3, 3, 1, 5), { shape: [2, 2] })))).toEqual([
      0, 0, -0.5, 0.5,
    ]);
  });

  it("of powers at 0 is finite: x⁰ is flat, and 0ᵇ does not depend on b", async () => {
    const [dx, dn] = grad((xn: [Tensor, Tensor]) => xn[0].pow(xn[1]).sum())([f64(0, 0, 3), f64(0, 2, 0)]);
    expect([await numbersOf(dx), await numbersOf(dn)]).toEqual([
      [0, 0, 0],
      [0, 0, Math.log(3)],
    ]);
  });

  it("of powers is that of PyTorch at 0 and at NaN", async () => {
    const [dx, dn] = grad((xn: [Tensor, Tensor]) => xn[0].pow(xn[1]).sum())([f64(0, 0, 0, Number.NaN, -2), f64(1, -1, 0.5, 0, 0)]);
    expect((await numbersOf(dx)).map((value) => value + 0)).toEqual([1, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, 0, 0]);
    expect((await numbersOf(dn)).slice(0, 3)).toEqual([0, Number.NEGATIVE_INFINITY, 0]);
  });

  it("of the gradient of aᵇ by b is 1/a at b = 0", async () => {
    const power = (a: Tensor, b: Tensor): Tensor => grad((at: Tensor) => at.pow(b).sum())(a).sum();
    const mixed = grad((b: Tensor) => power(f64(0.5, 2, 3), b))(f64(0, 0, 0));
    expect(await numbersOf(mixed)).toEqual([2, 0.5, 1 / 3]);
    const other = grad((a: Tensor) => grad((b: Tensor) => a.pow(b).sum())(f64(0, 0, 0)).sum())(f64(0.5, 2, 3));
    expect(await numbersOf(other)).toEqual([2, 0.5, 1 / 3]);
    // xⁿ at 0, differentiated as often as one likes: 0, 0, …, n!, 0.
    for (const [n, derivatives] of [
      [1, [1, 0, 0]],
      [2, [0, 2, 0]],
      [3, [0, 0, 6]],
      [4, [0, 0, 0, 24]],
    ] as const) {
      let f = (x: Tensor): Tensor => x.pow(f64(n)).sum();
      for (const expected of derivatives) {
        const inner = f;
        f = (x) => grad(inner)(x).sum();
        expect(await numbersOf(f(f64(0)))).toEqual([expected]);
      }
    }
  });
});

describe("the gradient", () => {
  it("has the shape of its argument, however empty or scalar", async () => {
    for (const shape of [[], [0], [2, 0, 3], [1], [1, 1]]) {
      const x = floats(shape);
      const g = grad((at: Tensor) => at.mul(at).sum())(x);
      expect(g.shape).toEqual(shape);
      expect(g.dtype).toBe("f64");
      expect(await numbersOf(g)).toEqual((await numbersOf(x)).map((value) => 2 * value));
    }
  });

  it("adds up the uses of an input", async () => {
    expect(await numbersOf(grad((x: Tensor) => x.mul(x).add(x).add(x.mul(3)).sum())(f64(1, 2)))).toEqual([6, 8]);
  });

  it("undoes broadcasting by summing", async () => {
    const [da, db, dc] = grad((abc: [Tensor, Tensor, Tensor]) => abc[0].mul(abc[1]).add(abc[2]).sum())([
      floats([2, 1]),
      tensor(Float64Array.from([1, 2, 3])),
      scalar(0),
    ]);
    expect([da.shape, db.shape, dc.shape]).toEqual([[2, 1], [3], []]);
    expect(await numbersOf(da)).toEqual([6, 6]);
    expect(await dc.item()).toBe(6);
  });

  it("is zero for what the function does not use, or uses through stopGradient alone", async () => {
    const [da, db] = grad((ab: [Tensor, Tensor]) => stopGradient(ab[0]).mul(ab[0]).sum())([f64(2, 3), f64(5)]);
    expect(await numbersOf(da)).toEqual([2, 3]);
    expect(await numbersOf(db)).toEqual([0]);
    expect(await numbersOf(grad((x: Tensor) => stopGradient(x.exp()).sum())(f64(1)))).toEqual([0]);
  });

  it("sees a captured tensor as a constant, even the very tensor that is the argument", async () => {
    const y = f64(2, 3);
    expect(await numbersOf(grad((x: Tensor) => x.mul(y).sum())(y))).toEqual([2, 3]);
    const z = y.exp();
    expect(await numbersOf(grad((x: Tensor) => x.mul(z).sum())(y))).toEqual([Math.exp(2), Math.exp(3)]);
  });

  it("sees one tensor given as two arguments as two variables", async () => {
    const x = f64(2, 3);
    const f = (a: Tensor, b: Tensor): Tensor => a.mul(a).mul(b).sum();
    expect(await numbersOf(grad(f, 0)(x, x))).toEqual([8, 18]);
    expect(await numbersOf(grad(f, 1)(x, x))).toEqual([4, 9]);
    const [da, db] = vjp(f, x, x)[1](tensor(1, { dtype: "f64" }));
    expect([await numbersOf(da), await numbersOf(db)]).toEqual([
      [8, 18],
      [4, 9],
    ]);
  });

  it("sees one tensor at several places of one argument as one variable, whose gradient stands at each of them", async () => {
    const [x, y] = [f64(2, 3), f64(5, 7)];
    const tied = { a: x, deep: [{ b: y }, { b: x }] };
    // Σ a²·b₀·b₁ at a = b₁ = x, b₀ = y: Σ x³·y.
    const f = ({ a, deep }: typeof tied): Tensor => deep.reduce((product, { b }) => product.mul(b), a.mul(a)).sum();
    const g = grad(f)(tied);
    expect(g.deep[1]?.b).toBe(g.a);
    expect(await numbersOf(g.a)).toEqual([3 * 4 * 5, 3 * 9 * 7]);
    expect(await numbersOf(g.deep[0]?.b as Tensor)).toEqual([8, 27]);

    const v = { a: f64(1, 10), deep: [{ b: f64(1, 1) }, { b: f64(0, 0) }] };
    v.deep[1] = { b: v.a };
    // (3x²y·v + x³·u) and, for the Hessian, 6xy·v + 3x²·u and 3x²·v.
    const [, tangent] = jvp(f, [tied], [v]);
    expect(await tangent.item()).toBe(60 * 1 + 8 + 189 * 10 + 27);
    const h = hvp(f, tied, v);
    expect(h.deep[1]?.b).toBe(h.a);
    expect(await numbersOf(h.a)).toEqual([60 * 1 + 12, 126 * 10 + 27]);
    expect(await numbersOf(h.deep[0]?.b as Tensor)).toEqual([12, 270]);
    const torn = { a: v.a, deep: [{ b: f64(1, 1) }, { b: f64(1, 10) }] };
    expect(thrown(() => jvp(f, [tied], [torn])).message).toMatch(/one tensor at 0\.a and 0\.deep\.1\.b/);
    expect(thrown(() => hvp(f, tied, torn)).message).toMatch(/one tensor at a and deep\.1\.b/);
    await checkGrads((t: typeof tied) => f(t), [tied], { order: 2 });
  });

  it("by a number is the gradient by a scalar", async () => {
    const g = grad((x: number) => mul(mul(x, x), 3))(5) as unknown as Tensor;
    expect(await g.item()).toBe(30);
  });

  it("has the form of its argument: classes, lists, and leaves that are no numbers", async () => {
    class Layer {
      readonly kind = "linear";
      constructor(
        readonly weight: Tensor,
        readonly bias: Tensor | undefined,
        readonly _scale: number,
      ) {}
      apply(x: Tensor): Tensor {
        return x.mul(this.weight).mul(this._scale);
      }
    }
    const layers = { first: new Layer(f64(2), undefined, 10), rest: [new Layer(f64(3), f64(1), 1), []] as const };
    const g = grad((model: typeof layers) =>
      model.rest[0]
        .apply(model.first.apply(f64(1)))
        .add(model.rest[0].bias as Tensor)
        .sum(),
    )(layers);
    expect(g.first).toBeInstanceOf(Layer);
    expect([g.first.kind, g.first.bias, g.first._scale, g.rest[1]]).toEqual(["linear", undefined, 10, []]);
    expect(await Promise.all([g.first.weight.item(), g.rest[0].weight.item(), (g.rest[0].bias as Tensor).item()])).toEqual([30, 20, 1]);
  });

  it("comes with the value and with what else the function returns", async () => {
    const f = (x: Tensor): readonly [Tensor, { doubled: Tensor; note: string }] => [x.mul(x).sum(), { doubled: x.mul(2), note: "kept" }];
    const [[loss, { doubled, note }], g] = valueAndGrad(f, { hasAux: true })(f64(1, 3));
    expect([await loss.item(), await numbersOf(doubled), note, await numbersOf(g)]).toEqual([10, [2, 6], "kept", [2, 6]]);
  });

  it("of a gradient is nested without confusion of the two variables", async () => {
    // d/dx (x · d/dy (x·y²) at y = x) = d/dx (2x³)
    const f = (x: Tensor): Tensor => x.mul(grad((y: Tensor) => x.mul(y).mul(y))(x));
    expect(await grad(f)(scalar(3)).item()).toBe(54);
    // The classic confusion of perturbations: d/dx (x · d/dy (x + y)) = 1, not 2.
    expect(await grad((x: Tensor) => x.mul(grad((y: Tensor) => add(x, y))(scalar(1))))(scalar(1)).item()).toBe(1);
  });

  it("goes through compiled functions, and is compiled with them", async () => {
    const inner = compile((x: Tensor, s: Tensor) => x.sin().mul(s));
    const loss = (x: Tensor): Tensor => inner(x, 3).sum();
    const expected = (await numbersOf(f64(0.2, 0.9).cos())).map((c) => 3 * c);
    expect(await numbersOf(grad(loss)(f64(0.2, 0.9)))).toEqual(expected);
    expect(await numbersOf(compile(grad(loss))(f64(0.2, 0.9)))).toEqual(expected);
    const second = compile(grad((x: Tensor) => compile(grad(loss))(x).sum()));
    expect(await second(f64(0.5)).item()).toBeCloseTo(-3 * Math.sin(0.5), 14);
    expect(inner.traces).toBe(0);
  });

  it("holds after the tensors between have been realised", async () => {
    const x = f64(0.5, 1);
    let kept: Tensor | undefined;
    const [y, pullback] = vjp((at: Tensor) => {
      kept = at.exp();
      return kept.mul(at);
    }, x);
    await kept?.data();
    await y.data();
    const [g] = pullback(f64(1, 1));
    expect(await numbersOf(g)).toEqual([1.5 * Math.exp(0.5), 2 * Math.E]);
  });
});

describe("refusals:", () => {
  it("an integer argument, by its path", () => {
    const error = thrown(() => grad((t: { ids: Tensor; w: Tensor }) => t.w.sum())({ w: f64(1), ids: tensor(Int32Array.from([1])) }));
    expect(error).toBeInstanceOf(GradientError);
    expect(error.message).toBe("grad: cannot differentiate by ids, which is i32");
    expect((error as GradientError).hint).toContain("float tensors only");
    expect(thrown(() => vjp((x: Tensor) => x, tensor([true]))).message).toContain("which is bool");
  });

  it("a result that is no scalar, with its shape and a way out", () => {
    const error = thrown(() => grad((x: Tensor) => x.mul(2))(f64(1, 2)));
    expect(error).toBeInstanceOf(GradientError);
    expect(error.message).toBe("grad: the function returned [2], not a scalar");
    expect((error as GradientError).hint).toBe("sum or average it, or use vjp");
  });

  it("a result that is no tensor or no float", () => {
    expect(thrown(() => grad((_: Tensor) => 3)(f64(1)))).toBeInstanceOf(GradientError);
    expect(thrown(() => grad((x: Tensor) => x.argmax())(f64(1))).message).toBe("grad: the function returned i32, which has no derivative");
  });

  it("cotangents of another number, form, shape or dtype, by their path", () => {
    const [, pullback] = vjp((x: Tensor) => [x, x.sum()] as [Tensor, Tensor], f64(1, 2));
    const refusal = (cotangent: unknown): string => {
      const error = thrown(() => pullback(cotangent as [Tensor, Tensor]));
      expect(error).toBeInstanceOf(DawngradError);
      return error.message;
    };
    const form = "vjp: the function's value and the cotangent differ in form: at the root the function's value has";
    expect(refusal([f64(1, 2)])).toBe(`${form} 2 entries, the cotangent 1 entry`);
    expect(refusal(f64(1, 2))).toMatch(`${form} a list of 2, the cotangent `);
    expect(refusal([f64(1), scalar(1)])).toBe("vjp: at 0 the cotangent has f64[1], and the function's value f64[2]");
    expect(refusal([f64(1, 2).cast("f32"), scalar(1)])).toBe("vjp: at 0 the cotangent has f32[2], and the function's value f64[2]");
    expect(refusal([f64(1, 2), null])).toBe("vjp: at 1 the cotangent has null, and the function's value f64[]");
    expect(refusal([1, 1])).toBe("vjp: at 0 the cotangent has 1, and the function's value f64[2]");
  });

  it("tangents of another number, form, shape or dtype, by their path and under the name of the function", () => {
    const f = (p: { w: Tensor }, x: Tensor): Tensor => p.w.mul(x);
    const primals: [{ w: Tensor }, Tensor] = [{ w: f64(1, 2) }, f64(3, 4)];
    const refusal = (tangents: unknown): string => {
      const error = thrown(() => jvp(f, primals, tangents as typeof primals));
      expect(error).toBeInstanceOf(DawngradError);
      return error.message;
    };
    expect(refusal([])).toBe(
      "jvp: the list of primals and the list of tangents differ in form: at the root the list of primals has 2 entries, the list of tangents 0 entries",
    );
    expect(refusal([{ v: f64(1, 2) }, f64(1, 2)])).toBe(
      "jvp: the list of primals and the list of tangents differ in form: the list of tangents has no 0.w",
    );
    expect(refusal([{ w: f64(1) }, f64(1, 2)])).toBe("jvp: at 0.w the list of tangents has f64[1], and the list of primals f64[2]");
    expect(refusal([{ w: f64(1, 2) }, f64(1, 2).cast("f32")])).toBe(
      "jvp: at 1 the list of tangents has f32[2], and the list of primals f64[2]",
    );
    expect(refusal([{ w: null }, f64(1, 2)])).toBe("jvp: at 0.w the list of tangents has null, and the list of primals f64[2]");
    const square = (x: { w: Tensor }): Tensor => x.w.mul(x.w).sum();
    expect(thrown(() => hvp(square, { w: f64(1, 2) }, { w: f64(1) })).message).toBe("hvp: at w v has f64[1], and x f64[2]");
    expect(thrown(() => hvp(square, { w: f64(1, 2) }, {} as never)).message).toBe("hvp: x and v differ in form: v has no w");
    expect(thrown(() => hvp((x: Tensor) => x, f64(1, 2), f64(1, 2))).message).toBe("hvp: the function returned [2], not a scalar");
  });

  it("an argument that is not there, or nothing to differentiate by", () => {
    const f = (x: Tensor): Tensor => x.sum();
    expect(thrown(() => (grad(f, 3) as (x: Tensor) => unknown)(f64(1)))).toBeInstanceOf(OptionError);
    expect(thrown(() => (grad(f, 3) as (x: Tensor) => unknown)(f64(1))).message).toBe(
      "grad: there is no argument 3 to differentiate by, 1 was passed",
    );
    expect(thrown(() => (valueAndGrad(f, { argnum: 1 }) as (x: Tensor) => unknown)(f64(1))).message).toContain("no argument 1");
    expect(thrown(() => (grad(f) as () => unknown)()).message).toContain("no argument 0 to differentiate by, 0 were passed");
    for (const nothing of [undefined, null, "x", true, 1n, new Float32Array(2)]) {
      const error = thrown(() => grad(f)(nothing as never));
      expect(error).toBeInstanceOf(GradientError);
      expect(error.message).toMatch(/^grad: argument 0 is .*, which is no tensor, number or tree of them$/);
    }
  });

  it("functions that are async or return no tensor", async () => {
    const [x, promise] = [f64(1, 2), Promise.resolve(f64(1))];
    for (const found of [undefined, null, 3, "loss", {}, [], promise]) {
      const f = (_: Tensor): never => found as never;
      const calls: readonly (() => unknown)[] = [
        () => grad(f)(x),
        () => valueAndGrad(f)(x),
        () => valueAndGrad(f, { hasAux: true })(x),
        () => vjp(f, x),
        () => jvp(f, [x], [x]),
        () => hvp(f, x, x),
        () => compile(f, { name: "step" })(x),
      ];
      for (const [i, call] of calls.entries()) {
        const error = thrown(call);
        expect(error, `call ${i} of ${String(found)}`).toBeInstanceOf(DawngradError);
        expect(error.message).toMatch(/^(grad|valueAndGrad|vjp|jvp|hvp|step): /);
        if (found === promise) expect((error as GradientError).hint).toContain("await");
      }
      await expect(checkGrads(f, [x])).rejects.toThrow(DawngradError);
    }
    expect((thrown(() => grad((y: Tensor) => [y.sum(), y])(x)) as GradientError).hint).toContain("hasAux");
  });
});

describe("jvp, vjp and hvp", () => {
  it("look at floats alone: other outputs take any cotangent and have null for a tangent; a number is a scalar", async () => {
    const f = (x: Tensor): [Tensor, Tensor, string] => [x.mul(x).sum(), x.argmax(), "name"];
    const [value, tangent] = jvp(f, [f64(1, 3)], [f64(1, 1)]);
    expect([await value[0].item(), await value[1].item(), value[2]]).toEqual([10, 1, "name"]);
    expect([await tangent[0].item(), tangent[1], tangent[2]]).toEqual([8, null, "name"]);
    const [, pullback] = vjp(f, f64(1, 3));
    for (const any of [null, scalar(1)]) expect(await numbersOf(pullback([2 as never, any as never, ""])[0])).toEqual([4, 12]);
    const cube = (x: number): Tensor => scalar(1).mul(x).mul(x).mul(x);
    expect(await (jvp(cube, [2], [1])[1] as Tensor).item()).toBe(12);
  });

  it("of a linear map are the map and its transpose", async () => {
    const a = floats([2, 3]);
    const f = (x: Tensor): Tensor => a.matmul(x);
    const [u, w] = [floats([3], { seed: 4 }), floats([2], { seed: 5 })];
    expect(await numbersOf(jvp(f, [floats([3])], [u])[1])).toEqual(await numbersOf(f(u)));
    expect(await numbersOf(vjp(f, floats([3]))[1](w)[0])).toEqual(await numbersOf(a.transpose().matmul(w)));
  });

  it("take and give several trees", async () => {
    const f = (p: { a: Tensor }, b: Tensor): { s: Tensor; t: [Tensor] } => ({ s: p.a.mul(b).sum(), t: [p.a.exp()] });
    const [value, tangent] = jvp(f, [{ a: f64(1, 2) }, f64(3, 4)], [{ a: f64(1, 0) }, f64(0, 1)]);
    expect([await value.s.item(), await tangent.s.item(), await numbersOf(tangent.t[0])]).toEqual([11, 5, [Math.E, 0]]);
    const [, pullback] = vjp(f, { a: f64(1, 2) }, f64(3, 4));
    const [dp, db] = pullback({ s: scalar(1), t: [f64(0, 0)] });
    expect([await numbersOf(dp.a), await numbersOf(db)]).toEqual([
      [3, 4],
      [1, 2],
    ]);
  });

  it("the Hessian is symmetric, and that of ½·xᵀAx + b·x is (A + Aᵀ)/2", async () => {
    const a = floats([3, 3], { seed: 8 });
    const f = (x: Tensor): Tensor => x.mul(a.matmul(x)).sum().mul(0.5);
    const symmetric = a.add(a.transpose()).mul(0.5);
    for (let i = 0; i < 3; i++) {
      const unit = tensor(Float64Array.from([0, 1, 2], (j) => Number(i === j)));
      const found = await numbersOf(hvp(f, floats([3]), unit));
      const row = await numbersOf(symmetric.slice([[i, i + 1]]).reshape([3]));
      found.forEach((value, j) => expect(value).toBeCloseTo(row[j] as number, 13));
    }
    const g = (x: Tensor): Tensor => weighted(x.softmax().mul(x.sin()));
    const [u, v] = [floats([4], { seed: 2 }), floats([4], { seed: 3 })];
    const x = distinct([4]);
    const [left, right] = [u.mul(hvp(g, x, v)).sum(), v.mul(hvp(g, x, u)).sum()];
    expect(await left.item()).toBeCloseTo(await right.item(), 13);
  });
});

describe("checkGrads", () => {
  it("accepts trees, numbers, and integers that stay as they are", async () => {
    await checkGrads(
      (p: { w: Tensor; s: number }, batch: { x: Tensor; y: Tensor }) => crossEntropy(batch.x.matmul(p.w).mul(p.s), batch.y),
      [
        { w: floats([3, 4]), s: 0.7 },
        { x: floats([2, 3], { seed: 2 }), y: tensor(Int32Array.from([1, 3])) },
      ],
      { order: 2 },
    );
  });

  it("computes in f64 where it can, also from f32", async () => {
    const dtypes = new Set<string>();
    const f = (x: Tensor): Tensor => {
      dtypes.add(x.dtype);
      return x.exp();
    };
    await checkGrads(f, [tensor([0.1, 0.2])], { order: 2 });
    expect([...dtypes]).toEqual(["f64"]);
  });

  const cheating = (x: Tensor): Tensor => x.mul(stopGradient(x));

  it.each([
    [
      "reverse",
      /^checkGrads \(reverse\): the derivative by argument 0\.b\.1 at \[1, 0\] is -?[\d.]+, and central differences give -?[\d.]+$/,
    ],
    ["forward", /^checkGrads \(forward\): the directional derivative of output 1 at \[0, 0\] is -?[\d.]+, and central differences give/],
  ] as const)("names the argument, the place, and both numbers (%s)", async (mode, message) => {
    const f = (t: { a: Tensor; b: [Tensor, Tensor] }): Tensor[] => [
      t.a,
      mode === "forward"
        ? cheating(t.b[1])
        : t.b[1]
            .slice([[0, 1]])
            .sum()
            .add(cheating(t.b[1].slice([[1, 2]]))),
    ];
    const failure = checkGrads(f, [{ a: f64(1), b: [f64(2), floats([2, 2])] }], { modes: [mode] });
    await expect(failure).rejects.toThrow(GradientError);
    await expect(failure).rejects.toThrow(message);
  });

  it("looks from nearer by where the function jumps close to a point, and still finds a derivative that is wrong there", async () => {
    // floor jumps at 2, which is within the step of a first look.
    for (const at of [2 - 4e-7, 2 + 4e-6]) {
      await checkGrads((x: Tensor) => x.floor().add(x.mul(x)), [f64(at)], { order: 2 });
      await expect(checkGrads((x: Tensor) => x.floor().add(cheating(x)), [f64(at)])).rejects.toThrow(GradientError);
    }
    await expect(checkGrads((x: Tensor) => x.sub(2).relu(), [f64(2)])).rejects.toThrow(/is -?0, and central differences give/);
    await expect(checkGrads((x: Tensor) => x.floor(), [f64(2)])).rejects.toThrow(/and the function jumps there/);
  });

  it("finds a second derivative that is wrong where the first is right", async () => {
    // With s = x held constant, 3s²·x − 2s³ has the value and the slope of x³, and no curvature.
    const f = (x: Tensor): Tensor => {
      const s = stopGradient(x);
      return s.mul(s).mul(3).mul(x).sub(s.mul(s).mul(s).mul(2));
    };
    await checkGrads(f, [f64(1.5)], { order: 1 });
    await expect(checkGrads(f, [f64(1.5)], { order: 2 })).rejects.toThrow(
      /^checkGrads \(forward over forward\): .* is 0, and central differences give/,
    );
    await expect(checkGrads(f, [f64(1.5)], { order: 2, modes: ["reverse"] })).rejects.toThrow(/\(reverse over reverse\)/);
  });

  it("refuses a function without floats", async () => {
    await expect(checkGrads((x: Tensor) => x, [tensor(Int32Array.from([1]))])).rejects.toThrow("no argument is a float");
    await expect(checkGrads((x: Tensor) => x.argmax(), [f64(1)])).rejects.toThrow("returned no float tensor");
  });
});

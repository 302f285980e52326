import { beforeEach, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  checkpoint,
  compile,
  customVjp,
  explain,
  GradientError,
  grad,
  OptionError,
  ShapeError,
  scan,
  type Tensor,
  tensor,
  UsageError,
  useBackend,
  vjp,
  zeros,
} from "../../src/index.js";

beforeEach(() => {
  useBackend(createReferenceBackend());
});

const lines = (text: string, pattern: RegExp): number => text.split("\n").filter((line) => pattern.test(line)).length;

describe("scan", () => {
  it("keeps the form of carry, slices and what is stacked, whatever their trees are", async () => {
    const xs = { a: tensor([1, 2, 3]), list: [tensor([[1], [2], [3]])], name: "kept" };
    const [carry, ys] = scan(
      ({ total, count }: { total: Tensor; count: Tensor }, x: typeof xs) => [
        { total: total.add(x.a), count: count.add(1) },
        { pair: [x.list[0] as Tensor, x.a.mul(2)], name: x.name },
      ],
      { total: tensor(0), count: zeros([], { dtype: "i32" }) },
      xs,
    );
    expect(await carry.total.item()).toBe(6);
    expect([carry.count.dtype, await carry.count.item()]).toEqual(["i32", 3]);
    expect(await ys.pair[0]?.array()).toEqual([[1], [2], [3]]);
    expect(await ys.pair[1]?.array()).toEqual([2, 4, 6]);
    expect(ys.name).toBe("kept");
  });

  it("counts without slices, and stacks nothing where y is null", async () => {
    const [power, ys] = scan((x: Tensor) => [x.mul(2), null], tensor(1), null, { length: 10 });
    expect([await power.item(), ys]).toEqual([1024, null]);
  });

  it("takes a plain number for an f32 carry", async () => {
    const [total] = scan((sum: Tensor, x: Tensor) => [sum.add(x), null], 0 as unknown as Tensor, tensor([1, 2, 3]));
    expect([total.dtype, await total.item()]).toEqual(["f32", 6]);
  });

  it("of no steps returns the carry and stacks of nothing", async () => {
    const [carry, ys] = scan((c: Tensor, x: Tensor) => [c.add(x), x.mul(2)], tensor([1, 2]), zeros([0, 2]));
    expect(await carry.array()).toEqual([1, 2]);
    expect(ys.shape).toEqual([0, 2]);
  });

  it("keeps a plain number of a compiled function weak: what it meets keeps its dtype", async () => {
    const run = compile((xs: Tensor, n: Tensor) =>
      scan((c: Tensor, x: Tensor) => [c.add(x.mul(n)), x.add(n)], zeros([], { dtype: "i32" }), xs),
    );
    for (const n of [3, 5]) {
      const [carry, ys] = run(tensor([1, 2], { dtype: "i32" }), n);
      expect([carry.dtype, await carry.item(), ys.dtype, await ys.array()]).toEqual(["i32", 3 * n, "i32", [1 + n, 2 + n]]);
    }
    expect(run.traces).toBe(1);
  });

  it("says what is wrong with steps, slices and carries", () => {
    const step = (c: Tensor, x: Tensor): [Tensor, Tensor] => [c.add(x), x];
    expect(() => scan(step, tensor(0), null as unknown as Tensor)).toThrow(OptionError);
    expect(() => scan((c: Tensor) => [c, null], tensor(0), { a: tensor([1, 2]), b: tensor([1]) })).toThrow(/xs at b is \[1\].*2 steps/);
    expect(() => scan((c: Tensor) => [c, null], tensor(0), tensor(1))).toThrow(ShapeError);
    expect(() => scan(step, tensor(0), tensor([1, 2]), { length: 3 })).toThrow(/3 steps/);
    expect(() => scan((c: Tensor, x: Tensor) => [c.add(x).cast("i32"), x], tensor(0), tensor([1]))).toThrow(
      /carry is f32\[\], and the next one i32\[\]/,
    );
    expect(() => scan((c: { a: Tensor }, x: Tensor) => [{ a: x.expand([2]) }, c.a], { a: tensor(0) }, tensor([1]))).toThrow(
      /carry at a is/,
    );
    expect(() => scan((c: Tensor, x: Tensor) => [[c] as unknown as Tensor, x], tensor(0), tensor([1]))).toThrow(UsageError);
    expect(() => scan((c: Tensor) => c as never, tensor(0), tensor([1]))).toThrow(/not \[carry, y\]/);
    expect(() => scan(step, tensor(0), tensor([1]), { checkpointEvery: 0 })).toThrow(OptionError);
    expect(() => scan((async (c: Tensor, x: Tensor) => [c, x]) as never, tensor(0), tensor([1]))).toThrow(/returned a Promise/);
  });

  it("is one body, forward and backward, however many steps there are", () => {
    const f = (w: Tensor, steps: number): Tensor =>
      scan((c: Tensor) => [c.mul(w).sin(), null], tensor([1, 2]), null, { length: steps })[0].sum();
    const text = (steps: number): string => explain((w: Tensor) => grad((v: Tensor) => f(v, steps))(w), tensor([0.5, 2]));
    expect(lines(text(1000), / sin\(/)).toBe(lines(text(3), / sin\(/));
    expect(lines(text(1000), /loop.*count=1000/)).toBe(2);
  });
});

describe("checkpoint", () => {
  it("computes its function a second time, behind barriers that wait for the cotangent", () => {
    const f = (x: Tensor): Tensor =>
      checkpoint((y: Tensor) => y.sin().exp())(x)
        .square()
        .sum();
    const text = explain(grad(f), tensor([1, 2]));
    expect(lines(text, /barrier\(/)).toBe(1);
  });

  it("keeps leaves that are no tensors, of arguments and of the value", async () => {
    const scaled = checkpoint((x: Tensor, by: number, name: string) => ({ y: x.mul(by), name }));
    const { y, name } = scaled(tensor([1, 2]), 3, "three");
    expect([await y.array(), name]).toEqual([[3, 6], "three"]);
  });

  it("refuses a function that returns no tensor", () => {
    expect(() => checkpoint(() => 1)()).toThrow(UsageError);
    expect(() => checkpoint(async (x: Tensor) => x)(tensor(1))).toThrow(/Promise/);
  });
});

describe("customVjp", () => {
  const double = customVjp(
    (x: Tensor) => x.mul(2),
    (x: Tensor) => [x.mul(2), null],
    (_: null, ct: Tensor) => [ct.mul(100)],
  );

  it("is the function itself where nobody differentiates, and its own rule where somebody does", async () => {
    expect(await double(tensor([1, 2])).array()).toEqual([2, 4]);
    expect(await grad((x: Tensor) => double(x).sum())(tensor([1, 2])).array()).toEqual([100, 100]);
  });

  it("computes forward, not the function, once it is differentiated", async () => {
    const f = customVjp(
      (x: Tensor) => x.mul(2),
      (x: Tensor) => [x.mul(3), x],
      (x: Tensor, ct: Tensor) => [ct.mul(x)],
    );
    const [value, pullback] = vjp((x: Tensor) => f(x), tensor([1, 2]));
    const [gradient] = pullback(tensor([1, 1]));
    expect(await gradient.array()).toEqual([1, 2]);
    expect(await value.array()).toEqual([3, 6]);
    expect(await f(tensor([1, 2])).array()).toEqual([2, 4]);
  });

  it("differentiates forward and backward for second derivatives", async () => {
    const cube = customVjp(
      (x: Tensor) => x.pow(3),
      (x: Tensor) => [x.pow(3), x.square()],
      (squared: Tensor, ct: Tensor) => [ct.mul(squared).mul(3)],
    );
    const second = grad((x: Tensor) => grad((y: Tensor) => cube(y).sum())(x).sum());
    expect((await second(tensor([1, 2])).array()) as number[]).toEqual([6, 12]);
  });

  it("takes null for zeros, and trees of arguments", async () => {
    const f = customVjp(
      (p: { w: Tensor; b: Tensor }, x: Tensor) => p.w.mul(x).add(p.b),
      (p: { w: Tensor; b: Tensor }, x: Tensor) => [p.w.mul(x).add(p.b), x],
      (x: Tensor, ct: Tensor) => [{ w: ct.mul(x), b: null }, null],
    );
    const loss = (p: { w: Tensor; b: Tensor }, x: Tensor): Tensor => f(p, x).sum();
    const p = { w: tensor([1, 2]), b: tensor([3, 4]) };
    const gradient = grad(loss)(p, tensor([5, 6]));
    expect([await gradient.w.array(), await gradient.b.array()]).toEqual([
      [5, 6],
      [0, 0],
    ]);
    expect(await grad(loss, 1)(p, tensor([5, 6])).array()).toEqual([0, 0]);
  });

  it("says what does not fit", () => {
    const wrong = (forward: unknown, backward: unknown) => () =>
      grad((x: Tensor) => customVjp((y: Tensor) => y.mul(2), forward as never, backward as never)(x).sum())(tensor([1, 2]));
    const forward = (x: Tensor): unknown => [x.mul(2), null];
    expect(
      wrong(
        (x: Tensor) => x,
        () => [null],
      ),
    ).toThrow(/forward returned .*not \[value, residuals\]/);
    expect(
      wrong(
        (x: Tensor) => [x.sum(), null],
        () => [null],
      ),
    ).toThrow(/differs from that of f/);
    expect(wrong(forward, () => tensor(1))).toThrow(/backward returned .* 1 arguments/);
    expect(wrong(forward, (_: null, ct: Tensor) => [ct.sum()])).toThrow(/f32\[\] for argument 0, which is f32\[2\]/);
    expect(wrong(forward, () => [3])).toThrow(GradientError);
    const w = tensor([1, 2]);
    const closes = (v: Tensor): Tensor =>
      customVjp(
        (x: Tensor) => x.mul(v),
        (x: Tensor) => [x.mul(v), null],
        (_: null, ct: Tensor) => [ct],
      )(w).sum();
    expect(() => grad(closes)(w)).toThrow(/closes over.*/);
  });
});

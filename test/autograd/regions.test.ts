import { beforeEach, describe, expect, it } from "vitest";
import { realizeNow } from "../../src/autograd/realize.js";
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
import { createRecordingBackend } from "../support/recording-backend.js";

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

  it("gives a number in the next carry the dtype of the carry", async () => {
    const reset = compile((n: Tensor, xs: Tensor) => scan((_: Tensor, x: Tensor) => [n, x], zeros([], { dtype: "i32" }), xs));
    expect(await reset(4, tensor([1, 2]))[0].array()).toBe(4);
    const [last, before] = scan((c: Tensor, _: Tensor) => [7 as unknown as Tensor, c], zeros([], { dtype: "u32" }), tensor([1, 2]));
    expect([last.dtype, await last.item(), await before.array()]).toEqual(["u32", 7, [0, 7]]);
    expect(() => scan((c: Tensor, _: Tensor) => [1.5 as unknown as Tensor, c], zeros([], { dtype: "i32" }), tensor([1]))).toThrow(
      /carry is i32\[\], and the next one f32/,
    );
  });

  it("says what is wrong with steps, slices and carries", () => {
    const step = (c: Tensor, x: Tensor): [Tensor, Tensor] => [c.add(x), x];
    expect(() => scan(step, tensor(0), null as unknown as Tensor)).toThrow(OptionError);
    expect(() => scan((c: Tensor) => [c, null], tensor(0), { a: tensor([1, 2]), b: tensor([1]) })).toThrow(/xs at b is \[1\].*2 steps/);
    expect(() => scan((c: Tensor) => [c, null], tensor(0), tensor(1))).toThrow(ShapeError);
    expect(() => scan(step, tensor(0), [tensor(1), tensor(2)] as never)).toThrow(/xs at 0 is \[\], which has no slices/);
    expect(() => scan(step, tensor(0), tensor([1, 2]), { length: 3 })).toThrow(/3 steps/);
    expect(() =>
      scan((c: { a: Tensor; mode: string }, _: Tensor) => [{ ...c, mode: "b" }, null], { a: tensor(0), mode: "a" }, tensor([1])),
    ).toThrow(/carry holds "a", and the next one "b"/);
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

describe("the derivative of a scan", () => {
  it("leaves carries alone that depend on no variable, whatever they are", async () => {
    // A rule that closes over them has no derivative by them.
    const decayed = (xs: Tensor): Tensor =>
      scan(
        ({ rate, sum }: { rate: Tensor; sum: Tensor }, x: Tensor) => {
          const scaled = customVjp(
            (a: Tensor) => a.mul(rate),
            (a: Tensor) => [a.mul(rate), rate],
            (saved: Tensor, ct: Tensor) => [ct.mul(saved)],
          );
          return [{ rate: rate.mul(0.5), sum: sum.add(scaled(x)) }, null];
        },
        { rate: tensor(1), sum: tensor(0) },
        xs,
      )[0].sum;
    expect(await grad(decayed)(tensor([1, 2, 3])).array()).toEqual([1, 0.5, 0.25]);
  });

  it("follows a variable from carry to carry, until it has been everywhere", async () => {
    const moving = (x: Tensor): Tensor =>
      scan(
        ([a, b, c]: Tensor[]) => [[(a as Tensor).mul(1), (a as Tensor).mul(2), (b as Tensor).mul(3), (c as Tensor).mul(4)], null],
        [x, tensor(0), tensor(0), tensor(0)],
        null,
        { length: 3 },
      )[0][3] as Tensor;
    expect(await grad(moving)(tensor(1)).item()).toBe(24);
  });

  it("computes a loop once, though its pullback is called inside of another loop", () => {
    const jacobian = (x: Tensor): Tensor => {
      const [, pull] = vjp((at: Tensor) => scan((c: Tensor, w: Tensor) => [c.mul(w).sin(), c], tensor(1), at)[1], x);
      return scan(
        (none: null, row: Tensor) => [none, pull(row)[0]],
        null,
        tensor([
          [1, 0],
          [0, 1],
          [1, 1],
        ]),
      )[1];
    };
    const text = explain(jacobian, tensor([1, 2]));
    // The forward loop, and the rows, in each of which is the backward one.
    expect(lines(text, /loop.*count=/)).toBe(3);
    expect(lines(text, / sin\(/)).toBe(1);
  });
});

describe("bodies that differ in numbers alone", () => {
  it("are one program where nothing is compiled", async () => {
    const { backend, recorded } = createRecordingBackend();
    useBackend(backend);
    for (const rate of [0.1, 0.2, 0.3]) {
      const [p] = scan((w: Tensor, x: Tensor) => [w.sub(checkpoint((y: Tensor) => y.mul(rate))(x)), null], tensor(1), tensor([1, 2]));
      realizeNow([p, grad((x: Tensor) => scan((c: Tensor) => [c.mul(rate), null], x, null, { length: 3 })[0])(tensor(2))]);
    }
    expect(recorded.length).toBe(1);
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
    const leaking = (at: Tensor): Tensor =>
      scan(
        (c: Tensor, x: Tensor) => {
          const times = customVjp(
            (a: Tensor) => a.mul(c),
            (a: Tensor) => [a.mul(c), null],
            (_: null, ct: Tensor) => [ct.mul(c)],
          );
          return [c, times(x)];
        },
        tensor(2),
        at,
      )[1].sum();
    expect(() => realizeNow([grad(leaking)(tensor([1, 2]))])).toThrow(
      expect.objectContaining({ name: "UsageError", hint: expect.stringContaining("through its residuals") }),
    );
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

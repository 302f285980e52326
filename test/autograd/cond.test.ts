import { beforeAll, describe, expect, it } from "vitest";
import { checkGrads } from "../../src/autograd/check-grads.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  compile,
  cond,
  DtypeError,
  grad,
  hessian,
  OptionError,
  ShapeError,
  type Tensor,
  tensor,
  UsageError,
  useBackend,
  vmap,
  whileLoop,
} from "../../src/index.js";
import { floats } from "../support/floats.js";

beforeAll(() => {
  useBackend(createReferenceBackend());
});

const scalar = (x: number): Tensor => tensor([x], { dtype: "f64" }).sum();
/** √x for x > 0 and 3x² elsewhere: the root is NaN and its derivative infinite where it is not taken. */
const root = (x: Tensor): Tensor =>
  cond(
    x.greater(0),
    (at) => at.sqrt(),
    (at) => at.mul(at).mul(3),
    x,
  );

describe("cond", () => {
  it("has the values and the derivatives of any order of the side that is taken, whatever the other one gives", async () => {
    for (const [x, value, first, second] of [
      [4, 2, 0.25, -1 / 32],
      [-2, 12, -12, 6],
      [0, 0, 0, 6],
    ] as const) {
      expect(await root(scalar(x)).item()).toBeCloseTo(value, 12);
      expect(await grad(root)(scalar(x)).item()).toBeCloseTo(first, 12);
      expect(await grad(grad(root))(scalar(x)).item()).toBeCloseTo(second, 12);
      expect(await hessian(root)(scalar(x)).item()).toBeCloseTo(second, 12);
      expect(await compile((at: Tensor) => grad(grad(root))(at))(scalar(x)).item()).toBeCloseTo(second, 12);
    }
    // Third order, where the side that is not taken has infinities at every order before.
    expect(await grad(grad(grad(root)))(scalar(0)).item()).toBe(0);
  });

  it("chooses for each example under vmap", async () => {
    const xs = tensor([4, -2, 0], { dtype: "f64" });
    expect(await vmap(root)(xs).array()).toEqual([2, 12, 0]);
    expect(await vmap(grad(root))(xs).array()).toEqual([0.25, -12, 0]);
    expect(await grad((x: Tensor) => vmap(root)(x).sum())(xs).array()).toEqual([0.25, -12, 0]);
  });

  it("gives trees, and derivatives by what both sides close over", async () => {
    const w = floats([3], { seed: 1 });
    const f = (x: Tensor, v: Tensor): Tensor => {
      const { a, b } = cond(
        x.sum().greater(0),
        (at) => ({ a: at.mul(v), b: v.sum() }),
        (at) => ({ a: at.sub(v).sin(), b: at.sum() }),
        x,
      );
      return a.sum().mul(b);
    };
    for (const x of [floats([3], { seed: 2 }).abs(), floats([3], { seed: 2 }).abs().neg()]) await checkGrads(f, [x, w], { order: 2 });
  });

  it("refuses sides that differ, and conditions that are no bool scalars", () => {
    const x = floats([2]);
    const yes = x.sum().greater(0);
    const same = (at: Tensor): Tensor => at;
    expect(() => cond(x, same, same, x)).toThrow(DtypeError);
    expect(() => cond(x.greater(0), same, same, x)).toThrow(ShapeError);
    expect(() => cond(yes, same, (at) => at.sum(), x)).toThrow(ShapeError);
    expect(() => cond(yes, same, (at) => at.cast("i32"), x)).toThrow(DtypeError);
    expect(() =>
      cond(
        yes,
        (at: Tensor) => ({ a: at }),
        (at: Tensor) => ({ b: at }) as never,
        x,
      ),
    ).toThrow(UsageError);
  });
});

describe("whileLoop", () => {
  /** Newton's method for √a, until two estimates agree. */
  const newton = (a: Tensor): [Tensor, Tensor] => {
    const [{ x }, steps] = whileLoop(
      ({ x, before }) => x.sub(before).abs().greater(1e-9),
      ({ x }) => ({ x: x.add(a.div(x)).mul(0.5), before: x }),
      { x: a, before: a.add(1) },
      { maxSteps: 20 },
    );
    return [x, steps];
  };

  it("ends where its condition does, with the derivatives of the steps that were taken", async () => {
    const [x, steps] = newton(scalar(7));
    expect(await x.item()).toBeCloseTo(Math.sqrt(7), 12);
    const taken = await steps.item();
    expect(taken).toBeGreaterThan(3);
    expect(taken).toBeLessThan(20);
    expect(await grad((a: Tensor) => newton(a)[0])(scalar(7)).item()).toBeCloseTo(0.5 / Math.sqrt(7), 9);
    const [roots, counts] = vmap(newton)(tensor([7, 1, 100], { dtype: "f64" }));
    for (const [i, a] of [7, 1, 100].entries()) expect((await roots.data())[i]).toBeCloseTo(Math.sqrt(a), 9);
    expect(new Set(await counts.data()).size).toBeGreaterThan(1);
  });

  it("takes no step where the condition does not hold, and no more than maxSteps", async () => {
    const count = (limit: number, maxSteps: number): [Tensor, Tensor] =>
      whileLoop(
        (c) => c.less(limit),
        (c) => c.add(1),
        scalar(0),
        { maxSteps },
      );
    for (const [limit, most, expected] of [
      [0, 5, 0],
      [3, 5, 3],
      [9, 5, 5],
      [9, 0, 0],
    ] as const) {
      const [value, steps] = count(limit, most);
      expect([await value.item(), await steps.item()]).toEqual([expected, expected]);
    }
    expect(() => count(1, -1)).toThrow(OptionError);
  });
});

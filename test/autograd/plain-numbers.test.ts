import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from "vitest";
import { type Decision, WeakScalar } from "../../src/autograd/weak-scalar.js";
import {
  type Backend,
  type Compiled,
  compile,
  createTrainStep,
  type DType,
  GradientError,
  grad,
  init,
  sgd,
  type Tensor,
  type TensorLike,
  tensor,
  UsageError,
  useBackend,
} from "../../src/index.js";

const backends = ["reference", "wasm", "webgpu"] as const;
const opened = new Map<string, Backend>();

beforeAll(async () => {
  for (const backend of backends) opened.set(backend, await init({ backend, ...(backend === "webgpu" ? { adapter: "software" } : {}) }));
});
afterAll(async () => {
  for (const backend of opened.values()) await backend.close();
});

type Operation = (x: Tensor, n: TensorLike) => Tensor;
const operations: Readonly<Record<string, Operation>> = {
  add: (x, n) => x.add(n),
  sub: (x, n) => x.sub(n),
  mul: (x, n) => x.mul(n),
  div: (x, n) => x.div(n),
  pow: (x, n) => x.pow(n),
  maximum: (x, n) => x.maximum(n),
  minimum: (x, n) => x.minimum(n),
  less: (x, n) => x.less(n),
  lessEqual: (x, n) => x.lessEqual(n),
  greater: (x, n) => x.greater(n),
  greaterEqual: (x, n) => x.greaterEqual(n),
  equal: (x, n) => x.equal(n),
  notEqual: (x, n) => x.notEqual(n),
};

describe("what a trace decides by a number", () => {
  it.each(Object.entries(operations))("is noted once, however often %s asks", async (_, operate) => {
    for (const dtype of ["f32", "i32", "u32", "bool"] as const) {
      for (const number of [0, 1, 2, 2.5, 7]) {
        const decisions: Decision[] = [];
        const n = new WeakScalar({ kind: "argument", trace: {}, position: 0 }, number, decisions);
        const x = tensor([1, 0], { dtype });
        operate(x, n);
        const asked = decisions.length;
        const made = new Set(decisions.map(({ map, test }) => `${map?.toString()} ${test.toString()}`));
        expect(made.size).toBe(asked);
        for (let i = 0; i < 3; i++) operate(x, n);
        expect(decisions).toHaveLength(asked);
      }
    }
  });
});

/** Numbers around which rules of dtypes change their mind. */
const telling = fc.oneof(
  fc.constantFrom(
    0,
    -0,
    1,
    2,
    3,
    -1,
    0.5,
    2.5,
    -1.5,
    2 ** 24 + 1,
    2 ** 31 - 1,
    2 ** 31,
    -(2 ** 31),
    -(2 ** 31) - 1,
    2 ** 32 - 1,
    2 ** 32,
    3e9,
  ),
  fc.integer({ min: -10, max: 10 }),
  fc.double({ min: -10, max: 10, noNaN: true }),
);

const valuesOf: Readonly<Record<"f32" | "f16" | "i32" | "u32", readonly number[]>> = {
  f32: [0.5, -2, 3],
  f16: [0.5, -2, 3],
  i32: [1, -2, 2 ** 31 - 1, -(2 ** 31), 20_000_001],
  u32: [1, 2 ** 32 - 1, 20_000_001],
};

/** What a computation gives: dtype and numbers, or the name of its error. */
async function outcome(compute: () => Tensor): Promise<string | [DType, number[]]> {
  try {
    const y = compute();
    return [y.dtype, Array.from(await y.data())];
  } catch (error) {
    return (error as Error).name;
  }
}

/** The same dtype and the same numbers; WGSL's powers and quotients of constants may round otherwise than those of data. */
function expectSame(found: string | [DType, number[]], expected: string | [DType, number[]], exact: boolean): void {
  if (exact || typeof found === "string" || typeof expected === "string") {
    expect(found).toEqual(expected);
    return;
  }
  expect(found[0]).toBe(expected[0]);
  found[1].forEach((value, i) => {
    const wanted = expected[1][i] as number;
    if (!Number.isFinite(wanted)) expect(value).toBe(wanted);
    else expect(Math.abs(value - wanted)).toBeLessThanOrEqual(2e-6 * Math.abs(wanted));
  });
}

describe.each(backends)("a plain number beside a tensor on %s", (name) => {
  const dtypes = (["f32", "f16", "i32", "u32"] as const).filter((dtype) => name !== "webgpu" || dtype !== "f16");

  it("means the same in a function as it is, compiled, and compiled as a part of another", async () => {
    useBackend(opened.get(name));
    const compiled = Object.fromEntries(Object.entries(operations).map(([op, f]) => [op, compile(f)]));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...Object.keys(operations)), fc.constantFrom(...dtypes), telling, async (op, dtype, n) => {
        const f = operations[op] as Operation;
        const x = tensor([...valuesOf[dtype]], { dtype });
        const expected = await outcome(() => f(x, n));
        const program = compiled[op] as Compiled<[Tensor, TensorLike], Tensor>;
        const exact = name !== "webgpu" || !["pow", "div"].includes(op);
        expectSame(await outcome(() => program(x, n)), expected, exact);
        expectSame(await outcome(() => compile((y: Tensor) => program(y, n))(x)), expected, exact);
      }),
      { numRuns: 120, seed: 5 },
    );
  });

  it("reaches integers whole", async () => {
    useBackend(opened.get(name));
    const f = compile((x: Tensor, n: Tensor) => x.add(n));
    for (const n of [2 ** 24 + 1, 2 ** 31 - 5, -(2 ** 31) + 3]) {
      const y = f(tensor([0, 1], { dtype: "i32" }), n);
      expect([y.dtype, await y.array()]).toEqual(["i32", [n, n + 1]]);
    }
    expect(f.traces).toBe(1);
  });
});

describe("inside of a compiled function a plain number", () => {
  beforeAll(() => {
    useBackend(opened.get("reference"));
  });

  const x = (): Tensor => tensor([1, 2]);
  const wrong: readonly (readonly [what: string, f: (x: Tensor, n: never) => unknown])[] = [
    ["compared", (t, n: number) => (n > 2 ? t : t.neg())],
    [
      "counted to",
      (t, n: number) => {
        let y = t;
        for (let i = 0; i < n; i++) y = y.mul(2);
        return y;
      },
    ],
    ["given to a function of Math", (t, n: number) => t.mul(Math.sqrt(n))],
    ["added by +", (t, n: number) => t.mul(n + 1)],
    ["an extent", (t, n: number) => t.sum().expand([n])],
  ];

  it.each(wrong)("cannot be %s, and static is named", (_, f) => {
    const run = compile(f as unknown as (x: Tensor, n: Tensor) => unknown);
    let error: Error | undefined;
    try {
      run(x(), 3);
    } catch (found) {
      error = found as Error;
    }
    expect(error?.name).toMatch(/UsageError|ShapeError|OptionError/);
    if (error instanceof UsageError) expect(error.hint).toContain("static");
    // The same function computes when the number is static.
    expect(() => compile(f as unknown as (x: Tensor, n: number) => unknown, { static: [1] })(x(), 3)).not.toThrow();
  });

  it("takes the branch of its value when it is static", async () => {
    const f = compile((t: Tensor, n: number) => (n > 2 ? t : t.neg()), { static: [1] });
    expect(await f(x(), 3).array()).toEqual([1, 2]);
    expect(await f(x(), 1).array()).toEqual([-1, -2]);
    expect(f.traces).toBe(2);
  });

  it("in a batch is refused where a loss branches by it", () => {
    const loss = (w: Tensor, batch: { epoch: TensorLike }): Tensor => ((batch.epoch as number) > 2 ? w.sum() : w.square().sum());
    const step = createTrainStep({ optimizer: sgd(), loss });
    expect(() => step(x(), { velocity: null }, { epoch: 3 }, 0.1)).toThrow(UsageError);
  });

  it("is one program for every number that the trace cannot tell apart", async () => {
    const f = compile((t: Tensor, n: Tensor) => t.mul(n));
    for (const lr of [0.1, 0.01, 3, -7.5]) expect(await f(x(), lr).array()).toEqual([Math.fround(lr), 2 * Math.fround(lr)]);
    expect(f.traces).toBe(1);
  });

  it("has a derivative, and comes back as a tensor", async () => {
    expect(await compile((n: Tensor) => grad((m: Tensor) => m.mul(m))(n))(3).item()).toBe(6);
    const back = compile((n: Tensor) => n)(2.5);
    expect([back.dtype, await back.data()]).toEqual(["f32", Float32Array.of(2.5)]);
  });

  it("has the types that it has at run time", () => {
    const f = compile((t: Tensor, n: Tensor, options: { scale: TensorLike }) => t.mul(n).mul(options.scale));
    expectTypeOf(f).toBeCallableWith(tensor(1), 3, { scale: 2 });
    expectTypeOf(f).toBeCallableWith(tensor(1), tensor(3), { scale: tensor(2) });
    expectTypeOf(compile((t: Tensor, n: number) => t.mul(n), { static: [1] })).toBeCallableWith(tensor(1), 3);
    // @ts-expect-error: a number that is not static arrives as a tensor
    compile((t: Tensor, n: number) => t.mul(n));
    // @ts-expect-error: another position is static
    compile((t: Tensor, n: number, m: number) => t.mul(n).mul(m), { static: [2] });
    // @ts-expect-error: a field of a batch arrives as a tensor too
    createTrainStep({ optimizer: sgd(), loss: (w: Tensor, batch: { epoch: number }) => w.mul(batch.epoch).sum() });
    expect(f.traces).toBe(0);
  });
});

describe("a tensor used as a number", () => {
  const uses: readonly (readonly [string, (t: never) => unknown])[] = [
    ["compared", (t: number) => t < 2],
    ["added to", (t: number) => t + 1],
    ["negated", (t: number) => -t],
    ["given to Math", (t: number) => Math.sqrt(t)],
    ["converted", (t: number) => Number(t)],
  ];
  it.each(uses)("is an error when it is %s", (_, use) => {
    for (const t of [tensor([1, 2]), tensor(1), tensor([1]).mul(2)]) expect(() => use(t as never)).toThrow(UsageError);
  });

  it("can be written into a text", () => {
    expect(`${tensor([1, 2])}`).toBe("Tensor f32[2] (host)");
    expect(String(tensor([1, 2]).mul(2))).toBe("Tensor f32[2] = mul(…)");
  });
});

it("an async function is refused, and what it rejects with goes no further", async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): unknown => unhandled.push(reason);
  process.on("unhandledRejection", note);
  try {
    const rejects = (): Promise<Tensor> => Promise.reject(new Error("inside"));
    expect(() => compile(rejects)()).toThrow(UsageError);
    expect(() => grad(rejects as unknown as (x: Tensor) => Tensor)(tensor(1))).toThrow(GradientError);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(unhandled).toEqual([]);
  } finally {
    process.off("unhandledRejection", note);
  }
});

it("numbers beside halves and integers keep their dtype", () => {
  const kept: readonly DType[] = ["f16", "bf16", "i32", "u32"];
  for (const dtype of kept) expect(tensor([1, 2], { dtype }).add(3).dtype).toBe(dtype);
});

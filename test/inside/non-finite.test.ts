import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { CheckingBackend } from "../../src/backend/checking.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import {
  adamw,
  attention,
  type Backend,
  checkpoint,
  compile,
  cond,
  createTrainStep,
  customVjp,
  elu,
  findNonFinite,
  gelu,
  grad,
  init,
  key,
  Llama,
  languageLoss,
  log1p,
  logSoftmax,
  logSumExp,
  matmul,
  NonFiniteError,
  OptionError,
  randn,
  realize,
  rsqrt,
  scan,
  silu,
  sinh,
  softmax,
  softplus,
  square,
  type Tensor,
  tensor,
  UsageError,
  useBackend,
  variance,
  vmap,
  where,
  withBackend,
  zeros,
} from "../../src/index.js";
import type { LanguageBatch } from "../../src/nn/batch.js";
import { randomBatch, tinyConfig } from "../nn/tiny.js";

const here = fileURLToPath(import.meta.url);
const backends: Backend[] = [];
beforeAll(async () => {
  backends.push(createReferenceBackend(), await createWasmBackend({ threads: 1 }), await createWebGpuBackend());
});
afterAll(() => Promise.all(backends.map((backend) => backend.close())));
beforeEach(() => {
  useBackend(backends[0]);
});

let source: string[] = [];
beforeAll(async () => {
  source = (await readFile(here, "utf8")).split("\n");
});
/** The line of this file with a mark in it, as an error names it. */
const lineWith = (mark: string): RegExp =>
  new RegExp(`non-finite\\.test\\.ts:${1 + source.findIndex((line) => line.includes(`// ${mark}`))}:\\d+$`);

/** What is found, which must be something. */
async function found(f: (x: Tensor) => unknown, x: Tensor): Promise<NonFiniteError & { origin: NonNullable<NonFiniteError["origin"]> }> {
  const error = await findNonFinite(f, x);
  if (error?.origin === undefined) throw new Error("nothing was found");
  return error as Awaited<ReturnType<typeof found>>;
}

describe("findNonFinite names what made the first NaN or infinity:", () => {
  it("the logarithm of a negative number, on every backend", async () => {
    for (const backend of backends) {
      useBackend(backend);
      const { origin, message, hint } = await found(
        (x) => x.add(1).log().sum(), // log of a negative number
        tensor([0.5, -3, 1, -2]),
      );
      expect(origin).toMatchObject({ operation: "log", value: "NaN", count: 2, index: [1], shape: [4], rule: undefined, steps: [] });
      expect(origin.inputs).toEqual([{ shape: [4], dtype: "f32", nan: 0, infinite: 0, least: -2, greatest: 2 }]);
      expect(origin.line).toMatch(lineWith("log of a negative number"));
      expect(message).toMatch(/^realize: log made NaN at \[1\] of f32\[4\] \(2 of 4\) of f32\[4\] \(-2 … 2\), at .*non-finite\.test\.ts:/);
      expect(hint).toContain("log is");
    }
  });

  it("0/0, and the place in a matrix", async () => {
    const zeroByZero = (x: Tensor): Tensor => x.div(x).mul(2); // zero by zero
    const matrix = tensor([
      [1, 2],
      [3, 0],
    ]);
    const { origin, hint } = await found(zeroByZero, matrix);
    expect(origin).toMatchObject({ value: "NaN", index: [1, 1], count: 1 });
    expect(["div", "mul", "recip"]).toContain(origin.operation);
    expect(origin.line).toMatch(lineWith("zero by zero"));
    expect(hint).not.toBe("");
  });

  it("an exponential that overflows, and the library's function that it is part of", async () => {
    const exponential = await found((x) => x.exp().add(1).log(), tensor([1, 2, 100]));
    expect(exponential.origin).toMatchObject({ operation: "exp", value: "Infinity", index: [2], count: 1 });
    expect(exponential.hint).toContain("88.7");
    const inside = await found((x) => softmax(x.log()), tensor([-1, 1])); // inside of softmax
    expect(inside.origin.operation).toBe("log");
    const called = await found((x) => x.sub(2).rsqrt(), tensor([2, 3])); // one over a root
    expect(called.origin.line).toMatch(lineWith("one over a root"));
    expect(called.origin.value).toBe("Infinity");
  });

  it("the gradient of √x at 0: the rule, and the line of the root", async () => {
    const f = (x: Tensor): Tensor => {
      const root = x.sqrt(); // the root
      return root.sum();
    };
    for (const g of [grad(f), compile(grad(f)), compile(grad((x: Tensor) => compile(f)(x))), vmap(grad(f))]) {
      const x = g === undefined ? zeros([2]) : tensor([[1, 0]]);
      const { origin, message, hint } = await found((y) => (g as typeof f)(y), x);
      expect(origin).toMatchObject({ value: "Infinity", rule: { of: "sqrt", formula: "x̄ = ȳ/(2y)" } });
      expect(origin.line).toMatch(lineWith("the root"));
      expect(message).toContain("in the gradient of sqrt, x̄ = ȳ/(2y), made Infinity");
      expect(hint).toContain("derivative infinite at 0");
    }
  });

  it("what is inside of loops, with their step, of their gradients and of calls", async () => {
    const halves = (x: Tensor): Tensor =>
      scan(
        (c: Tensor) => [c.sub(1), c.log()], // in a loop
        x,
        null as unknown as Tensor,
        { length: 4 },
      )[1].sum();
    const { origin, message } = await found(halves, tensor([1.5]));
    expect(origin).toMatchObject({ operation: "log", value: "NaN", steps: [2] });
    expect(origin.line).toMatch(lineWith("in a loop"));
    expect(message).toContain("in step 2 of the loop");

    const roots = (x: Tensor): Tensor => scan((c: Tensor, y: Tensor) => [c, y.sqrt()], tensor([0]), x)[1].sum(); // roots in a loop
    const inGradient = await found(compile(grad(roots)), tensor([[4], [1], [0], [1]]));
    expect(inGradient.origin).toMatchObject({ value: "Infinity", steps: [2], rule: { of: "sqrt" } });
    expect(inGradient.origin.line).toMatch(lineWith("roots in a loop"));

    const again = (x: Tensor): Tensor => checkpoint((y: Tensor) => y.log())(x).sum(); // in a call
    expect((await found(grad(again), tensor([0]))).origin.line).toMatch(lineWith("in a call"));
    const chosen = (x: Tensor): Tensor =>
      cond(
        x.sum().less(0),
        (y: Tensor) => y.log(), // in a branch
        (y: Tensor) => y,
        x,
      ) as Tensor;
    expect((await found(chosen, tensor([-1]))).origin.line).toMatch(lineWith("in a branch"));
    const own = customVjp(
      (x: Tensor) => x.mul(2),
      (x: Tensor) => [x.mul(2), x] as const,
      (x: Tensor, ct: Tensor) => [ct.div(x)], // a derivative of one's own
    );
    expect(
      (
        await found(
          grad((x: Tensor) => own(x).sum()),
          tensor([0]),
        )
      ).origin,
    ).toMatchObject({ value: "Infinity" });
  });

  it("what came in from outside, by the name of the argument", async () => {
    const f = compile((p: { w: Tensor }, x: Tensor) => p.w.mul(x).sum(), { name: "step" });
    const error = await findNonFinite(f, { w: tensor([1, Number.NaN]) }, tensor([1, 2]));
    expect(error?.message).toContain("step: argument 0 w holds NaN at [1] of f32[2] (1 of 2)");
    expect(error?.origin).toMatchObject({ operation: "input", value: "NaN" });
    const infinite = await findNonFinite(f, { w: tensor([1, 2]) }, tensor([1, Number.NEGATIVE_INFINITY]));
    expect(infinite?.message).toContain("argument 1 holds Infinity");
  });

  it("nothing where all is finite, and nothing of infinities that stand in the program", async () => {
    expect(await findNonFinite((x: Tensor) => softmax(x).log().sum(), tensor([1, 2]))).toBeUndefined();
    expect(await findNonFinite((x: Tensor) => softmax(where(x.less(0), Number.NEGATIVE_INFINITY, x)), tensor([-1, 2, 1]))).toBeUndefined();
    expect(await findNonFinite((x: Tensor) => x.pad([[1, 0]], Number.NEGATIVE_INFINITY).max(), tensor([1, 2]))).toBeUndefined();
    expect(await findNonFinite((x: Tensor) => [x.argmax(), x.greater(1), zeros([0]).log(), 3], tensor([1, 2]))).toBeUndefined();
    const usual = [softmax, logSoftmax, logSumExp, softplus, gelu, silu, elu, sinh, log1p, rsqrt, variance, square] as readonly ((
      x: Tensor,
    ) => Tensor)[];
    const all = (x: Tensor): Tensor[] => usual.flatMap((f) => [f(x), grad((y: Tensor) => f(y).sum())(x)]);
    expect(await findNonFinite(all, tensor([0.5, 1, 30]))).toBeUndefined();
    await expect(findNonFinite(3 as never)).rejects.toThrow(OptionError);
    await expect(findNonFinite(async (x: Tensor) => x, tensor(1))).rejects.toThrow(UsageError);
    await expect(
      findNonFinite(() => {
        throw new RangeError("mine");
      }),
    ).rejects.toThrow(RangeError);
  });

  it("and leaves everything as it was: numbers, memory and the current backend", async () => {
    for (const backend of backends.slice(0, 2)) {
      useBackend(backend);
      const w = randn(key(3), [4, 4]);
      await realize(w);
      const live = backend.memory().liveBytes;
      expect(await findNonFinite((x: Tensor) => void grad((y: Tensor) => matmul(y, w).tanh().sum())(x), zeros([2, 4]))).toBeUndefined();
      expect(await findNonFinite((x: Tensor) => x.add(w).sub(100).log().sum().exp(), w)).toBeInstanceOf(NonFiniteError);
      expect(useBackend(backend)).toBe(backend);
      expect(backend.memory().byOwner.value ?? 0, backend.info.name).toBeLessThanOrEqual(live + 64);
      expect(await w.sum().item()).toEqual(expect.any(Number));
    }
  });
});

describe('init({ debug: "non-finite" })', () => {
  it("throws where numbers are read or waited for, and goes on afterwards", async () => {
    const backend = await init({ backend: "reference", debug: "non-finite" });
    const bad = (): Tensor => tensor([1, -1]).sqrt(); // made under debug
    for (const wait of [() => bad().data(), () => bad().sum().item(), () => realize({ x: bad() })]) {
      const error = await wait().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(NonFiniteError);
      expect((error as NonFiniteError).origin?.line).toMatch(lineWith("made under debug"));
    }
    expect(await tensor([4, 9]).sqrt().array()).toEqual([2, 3]);
    // Graphs of one structure come from different lines.
    const one = tensor([-1]).log(); // the one
    const other = tensor([-1]).log(); // the other
    const lineOf = (x: Tensor): Promise<unknown> => x.data().catch((error: NonFiniteError) => error.origin?.line);
    const [first, second] = [await lineOf(one), await lineOf(other)];
    expect([first, second]).toEqual([expect.stringMatching(lineWith("the one")), expect.stringMatching(lineWith("the other"))]);
    await backend.close();
  });

  it('lets infinities pass with "nan", and refuses other words', async () => {
    const backend = await init({ backend: "reference", debug: "nan" });
    expect(await tensor([0]).log().array()).toEqual([Number.NEGATIVE_INFINITY]);
    await expect(tensor([-1]).log().array()).rejects.toThrow(NonFiniteError);
    await expect(init({ debug: "everything" as never })).rejects.toThrow(OptionError);
    await backend.close();
  });

  it("computes what the backend computes: models, steps of training, random numbers, donated memory", async () => {
    const results: unknown[] = [];
    for (const debug of [false, true]) {
      const plain = createReferenceBackend();
      const backend = debug ? new CheckingBackend(plain, "non-finite") : plain;
      await withBackendAsync(backend, async () => {
        const optimizer = adamw();
        let model = new Llama(tinyConfig, { key: key(0) });
        let state = optimizer.init(model);
        const step = createTrainStep({ optimizer, loss: (m: Llama, batch: LanguageBatch) => languageLoss(m, batch) });
        const losses: number[] = [];
        for (let i = 0; i < 2; i++) {
          const [next, nextState, { loss }] = step(model, state, randomBatch(tinyConfig, { batch: 2, time: 6, seed: i }), 0.01);
          [model, state] = [next, nextState];
          losses.push(Math.fround(await loss.item()));
        }
        const more = [
          await attention(zeros([1, 1, 4, 2]), randn(key(1), [1, 1, 4, 2]), randn(key(2), [1, 1, 4, 2]), { causal: true }).array(),
          await compile((x: Tensor) => [x, x, x.add(0)])(tensor([1, 2]))[1]?.array(),
          await scan(
            (c: Tensor, x: Tensor) => [c.add(x), c],
            zeros([2]),
            tensor([
              [1, 2],
              [3, 4],
            ]),
            { reverse: true },
          )[1].array(),
        ];
        results.push({ losses, more });
      });
      await plain.close();
    }
    const [plain, debugged] = results as { losses: number[]; more: unknown }[];
    expect(debugged?.more).toEqual(plain?.more);
    debugged?.losses.forEach((loss, i) => {
      expect(loss).toBeCloseTo(plain?.losses[i] as number, 4);
    });
  });
});

async function withBackendAsync(backend: Backend, f: () => Promise<void>): Promise<void> {
  const before = useBackend(backend);
  try {
    await f();
  } finally {
    useBackend(before);
  }
}

it("a tensor of a backend that is looked at and one of the backend itself may meet", async () => {
  const base = backends[1] as Backend;
  const checking = new CheckingBackend(base, "nan");
  useBackend(base);
  const x = tensor([1, 2]).add(1);
  await realize(x);
  const y = withBackend(checking, () => x.mul(2));
  expect(await y.add(x).array()).toEqual([6, 9]);
  checking.forget();
});

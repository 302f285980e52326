import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { checkGrads } from "../../src/autograd/check-grads.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import {
  compile,
  GradientError,
  grad,
  memory,
  realize,
  stopGradient,
  type Tensor,
  tensor,
  UsageError,
  useBackend,
  valueAndGrad,
} from "../../src/index.js";
import { type FunctionRecipe, functionRecipes } from "../support/arbitraries.js";
import { floats, numbersOf, weighted } from "../support/floats.js";
import { fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";
import { randomFunction } from "../support/random-functions.js";

const seed = fuzzSeed(43);
const inputs = ({ rows, columns, seed: start }: FunctionRecipe): [Tensor, Tensor] => [
  floats([rows, columns], { seed: start + 1 }),
  floats([rows, columns], { seed: start + 2 }),
];

/** Value, and gradient by both arguments, of a random function. */
const step = (recipe: FunctionRecipe) => {
  const f = randomFunction(recipe);
  return valueAndGrad(([x, y]: [Tensor, Tensor]) => weighted(f(x, y)));
};
const listed = async ([value, gradients]: [Tensor, [Tensor, Tensor]]): Promise<number[][]> =>
  Promise.all([value, ...gradients].map(numbersOf));

beforeEach(() => {
  useBackend(createReferenceBackend());
});

describe("compile(f) is f", () => {
  law(
    "compile(f) is f, to the bit",
    "A compiled function gives the bits of the function, value and gradient, on every call: compile(f)(x) = f(x).",
    async () => {
      const holds = fc.asyncProperty(functionRecipes, async (recipe) => {
        const f = step(recipe);
        const compiled = compile(f);
        const at = inputs(recipe);
        const expected = await listed(f(at));
        expect(await listed(compiled(at))).toEqual(expected);
        const other = inputs({ ...recipe, seed: recipe.seed + 7 });
        expect(await listed(compiled(other))).toEqual(await listed(f(other)));
        expect(await listed(compiled(at))).toEqual(expected);
        expect(compiled.traces).toBe(1);
      });
      await fc.assert(holds, { seed, numRuns: 40 });
    },
  );

  law(
    "donating changes no number",
    "A program that takes over the buffers of its arguments computes what it computes beside them: compile(f, { donate })(x) = f(x), step after step.",
    async () => {
      const holds = fc.asyncProperty(functionRecipes, async (recipe) => {
        const gradient = grad(([x, y]: [Tensor, Tensor]) => weighted(randomFunction(recipe)(x, y)));
        const descend = (p: [Tensor, Tensor], lr: Tensor | number): [Tensor, Tensor] => {
          const [dx, dy] = gradient(p);
          return [p[0].sub(dx.mul(lr)), p[1].sub(dy.mul(lr))];
        };
        const donating = compile(descend, { donate: [0] });
        let [plain, fast] = [inputs(recipe), inputs(recipe)];
        for (let i = 0; i < 5; i++) {
          const lr = 0.01 * (i + 1);
          plain = descend(plain, lr);
          await realize(plain);
          fast = donating(fast, lr);
        }
        expect(await Promise.all(fast.map(numbersOf))).toEqual(await Promise.all(plain.map(numbersOf)));
        expect(donating.traces).toBe(1);
      });
      await fc.assert(holds, { seed, numRuns: 20 });
    },
  );
});

describe("checkGrads on webgpu", { timeout: 120_000 }, () => {
  it("holds f32 derivatives against differences, and tells wrong ones", async () => {
    const gpu = await createWebGpuBackend();
    try {
      useBackend(gpu);
      const [x, w] = [tensor([0.3, -0.8, 1.2]), tensor([0.5, 0.1, -0.4])];
      await checkGrads((a: Tensor, b: Tensor) => a.softmax().mul(b.tanh()), [x, w], { order: 2 });
      await expect(checkGrads((a: Tensor) => a.mul(stopGradient(a)), [x])).rejects.toThrow(GradientError);
    } finally {
      await gpu.close();
    }
  });
});

describe("what a compiled function takes for data", () => {
  law(
    "numbers are data",
    "A number among the arguments of a compiled function is an input of its program: it is traced once, and its results follow the number.",
    async () => {
      const decay = compile((x: Tensor, options: { lr: number; schedule: number[] }) =>
        x.mul(options.lr).add(options.schedule[1] as number),
      );
      const holds = fc.asyncProperty(fc.integer({ min: -64, max: 64 }), fc.integer({ min: -64, max: 64 }), async (a, b) => {
        const found = await numbersOf(decay(tensor([1, 2]), { lr: a / 8, schedule: [0, b] }));
        expect(found).toEqual([a / 8 + b, a / 4 + b]);
        expect(decay.traces).toBe(1);
      });
      await fc.assert(holds, { seed, numRuns: 30 });
    },
  );

  it("is every tensor that it closes over, by reference", async () => {
    const w = tensor([2, 3]);
    const times = compile((x: Tensor) => x.mul(w));
    expect(await numbersOf(times(tensor([1, 1])))).toEqual([2, 3]);
    w.dispose();
    expect(await numbersOf(times(tensor([2, 1])))).toEqual([4, 3]);
  });

  it("is also a scalar tensor, wherever it lies", async () => {
    const times = compile((x: Tensor, s: Tensor) => x.mul(s));
    const onHost = tensor(3);
    const onDevice = tensor(2).mul(2);
    await realize(onDevice);
    for (const s of [onHost, onDevice, onHost, onDevice]) expect(await times(tensor([1]), s).item()).toBe(s === onHost ? 3 : 4);
    expect(times.traces).toBe(1);
  });
});

describe("a compiled function is traced again", () => {
  it("for other shapes, dtypes and forms, once each", async () => {
    const total = compile((tree: readonly Tensor[]) => tree.reduce((sum, t) => sum.add(t.sum()), tensor(0)));
    const forms = new Set<string>();
    const holds = fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 2 }), async (lengths) => {
      forms.add(lengths.join());
      const call = (): Promise<number> => total(lengths.map((n) => tensor(new Array<number>(n).fill(1)))).item();
      expect(await call()).toBe(lengths.reduce((a, b) => a + b, 0));
      await call();
      expect(total.traces).toBe(forms.size);
    });
    await fc.assert(holds, { seed, numRuns: 40 });
    expect(forms.size).toBeGreaterThan(6);
    total([tensor([1, 2], { dtype: "i32" })]);
    expect(total.traces).toBe(forms.size + 1);
  });

  it("for another static argument, but not for the same one", async () => {
    const power = compile((x: Tensor, n: number, name: string) => x.pow(n).mul(name.length), { static: [1, 2] });
    expect(await power(tensor([2]), 4, "ab").item()).toBe(32);
    expect(await power(tensor([3]), 4, "ab").item()).toBe(162);
    expect(power.traces).toBe(1);
    expect(await power(tensor([2]), 5, "ab").item()).toBe(64);
    expect(await power(tensor([2]), 5, "abc").item()).toBe(96);
    expect(power.traces).toBe(3);
  });

  it("for a module of another class or with another function in a field", async () => {
    class Double {
      constructor(readonly w: Tensor) {}
      call(): Tensor {
        return this.w.mul(2);
      }
    }
    class Triple extends Double {
      override call(): Tensor {
        return this.w.mul(3);
      }
    }
    const call = compile((module: Double) => module.call());
    expect(await call(new Double(tensor([1]))).item()).toBe(2);
    expect(await call(new Triple(tensor([1]))).item()).toBe(3);
    expect(await call(new Double(tensor([5]))).item()).toBe(10);
    expect(call.traces).toBe(2);
    const activate = compile((layer: { w: Tensor; activation: (x: Tensor) => Tensor }) => layer.activation(layer.w));
    const negate = (x: Tensor): Tensor => x.neg();
    expect(await activate({ w: tensor([1]), activation: negate }).item()).toBe(-1);
    expect(await activate({ w: tensor([1]), activation: (x) => x.add(9) }).item()).toBe(10);
    expect(await activate({ w: tensor([4]), activation: negate }).item()).toBe(-4);
    expect(activate.traces).toBe(2);
  });

  it("and what is neither data nor static is refused with its place", () => {
    const f = compile((options: { x: Tensor; mode: string }) => options.x);
    expect(() => f({ x: tensor([1]), mode: "train" })).toThrow(UsageError);
    expect(() => f({ x: tensor([1]), mode: "train" })).toThrow(/argument 0 holds string "train" at mode/);
    const numbers = compile((options: { x: Tensor; table: Float32Array }) => options.x);
    expect(() => numbers({ x: tensor([1]), table: new Float32Array(4096) })).toThrow(/argument 0 holds a Float32Array at table/);
  });
});

describe("memory", () => {
  law(
    "memory is flat",
    "Running a program leaves no bytes behind: once its results are disposed, live bytes are what they were before.",
    async () => {
      const holds = fc.asyncProperty(functionRecipes, fc.boolean(), async (recipe, donates) => {
        useBackend(createReferenceBackend());
        const compiled = compile(step(recipe), { donate: donates ? [0] : [] });
        const own = (): [Tensor, Tensor] => inputs(recipe);
        const before = memory();
        const results = compiled(own());
        expect(memory().liveBytes - before.liveBytes).toBe(bytesOf([results[0], ...results[1]]));
        const runs = (count: number): void => {
          for (let i = 0; i < count; i++) {
            const [value, gradients] = compiled(own());
            for (const t of [value, ...gradients]) t.dispose();
          }
        };
        // What the function closes over is uploaded to stay when it is used for the second time.
        runs(1);
        const rest = memory();
        runs(3);
        expect([memory().liveBytes, memory().liveBuffers]).toEqual([rest.liveBytes, rest.liveBuffers]);
      });
      await fc.assert(holds, { seed, numRuns: 25 });
    },
  );

  it("goes back with the scope of `using`, and disposing twice is harmless", async () => {
    const before = memory().liveBuffers;
    {
      using x = tensor(new Array<number>(100).fill(1)).mul(2);
      await realize(x);
      expect(memory().liveBuffers).toBe(before + 1);
      x.dispose();
    }
    expect(memory().liveBuffers).toBe(before);
  });
});

/** Bytes on the reference, where f64 takes eight. */
const bytesOf = (tensors: readonly Tensor[]): number => [...new Set(tensors)].reduce((sum, t) => sum + 8 * t.size, 0);

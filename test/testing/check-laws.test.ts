import { readFileSync } from "node:fs";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import * as dawngrad from "../../src/index.js";
import { customVjp, GradientError, matmul, OptionError, stopGradient, type Tensor, tensor, useBackend } from "../../src/index.js";
import * as testing from "../../src/testing/index.js";
import {
  axes,
  axisLists,
  broadcastPairs,
  checkLaws,
  dtypes,
  LawError,
  permutations,
  shapes,
  tensors,
  values,
} from "../../src/testing/index.js";

beforeAll(() => {
  useBackend(createReferenceBackend());
});

class Layer {
  constructor(
    readonly w: Tensor,
    readonly b: Tensor,
  ) {}
  call(x: Tensor): Tensor {
    return matmul(x, this.w).add(this.b).tanh();
  }
}

describe("the laws", () => {
  it("hold for the example of docs/laws.md", async () => {
    const page = readFileSync(new URL("../../docs/laws.md", import.meta.url), "utf8");
    const code = /```ts\n([\s\S]*?)```/.exec(page)?.[1] as string;
    expect(code.trim().split("\n").length).toBeLessThan(6);
    const body = code
      .replace(/^import type .*\n/, "")
      .replace(/import \{([^}]*)\} from "dawngrad\/testing";/, "const {$1} = testing;")
      .replaceAll(": Tensor", "");
    const AsyncFunction = (async () => {}).constructor as new (...lines: string[]) => (...given: unknown[]) => Promise<void>;
    await new AsyncFunction("testing", "dawngrad", body)(testing, dawngrad);
  });

  it("hold for a module beside its input, given as a value and as an arbitrary", async () => {
    const layer = new Layer(
      tensor([
        [0.5, -1],
        [0.25, 2],
      ]),
      tensor([0.5, 0]),
    );
    await checkLaws((m: Layer, x: Tensor) => m.call(x), [layer, tensors([3, 2])], { runs: 2 });
  });

  it("hold in f32, too, where a backend has no f64", async () => {
    const wasm = await createWasmBackend({ threads: 1 });
    try {
      useBackend(wasm);
      await checkLaws((x: Tensor) => x.mul(x).sin(), [tensors([2])], { runs: 1 });
    } finally {
      useBackend(createReferenceBackend());
      await wasm.close();
    }
  });

  const half = (pullback: (x: Tensor, ct: Tensor) => Tensor) =>
    customVjp(
      (x: Tensor) => x.mul(x),
      (x: Tensor) => [x.mul(x), x] as const,
      (x: Tensor, ct: Tensor) => [pullback(x, ct)],
    );
  it.each([
    ["differences", (x: Tensor) => x.mul(stopGradient(x))],
    ["second differences", half((x, ct) => ct.mul(stopGradient(x)).mul(2))],
    ["pullback is linear", half((x, ct) => ct.abs().mul(x).mul(2))],
    ["adjoint", half((x, ct) => ct.mul(ct).mul(x))],
  ] as const)("find what breaks %s, name the law and show where", async (name, f) => {
    const found = await checkLaws(f, [tensors([2, 3], { low: 0.5 })], { laws: [name] }).catch((error: unknown) => error);
    expect(found).toBeInstanceOf(LawError);
    const { message, hint } = found as LawError;
    expect(message).toContain(`the law "${name}" does not hold`);
    expect(message).toMatch(/argument 0: tensor\(\[.*\], \{ shape: \[2, 3\] \}\)/);
    expect(hint).toContain("rules");
  });

  it("find a function that has another value in a batch, in a loop, or when it is called again", async () => {
    let calls = 0;
    const forgetful = (x: Tensor): Tensor => x.mul(1 + (calls++ % 7));
    for (const law of ["compile", "checkpoint", "vmap", "scan"] as const)
      await expect(checkLaws(forgetful, [tensors([2])], { laws: [law] })).rejects.toThrow(LawError);
  });

  it("refuse what cannot be examined", async () => {
    await expect(checkLaws((x: Tensor) => x, [tensor([1, 2], { dtype: "i32" })])).rejects.toThrow(GradientError);
    await expect(checkLaws((x: Tensor) => x, [tensor([1])], { runs: 0 })).rejects.toThrow(OptionError);
    await expect(checkLaws((x: Tensor) => x, [tensor([1])], { laws: ["beauty" as never] })).rejects.toThrow(/laws must be a list/);
    expect(() => shapes({ minRank: 3, maxRank: 2 })).toThrow(OptionError);
    expect(() => values({ low: 2, high: 1 })).toThrow(OptionError);
    expect(() => tensors(3 as never)).toThrow(/tensors/);
  });
});

describe("the arbitraries", () => {
  it("give what they say", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }).chain((rank) => fc.tuple(fc.constant(rank), axes(rank), axisLists(rank), permutations(rank))),
        broadcastPairs(),
        shapes({ minRank: 1, maxExtent: 3 }),
        ([rank, axis, list, order], { a, b }, shape) => {
          expect(axis >= -rank && axis < rank && new Set(list).size === list.length && list.every((each) => each >= 0 && each < rank)).toBe(
            true,
          );
          expect([...order].sort()).toEqual(Array.from({ length: rank }, (_, i) => i));
          expect(() => dawngrad.zeros(a).add(dawngrad.zeros(b))).not.toThrow();
          expect(shape.length > 0 && shape.every((extent) => extent >= 0 && extent <= 3)).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("give tensors of every dtype, whose edge cases their dtype holds", async () => {
    const all = dtypes("f32", "f16", "bf16", "f64", "i32", "u32", "bool");
    const holds = fc.asyncProperty(
      all.chain((dtype) => fc.tuple(fc.constant(dtype), tensors(shapes(), { dtype, edges: true }))),
      async ([dtype, x]) => {
        expect(x.dtype).toBe(dtype);
        expect((await x.data()).length).toBe(x.size);
      },
    );
    await fc.assert(holds, { numRuns: 100 });
    const seen = fc.sample(values({ edges: true }), { numRuns: 300, seed: 1 });
    for (const edge of [-0, Number.NaN, Number.POSITIVE_INFINITY, 2 ** -149])
      expect(seen.some((value) => Object.is(value, edge))).toBe(true);
    for (const value of fc.sample(values(), { numRuns: 200, seed: 2 })) expect(Math.abs(value)).toBeLessThanOrEqual(1.5);
  });
});

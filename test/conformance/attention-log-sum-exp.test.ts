import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { type AttentionOptions, attentionWithLogSumExp, type Backend, grad, realize, type Tensor, useBackend } from "../../src/index.js";
import { type AttentionCase, attentionCases, sizesOf, tablesOf } from "../support/attention-cases.js";
import { backendVariants, thinned } from "../support/backends.js";
import { floats, numbersOf } from "../support/floats.js";

type Inputs = readonly [q: Tensor, k: Tensor, v: Tensor];

function inputsOf(each: AttentionCase): Inputs {
  const { B, H, Hkv, T, S, D, Dv } = sizesOf(each);
  return [
    floats([B, H, T, D], { seed: 1, dtype: "f32" }),
    floats([B, Hkv, S, D], { seed: 2, dtype: "f32" }),
    floats([B, Hkv, S, Dv], { seed: 3, dtype: "f32" }),
  ];
}

const names = ["o", "lse", "q̄ through both", "k̄ through both", "v̄ through both", "q̄ through lse", "k̄ through lse", "second q̄"];

/** Both results and their gradients, through both results and through the log-sum-exp alone, and a second derivative. */
async function derivatives(each: AttentionCase): Promise<number[][]> {
  const { B, H, T, Dv } = sizesOf(each);
  const inputs = inputsOf(each);
  const options = each.options?.(tablesOf(each)) ?? {};
  const ofOutput = floats([B, H, T, Dv], { seed: 4, dtype: "f32" });
  const ofSum = floats([B, H, T], { seed: 5, dtype: "f32" });
  // A query that sees no key has −10³⁰, beside which nothing else would count.
  const seen = (lse: Tensor): Tensor => lse.maximum(-1e3);
  const throughSum = (x: Inputs): Tensor =>
    seen(attentionWithLogSumExp(...x, options)[1])
      .mul(ofSum)
      .sum();
  const throughBoth = (x: Inputs): Tensor => {
    const [o, lse] = attentionWithLogSumExp(...x, options);
    return o.mul(ofOutput).sum().add(seen(lse).mul(ofSum).sum());
  };
  const along = floats(inputs[0].shape, { seed: 6, dtype: "f32" });
  const second = grad((x: Inputs) => grad(throughBoth)(x)[0].mul(along).sum())(inputs);
  const all = [
    ...attentionWithLogSumExp(...inputs, options),
    ...grad(throughBoth)(inputs),
    ...grad(throughSum)(inputs).slice(0, 2),
    second[0],
  ];
  await realize(...all);
  return Promise.all(all.map(numbersOf));
}

const expected = new Map<string, Promise<number[][]>>();

// The kernels for GPUs, which processors take seconds to compile, are held against loops with their log-sum-exp and its cotangent.
const variants = backendVariants().filter(({ name }) => name !== "webgpu with GPU kernels");

describe.each(variants)("attention with its log-sum-exp on $name", ({ create, stride }) => {
  let backend: Backend;
  let reference: Backend;
  beforeAll(async () => {
    backend = await create();
    reference = createReferenceBackend();
  }, 120_000);
  afterAll(async () => backend.close());

  // A case in two is enough beside the tests of attention, which run the same kernels.
  it.each(thinned(attentionCases, 2 * stride).map((each) => [each.name, each] as const))(
    "is its definition, and so are its derivatives: %s",
    { timeout: 60_000 },
    async (_, each) => {
      useBackend(reference);
      const wanted = expected.get(each.name) ?? derivatives(each);
      expected.set(each.name, wanted);
      const right = await wanted;
      useBackend(backend);
      const found = await derivatives(each);
      found.forEach((list, i) => {
        const numbers = right[i] as number[];
        const largest = numbers.reduce((most, x) => (Math.abs(x) < 1e3 ? Math.max(most, Math.abs(x)) : most), 0.1);
        expect(list.every(Number.isFinite), `${names[i]} of ${each.name}`).toBe(true);
        const worst = list.reduce((most, x, j) => {
          const gap = Math.abs(x - (numbers[j] as number));
          return Math.max(most, numbers[j] === -1e30 ? gap / 1e30 : gap);
        }, 0);
        expect(worst / largest, `${names[i]} of ${each.name}`).toBeLessThan(2e-5);
      });
    },
  );
});

describe("the log-sum-exp of attention by its definition", () => {
  const attentionScores = (each: AttentionCase, q: number[], k: number[], options: AttentionOptions, offset: number): number[][] => {
    const { B, H, Hkv, T, S, D } = sizesOf(each);
    const scale = (options.scale as number | undefined) ?? 1 / Math.sqrt(D);
    return Array.from({ length: B * H * T }, (_, row) => {
      const t = row % T;
      const h = Math.floor(row / T) % H;
      const b = Math.floor(row / (T * H));
      const kv = b * Hkv + Math.floor((h * Hkv) / H);
      return Array.from({ length: S }, (_, s) => {
        const distance = t + offset - s;
        if (options.causal && distance < 0) return Number.NEGATIVE_INFINITY;
        if (options.window !== undefined && Math.abs(distance) >= options.window) return Number.NEGATIVE_INFINITY;
        let raw = 0;
        for (let d = 0; d < D; d++) raw += (q[row * D + d] as number) * (k[(kv * S + s) * D + d] as number);
        return each.score?.(raw * scale, { batch: b, head: h, query: t, key: s }) ?? raw * scale;
      });
    });
  };
  const plain = attentionCases.filter((each) => {
    const { mask, bias, score } = each.options?.(tablesOf(each)) ?? {};
    return each.score !== undefined || (mask ?? bias ?? score) === undefined;
  });

  it.each(plain.map((each) => [each.name, each] as const))("is ln Σ exp over the keys that are seen: %s", async (_, each) => {
    useBackend(createReferenceBackend());
    const inputs = inputsOf(each);
    const { T, S } = sizesOf(each);
    const options = each.options?.(tablesOf(each)) ?? {};
    const offset = options.offset === undefined ? S - T : typeof options.offset === "number" ? options.offset : await options.offset.item();
    const [q, k] = await Promise.all(inputs.map(numbersOf));
    const scores = attentionScores(each, q as number[], k as number[], options, offset);
    const [, lse] = attentionWithLogSumExp(...inputs, options);
    expect(lse.dtype).toBe("f32");
    const found = await numbersOf(lse);
    scores.forEach((row, i) => {
      const most = Math.max(...row);
      const right = most === Number.NEGATIVE_INFINITY ? -1e30 : most + Math.log(row.reduce((sum, s) => sum + Math.exp(s - most), 0));
      if (right === -1e30) expect(found[i]).toBeLessThan(-0.99e30);
      else expect(found[i]).toBeCloseTo(right, 5);
    });
  });

  it("is −10³⁰ where there are no keys", async () => {
    useBackend(createReferenceBackend());
    const [o, lse] = attentionWithLogSumExp(floats([1, 2, 3, 4]), floats([1, 2, 0, 4]), floats([1, 2, 0, 5]));
    expect([o.shape, lse.shape]).toEqual([
      [1, 2, 3, 5],
      [1, 2, 3],
    ]);
    expect(lse.dtype).toBe("f64");
    expect(new Set(await numbersOf(lse))).toEqual(new Set([-1e30]));
  });

  it("puts attention over two parts of the keys together", async () => {
    useBackend(createReferenceBackend());
    const inputs: Inputs = [floats([2, 4, 9, 6], { seed: 1 }), floats([2, 2, 13, 6], { seed: 2 }), floats([2, 2, 13, 5], { seed: 3 })];
    const weights = floats([2, 4, 9, 5], { seed: 4 });
    const whole = ([q, k, v]: Inputs): [Tensor, Tensor] => attentionWithLogSumExp(q, k, v);
    const merged = ([q, k, v]: Inputs): [Tensor, Tensor] => {
      const part = (from: number, to: number): [Tensor, Tensor] =>
        attentionWithLogSumExp(q, k.slice([null, null, [from, to]]), v.slice([null, null, [from, to]]));
      const [[o1, l1], [o2, l2]] = [part(0, 5), part(5, 13)];
      const gap = l1.sub(l2);
      const share = (sign: Tensor): Tensor => sign.sigmoid().unsqueeze(-1);
      const o = o1.mul(share(gap)).add(o2.mul(share(gap.neg())));
      return [o, l1.maximum(l2).add(gap.abs().neg().exp().add(1).log())];
    };
    const all = (f: (x: Inputs) => [Tensor, Tensor]): Tensor[] => [
      ...f(inputs),
      ...grad((x: Inputs) => {
        const [o, lse] = f(x);
        return o.mul(weights).sum().add(lse.sin().sum());
      })(inputs),
    ];
    const [a, b] = await Promise.all([whole, merged].map((f) => Promise.all(all(f).map(numbersOf))));
    a?.forEach((list, i) => {
      list.forEach((x, j) => {
        expect(x).toBeCloseTo(b?.[i]?.[j] as number, 12);
      });
    });
  });
});

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { attention, type Backend, broadcastTo, grad, iota, realize, type Tensor, tensor, useBackend } from "../../src/index.js";
import { type AttentionCase, attentionCases, sizesOf, tablesOf } from "../support/attention-cases.js";
import { backendVariants, thinned } from "../support/backends.js";
import { floats, numbersOf } from "../support/floats.js";

/** |query − key| as i32 [T, S]. */
const distances = (T: number, S: number): Tensor =>
  iota([T, S], 0, { dtype: "i32" })
    .sub(iota([T, S], 1, { dtype: "i32" }))
    .abs();

type Inputs = readonly [q: Tensor, k: Tensor, v: Tensor];

function inputsOf(each: AttentionCase): Inputs {
  const { B, H, Hkv, T, S, D, Dv } = sizesOf(each);
  return [
    floats([B, H, T, D], { seed: 1, dtype: "f32" }),
    floats([B, Hkv, S, D], { seed: 2, dtype: "f32" }),
    floats([B, Hkv, S, Dv], { seed: 3, dtype: "f32" }),
  ];
}

/** Value, gradients, and gradients of a sum over the gradients, all of them in one list of numbers each. */
async function derivatives(each: AttentionCase): Promise<number[][]> {
  const { B, H, T, Dv } = sizesOf(each);
  const inputs = inputsOf(each);
  const options = each.options?.(tablesOf(each)) ?? {};
  const weights = floats([B, H, T, Dv], { seed: 4, dtype: "f32" });
  const value = (at: Inputs): Tensor => attention(...at, options);
  const first = (at: Inputs): Inputs => grad((x: Inputs) => value(x).mul(weights).sum())(at);
  const along = inputs.map(({ shape }, i) => floats(shape, { seed: 5 + i, dtype: "f32" }));
  const second = grad((at: Inputs) =>
    first(at)
      .map((part, i) => part.mul(along[i] as Tensor).sum())
      .reduce((a, b) => a.add(b)),
  )(inputs);
  const all = [value(inputs), ...first(inputs), ...second];
  await realize(...all);
  return Promise.all(all.map(numbersOf));
}

const names = ["o", "q̄", "k̄", "v̄", "second q̄", "second k̄", "second v̄"];
const expected = new Map<string, Promise<number[][]>>();

describe.each(backendVariants())("attention on $name", ({ create, stride }) => {
  let backend: Backend;
  let reference: Backend;
  beforeAll(async () => {
    backend = await create();
    reference = createReferenceBackend();
  }, 120_000);
  afterAll(async () => backend.close());

  it.each(thinned(attentionCases, stride).map((each) => [each.name, each] as const))(
    "is its definition, and so are two derivatives: %s",
    { timeout: 60_000 },
    async (_, each) => {
      useBackend(reference);
      let wanted = expected.get(each.name);
      if (wanted === undefined) {
        wanted = derivatives(each);
        expected.set(each.name, wanted);
      }
      const right = await wanted;
      useBackend(backend);
      const found = await derivatives(each);
      found.forEach((list, i) => {
        const numbers = right[i] as number[];
        // What is 0 here is a difference of numbers near 1 there.
        const largest = numbers.reduce((most, x) => Math.max(most, Math.abs(x)), 0.1);
        expect(list.every(Number.isFinite), `${names[i]} of ${each.name}`).toBe(true);
        const worst = list.reduce((most, x, j) => Math.max(most, Math.abs(x - (numbers[j] as number))), 0);
        expect(worst / largest, `${names[i]} of ${each.name}`).toBeLessThan(2e-5);
      });
    },
  );

  it("reads halves as the numbers that they hold, sums in f32, and rounds its results once", { timeout: 60_000 }, async () => {
    const each = { name: "halves", B: 2, H: 4, Hkv: 2, T: 37, S: 70, D: 16 };
    const weights = floats([2, 4, 37, 16], { seed: 4, dtype: "f32" });
    const all = (at: Inputs): Tensor[] => {
      const value = (x: Inputs): Tensor => attention(...x, { causal: true }).cast("f32");
      return [value(at), ...grad((x: Inputs) => value(x).mul(weights).sum())(at)].map((t) => t.cast("f32"));
    };
    // A software adapter takes seconds for each of the kernels.
    for (const dtype of backend.info.name === "webgpu" ? (["f16"] as const) : (["f16", "bf16"] as const)) {
      if (!backend.info.dtypes.has(dtype)) continue;
      useBackend(backend);
      const halves = inputsOf(each).map((t) => t.cast(dtype)) as unknown as Inputs;
      const found = await Promise.all(all(halves).map(numbersOf));
      const held = await Promise.all(halves.map((t) => t.cast("f32").data()));
      useBackend(reference);
      const right = await Promise.all(
        all(halves.map(({ shape }, i) => tensor(held[i] as Float32Array, { shape })) as unknown as Inputs).map(numbersOf),
      );
      for (const [i, a] of found.entries()) {
        const b = right[i];
        const largest = b?.reduce((most, x) => Math.max(most, Math.abs(x)), 0) ?? 0;
        // The gradients are those of a cotangent that was rounded to halves, and o was too.
        const tolerance = (dtype === "f16" ? 2 ** -10 : 2 ** -7) * largest * (i === 0 ? 1 : 2);
        const worst = a.reduce((most, x, j) => Math.max(most, Math.abs(x - (b?.[j] as number))), 0);
        expect(worst, `${names[i]} in ${dtype}`).toBeLessThan(tolerance);
      }
    }
  });
});

describe("attention by its definition", () => {
  it.each(attentionCases.map((each) => [each.name, each] as const))("is what loops over pairs compute: %s", async (_, each) => {
    useBackend(createReferenceBackend());
    const { B, H, Hkv, T, S, D, Dv } = sizesOf(each);
    const inputs = inputsOf(each);
    const [q, k, v] = await Promise.all(inputs.map(numbersOf));
    const tables = tablesOf(each);
    const options = each.options?.(tables) ?? {};
    if (each.score === undefined && (options.mask ?? options.bias ?? options.score) !== undefined) return checkTables(each);
    const found = await numbersOf(attention(...inputs, options));
    const offset = options.offset === undefined ? S - T : typeof options.offset === "number" ? options.offset : await options.offset.item();
    const scale = (options.scale as number | undefined) ?? 1 / Math.sqrt(D);
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        const kv = b * Hkv + Math.floor((h * Hkv) / H);
        for (let t = 0; t < T; t++) {
          const scores = Array.from({ length: S }, (_, s) => {
            const distance = t + offset - s;
            if (options.causal && distance < 0) return Number.NEGATIVE_INFINITY;
            if (options.window !== undefined && Math.abs(distance) >= options.window) return Number.NEGATIVE_INFINITY;
            let raw = 0;
            for (let d = 0; d < D; d++) raw += (q?.[((b * H + h) * T + t) * D + d] as number) * (k?.[(kv * S + s) * D + d] as number);
            return each.score?.(raw * scale, { batch: b, head: h, query: t, key: s }) ?? raw * scale;
          });
          const most = Math.max(...scores);
          const weights = scores.map((score) => (most === Number.NEGATIVE_INFINITY ? 0 : Math.exp(score - most)));
          const sum = weights.reduce((a, x) => a + x, 0) || 1;
          for (let d = 0; d < Dv; d++) {
            const o = weights.reduce((a, w, s) => a + (w / sum) * (v?.[(kv * S + s) * Dv + d] as number), 0);
            expect(found[((b * H + h) * T + t) * Dv + d]).toBeCloseTo(o, 6);
          }
        }
      }
    }
  });

  /** What a table adds is what a score adds that reads it by coordinates. */
  async function checkTables(each: AttentionCase): Promise<void> {
    const inputs = inputsOf(each);
    const { mask, bias, score, ...others } = each.options?.(tablesOf(each)) ?? {};
    const { B, H, T, S } = sizesOf(each);
    const table = bias ?? mask?.cast("f32").sub(1).mul(1e9);
    if (table === undefined) {
      const learned = tablesOf(each).learned;
      const [a, b] = await Promise.all(
        [
          attention(...inputs, { ...others, ...(score ? { score } : {}) }),
          attention(...inputs, { ...others, bias: learned.take(distances(T, S)) }),
        ].map(numbersOf),
      );
      a?.forEach((x, i) => {
        expect(x).toBeCloseTo(b?.[i] as number, 9);
      });
      return;
    }
    const whole = broadcastTo(table, [B, H, T, S]);
    const flat = whole.reshape([B * H * T * S]);
    const [a, b] = await Promise.all(
      [
        attention(...inputs, { ...others, ...(mask ? { mask } : {}), ...(bias ? { bias } : {}) }),
        attention(...inputs, {
          ...others,
          score: (s, { batch, head, query, key }) => s.add(flat.take(batch.mul(H).add(head).mul(T).add(query).mul(S).add(key))),
        }),
      ].map(numbersOf),
    );
    a?.forEach((x, i) => {
      expect(x).toBeCloseTo(b?.[i] as number, 9);
    });
  }
});

describe("attention whose scores are too many to be there at once", () => {
  /** Three queries in blocks of two, so that a block is partly filled. */
  const [T, S] = [3, 400_000];
  const inputs = (): Inputs => [
    floats([1, 1, T, 1], { seed: 1, dtype: "f32" }),
    floats([1, 1, S, 1], { seed: 2, dtype: "f32" }),
    floats([1, 1, S, 1], { seed: 3, dtype: "f32" }),
  ];
  it("is computed in blocks of queries, with the numbers of single queries", async () => {
    const backend = await createWasmBackend({ threads: 1, kernels: "definitions" });
    useBackend(backend);
    const bias = floats([1, 1, T, S], { seed: 6, dtype: "f32" });
    const loss = (at: Inputs, from: number, to: number): Tensor =>
      attention(at[0].slice([null, null, [from, to]]), at[1], at[2], {
        causal: true,
        offset: S - T + from - 1,
        bias: bias.slice([null, null, [from, to]]),
        score: (s, { query }) => s.add(query.mul(0)),
      })
        .mul(
          tensor([2, -1, 3])
            .slice([[from, to]])
            .reshape([1, 1, to - from, 1]),
        )
        .sum();
    const whole = grad((at: Inputs) => loss(at, 0, T))(inputs());
    const parts = [0, 1, 2].map((t) => grad((at: Inputs) => loss(at, t, t + 1))(inputs()));
    const sums = whole.map((_, i) => parts.map((part) => part[i] as Tensor).reduce((a, b) => a.add(b)));
    await realize(whole, sums);
    for (const [i, part] of whole.entries()) {
      const [a, b] = await Promise.all([part, sums[i] as Tensor].map(numbersOf));
      const largest = a?.reduce((most, x) => Math.max(most, Math.abs(x)), 0) ?? 0;
      expect(largest).toBeGreaterThan(0);
      a?.forEach((x, j) => {
        if (!(Math.abs(x - (b?.[j] as number)) <= 1e-5 * largest)) throw new Error(`${names[i + 1]}[${j}] is ${x}, not ${b?.[j]}`);
      });
    }
    useBackend(undefined);
    await backend.close();
  });
});

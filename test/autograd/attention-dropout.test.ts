import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  attention,
  type Backend,
  bernoulli,
  checkGrads,
  compile,
  type DroppingAttentionOptions,
  grad,
  iota,
  key,
  lessEqual,
  MultiHeadAttention,
  matmul,
  randn,
  repeat,
  softmax,
  split,
  type Tensor,
  tensor,
  useBackend,
  vmap,
  where,
  zeros,
} from "../../src/index.js";
import { distance } from "../nn/tiny.js";

const [B, H, Hkv, T, S, D] = [2, 4, 2, 3, 5, 2];
const rate = 0.4;
const drop = key(11);
const operands = (): [Tensor, Tensor, Tensor] => {
  const [a, b, c] = split(key(1), 3) as [Tensor, Tensor, Tensor];
  return [randn(a, [B, H, T, D]), randn(b, [B, Hkv, S, D]), randn(c, [B, Hkv, S, D])];
};
const causal = (): Tensor => lessEqual(iota([T, S], 1), iota([T, S], 0).add(S - T));
/** The softmax written out, its weights dropped. */
const plainly = ([q, k, v]: [Tensor, Tensor, Tensor], mask?: Tensor): Tensor => {
  const [keys, values] = [k, v].map((x) => repeat(x, H / Hkv, 1)) as [Tensor, Tensor];
  const scores = matmul(q, keys.transpose()).mul(1 / Math.sqrt(D));
  const weights = softmax(mask === undefined ? scores : where(mask, scores, -1e30));
  const seen = mask === undefined ? weights : where(mask, weights, 0);
  return matmul(where(bernoulli(drop, [B, H, T, S], 1 - rate), seen.mul(1 / (1 - rate)), 0), values);
};

describe.each([
  { name: "reference", create: async () => createReferenceBackend(), allowed: 1e-12 },
  { name: "wasm", create: () => createWasmBackend({ threads: 1 }), allowed: 2e-5 },
])("attention with dropout on $name", ({ create, allowed }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("drops weights of the softmax, and so do its derivatives", async () => {
    const mask = tensor([true, false, true, true, true]);
    const first = tensor([[false], [true], [true]]);
    const cases: readonly (readonly [DroppingAttentionOptions, Tensor | undefined])[] = [
      [{}, undefined],
      [{ causal: true }, causal()],
      [{ mask, causal: true }, causal().and(mask)],
      [{ mask: first }, first],
    ];
    for (const [options, meant] of cases) {
      const found = (args: [Tensor, Tensor, Tensor]): Tensor => attention(...args, { ...options, dropout: rate, key: drop });
      const expected = (args: [Tensor, Tensor, Tensor]): Tensor => plainly(args, meant);
      const both = [found, expected].map((f) =>
        compile((...args: [Tensor, Tensor, Tensor]) => [f(args), ...grad((at: [Tensor, Tensor, Tensor]) => f(at).square().sum())(args)])(
          ...operands(),
        ),
      ) as [Tensor[], Tensor[]];
      for (const [i, t] of both[0].entries()) {
        expect(distance(await t.data(), await (both[1][i] as Tensor).data()), `${Object.keys(options)} ${i}`).toBeLessThan(allowed);
      }
    }
  });

  it("drops nothing without a key or a rate, and the share of the rate with them", async () => {
    const args = operands();
    const whole = await attention(...args).data();
    expect(await attention(...args, { dropout: rate }).data()).toEqual(whole);
    expect(await attention(...args, { dropout: 0, key: drop }).data()).toEqual(whole);
    // With equal weights of 1/S over values of 1 the results are the shares of what was kept, over 1 − rate.
    const wide = 2000;
    const shares = attention(zeros([1, 1, 1, 1]), zeros([1, 1, wide, 1]), zeros([1, 1, wide, 1]).add(1), { dropout: rate, key: drop });
    expect(Math.abs((await shares.item()) - 1)).toBeLessThan(0.08);
  });

  it("is batched with its key by vmap", async () => {
    const [q, k, v] = operands();
    const keys = split(drop, 3);
    const stacked = tensor((await Promise.all(keys.map((one) => one.array()))) as number[][], { dtype: "u32" });
    const found = vmap((key: Tensor) => attention(q, k, v, { dropout: rate, key }))(stacked);
    for (const [i, one] of keys.entries()) {
      const own = await found.slice([[i, i + 1]]).data();
      expect(distance(own, await attention(q, k, v, { dropout: rate, key: one }).data())).toBeLessThan(allowed);
    }
  });
});

describe("in double precision", () => {
  beforeAll(() => useBackend(createReferenceBackend()));

  it("has derivatives of both orders", async () => {
    const f = (q: Tensor, k: Tensor, v: Tensor): Tensor => attention(q, k, v, { causal: true, dropout: 0.5, key: drop });
    await checkGrads(f, [randn(key(1), [1, 1, 2, 2]), randn(key(2), [1, 1, 2, 2]), randn(key(3), [1, 1, 2, 1])], { order: 2 });
  });

  it("is what MultiHeadAttention drops by where it is given a key", async () => {
    const layer = MultiHeadAttention.create(key(5), 8, 2, { dropout: 0.5 });
    const { in_proj_weight, in_proj_bias, out_proj } = layer;
    const same = new MultiHeadAttention(2, { in_proj_weight, in_proj_bias, out_proj });
    const x = randn(key(6), [2, 3, 8]);
    const [dropped, whole] = [await layer.forward(x, { key: drop }).data(), await same.forward(x).data()];
    expect(await layer.forward(x).data()).toEqual(whole);
    expect(await same.forward(x, { dropout: 0.5, key: drop }).data()).toEqual(dropped);
    expect(distance(dropped, whole)).toBeGreaterThan(0.01);
  });
});

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  attentionMaps,
  type Backend,
  broadcastTo,
  type Llama,
  OptionError,
  ShapeError,
  type Tensor,
  tensor,
  useBackend,
} from "../../src/index.js";
import type { HostTables } from "../../src/nn/batch.js";
import type { PositionEncoding } from "../../src/nn/llama.js";
import { integers, plainTables, tinyConfig, tinyLlama } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

const T = 13;
const { head_dim: D, num_attention_heads: H, num_key_value_heads: Hkv, rope_theta: theta } = tinyConfig;
const tokens = integers(T, tinyConfig.vocab_size, 5);
const queries = [0, 7, 12];

/** cos and sin of the positions i·pace. */
function tables(length: number, pace = 1): HostTables {
  const angle = (i: number): number => Math.floor(i / (D / 2)) * pace * theta ** ((-2 * (i % (D / 2))) / D);
  const of = (f: (x: number) => number): Float32Array => Float32Array.from({ length: length * (D / 2) }, (_, i) => f(angle(i)));
  return { cos: of(Math.cos), sin: of(Math.sin), rows: 1, length, half: D / 2 };
}

type Heads = number[][][]; // [heads, T, D]

/** What each layer projects its input to, as numbers; the position at which a key is found may depend on the query. */
async function projections(model: Llama): Promise<{ q: Heads; k: Heads }[]> {
  const given = plainTables(T, D);
  let x: Tensor = model.model.embed_tokens.forward(tensor(tokens, { shape: [1, T] }));
  const found: { q: Heads; k: Heads }[] = [];
  for (const block of model.model.layers) {
    const normed = block.input_layernorm.forward(x);
    const heads = async (y: Tensor, count: number): Promise<Heads> => (await y.reshape([T, count, D]).permute([1, 0, 2]).array()) as Heads;
    found.push({ q: await heads(block.self_attn.q_proj.forward(normed), H), k: await heads(block.self_attn.k_proj.forward(normed), Hkv) });
    x = block.forward(x, given);
  }
  return found;
}

/** softmax of q·R(position(i, j) · θ)·k/√D over the keys up to the query, written out. */
function probabilities(q: number[], keys: number[][], query: number, distance: (key: number) => number): number[] {
  const scores = keys.slice(0, query + 1).map((k, key) => {
    let score = 0;
    for (let j = 0; j < D / 2; j++) {
      const angle = distance(key) * theta ** ((-2 * j) / D);
      const [a, b, c, d] = [q[j], q[j + D / 2], k[j], k[j + D / 2]] as [number, number, number, number];
      score += Math.cos(angle) * (a * c + b * d) + Math.sin(angle) * (a * d - b * c);
    }
    return score / Math.sqrt(D);
  });
  const peak = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - peak));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

describe.each(backends())("attention maps on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("are the softmax of the scores of each layer, query and head, with the mass on sinks and on a span", async () => {
    const model = await tinyLlama(tinyConfig, { seed: 6 });
    const maps = await attentionMaps({ model, tokens, queries, tables, sinks: 2, span: { from: 3, to: 6 } });
    expect(maps).toHaveLength(2 * queries.length * H);
    const layers = await projections(model);
    maps.forEach(({ layer, query, head, probabilities: found, sinks, span }, i) => {
      expect([layer, query, head]).toEqual([Math.floor(i / (3 * H)), queries[Math.floor(i / H) % 3], i % H]);
      const { q, k } = layers[layer] as { q: Heads; k: Heads };
      const keys = k[Math.floor((head * Hkv) / H)] as number[][];
      const expected = probabilities((q[head] as number[][])[query] as number[], keys, query, (key) => query - key);
      expect(found).toHaveLength(query + 1);
      expected.forEach((p, key) => {
        expect(Math.abs(p - (found[key] as number))).toBeLessThan(2e-5);
      });
      const mass = (from: number, to: number): number => expected.slice(from, to).reduce((sum, p) => sum + p, 0);
      expect(Math.abs(sinks - mass(0, 2))).toBeLessThan(5e-5);
      expect(Math.abs((span as number) - mass(3, 6))).toBeLessThan(5e-5);
    });
  });
});

describe("attention maps", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it("of tables with far pairs of their own follow the pair's distance", async () => {
    const model = await tinyLlama({ ...tinyConfig, num_hidden_layers: 1 }, { seed: 6 });
    const near = 4;
    const half = { cos: tables(T, 0.5).cos, sin: tables(T, 0.5).sin };
    const maps = await attentionMaps({
      model,
      tokens,
      queries,
      tables: (length) => ({ ...tables(length), far: { query: half, key: half, near } }),
    });
    const [{ q, k }] = (await projections(model)) as [{ q: Heads; k: Heads }];
    for (const { query, head, probabilities: found } of maps) {
      const keys = k[Math.floor((head * Hkv) / H)] as number[][];
      const distance = (key: number): number => (query - key) * (query - key < near ? 1 : 0.5);
      const expected = probabilities((q[head] as number[][])[query] as number[], keys, query, distance);
      expected.forEach((p, key) => {
        expect(Math.abs(p - (found[key] as number))).toBeLessThan(1e-6);
      });
    }
  });

  it("of a layer with an encoding of its own are those of that encoding", async () => {
    const model = await tinyLlama({ ...tinyConfig, num_hidden_layers: 1 }, { seed: 6 });
    /** Every query looks at the first key alone. */
    const first: PositionEncoding = {
      attend: (queriesOf, { values }) => {
        const [B, heads, rows] = queriesOf.shape as [number, number, number];
        const one = values.slice([null, [0, 1], [0, 1], null]);
        return broadcastTo(one, [B, heads, rows, values.shape[3] as number]);
      },
    };
    for (const { self_attn } of model.model.layers) self_attn.position_encoding = first;
    for (const { query, probabilities: found, sinks } of await attentionMaps({ model, tokens, queries, tables, sinks: 1 })) {
      expect([...found]).toEqual(Array.from({ length: query + 1 }, (_, key) => Number(key === 0)));
      expect(sinks).toBe(1);
    }
  });

  it("are refused for texts, queries, spans and tables that do not fit", async () => {
    const model = await tinyLlama();
    const options = { model, tokens, queries, tables };
    for (const wrong of [
      { queries: [] },
      { queries: [T] },
      { tokens: new Int32Array() },
      { tokens: new Int32Array(5000) },
      { tokens: Int32Array.of(1, 99) },
      { span: { from: 0, to: T + 1 } },
    ]) {
      await expect(attentionMaps({ ...options, ...wrong })).rejects.toThrow(OptionError);
    }
    await expect(attentionMaps({ ...options, tables: () => tables(T - 1) })).rejects.toThrow(ShapeError);
  });
});

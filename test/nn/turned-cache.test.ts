import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Backend, KeyValueCache, realize, ShapeError, tensor, UsageError, useBackend } from "../../src/index.js";
import { backends } from "../support/backends.js";
import { distance, integers, plainTables, tinyConfig, tinyLlama } from "./tiny.js";

const { head_dim: D, vocab_size: V } = tinyConfig;
const row = (tokens: ArrayLike<number>) => tensor(Int32Array.from(tokens), { shape: [1, tokens.length] });

describe.each(backends())("a cache of turned keys on $name", { timeout: 120_000 }, ({ name, create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("gives the logits of a full pass, and of a cache that it was turned from or back to on the way", async () => {
    const model = await tinyLlama();
    const text = integers(11, V, 3);
    // Tables that scale as YaRN's do: turning back must divide by the square.
    const scaled = (length: number) => {
      const { cos, sin } = plainTables(length, D);
      return { cos: cos.mul(1.3), sin: sin.mul(1.3) };
    };
    const tables = scaled(13);
    const full = await model.forward(row(text), scaled(11)).data();
    for (const change of [undefined, "turn", "turnBack"] as const) {
      const cache = new KeyValueCache(tinyConfig, { capacity: 13, turned: change !== "turn" });
      const found: number[] = [];
      let at = 0;
      for (const part of [5, 1, 1, 3, 1]) {
        if (at === 6 && change !== undefined) cache[change](tables);
        found.push(...(await model.forward(row(text.subarray(at, at + part)), tables, cache).data()));
        cache.advance(part);
        await realize(cache);
        at += part;
      }
      expect(distance(found, full)).toBeLessThan(2e-5);
      expect(cache.turned).toBe(change !== "turnBack");
    }
  });

  it("keeps keys and values in halves where the backend stores them", async () => {
    const model = await tinyLlama();
    const text = integers(11, V, 3);
    const tables = plainTables(11, D);
    const full = await model.forward(row(text), tables).data();
    const stored = { wasm: ["f16", "bf16"], webgpu: ["f16", "bf16"] } as const;
    for (const dtype of stored[name as keyof typeof stored] ?? []) {
      for (const turned of [true, false]) {
        const cache = new KeyValueCache(tinyConfig, { capacity: 11, turned, dtype });
        const first = await model.forward(row(text.subarray(0, 9)), tables, cache).data();
        cache.advance(9);
        const last = await model.forward(row(text.subarray(9)), tables, cache).data();
        expect(cache.keys[0]?.dtype).toBe(dtype);
        const error = distance([...first, ...last], full);
        expect(error).toBeLessThan(dtype === "f16" ? 1e-2 : 6e-2);
        expect(error).toBeGreaterThan(1e-7);
      }
    }
  });
});

describe("a cache of turned keys", () => {
  it("is turned once, read by near tables alone, and its padding has one place for each row", async () => {
    const cache = new KeyValueCache(tinyConfig, { capacity: 4, turned: true });
    const tables = plainTables(4, D);
    const keys = tensor(new Float32Array(tinyConfig.num_key_value_heads * D), { shape: [1, tinyConfig.num_key_value_heads, 1, D] });
    expect(() => cache.turn(tables)).toThrow(UsageError);
    const one = tensor(1, { dtype: "i32" });
    expect(() => cache.extend(0, keys, keys, { ...tables, far: { query: tables, key: tables, near: one, keys: one } })).toThrow(UsageError);
    expect(() => new KeyValueCache(tinyConfig, { capacity: 4 }).turnBack(tables)).toThrow(UsageError);
    expect(() => new KeyValueCache(tinyConfig, { capacity: 4, batch: 2, first: tensor([0], { dtype: "i32" }) })).toThrow(ShapeError);
  });
});

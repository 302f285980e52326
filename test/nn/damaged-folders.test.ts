import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { FormatError } from "../../src/errors.js";
import { modelBlobs, openModel, toHfConfig, useBackend } from "../../src/index.js";
import { fuzzRuns } from "../support/fuzz.js";
import { tinyConfig, tinyLlama } from "./tiny.js";

const indexName = "model.safetensors.index.json";
const tied = { ...tinyConfig, tie_word_embeddings: true, attention_bias: true, sliding_window: 7 };
/** A folder in several files, with what follows from other tensors among them. */
const files = new Map<string, Uint8Array>();
beforeAll(async () => {
  useBackend(createReferenceBackend());
  for (const [name, blob] of Object.entries(await modelBlobs(await tinyLlama(tied), { maxShardBytes: 3000 }))) {
    files.set(name, new Uint8Array(await blob.arrayBuffer()));
  }
});
afterAll(() => void useBackend(undefined));

/** Opens a folder and reads all of it, and lets nothing but FormatError out. Whether it was taken. */
async function accepts(changed: Readonly<Record<string, Uint8Array | string>>): Promise<boolean> {
  const before = process.memoryUsage().arrayBuffers;
  try {
    const stored = await openModel({ ...Object.fromEntries(files), ...changed });
    for (const { shape, read } of stored.tensors.values()) {
      await read(
        0,
        shape.reduce((size, extent) => size * extent, 1),
      );
    }
    await stored.close();
    return true;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    expect(error.hint).not.toBe("");
    return false;
  } finally {
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
  }
}

const json = (name: string): Record<string, unknown> => JSON.parse(new TextDecoder().decode(files.get(name))) as Record<string, unknown>;

describe("a damaged folder is refused with nothing but FormatError,", { timeout: 600_000 }, () => {
  it("and is taken where nothing is wrong", async () => {
    expect(await accepts({})).toBe(true);
    expect(json("config.json")).toEqual({ ...toHfConfig(tied), torch_dtype: "float32" });
  });

  it("whatever bytes of any of its files are changed, added or missing", async () => {
    const change = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      remove: fc.nat(3),
      insert: fc.uint8Array({ maxLength: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.nat(20), fc.array(change, { minLength: 1, maxLength: 4 }), async (which, changes) => {
        const [name, given] = [...files][which % files.size] as [string, Uint8Array];
        let bytes = given;
        for (const { at, remove, insert } of changes) {
          // Most of the changes meet headers, which stand first.
          const begin = Math.floor(at * Math.min(bytes.length, 1200));
          bytes = Uint8Array.from([...bytes.subarray(0, begin), ...insert, ...bytes.subarray(begin + remove)]);
        }
        await accepts({ [name]: bytes });
      }),
      { numRuns: fuzzRuns(150) },
    );
  });

  it("whatever its index says", async () => {
    const { weight_map } = json(indexName) as { weight_map: Record<string, string> };
    const names = fc.constantFrom(...Object.keys(weight_map), "lm_head.weight", "__proto__", "");
    const shard = fc.oneof(
      fc.constantFrom(
        ...files.keys(),
        "model.safetensors",
        "../x.safetensors",
        "/x.safetensors",
        ".safetensors",
        "a/b.safetensors",
        "__proto__",
      ),
      fc.jsonValue({ maxDepth: 1 }),
    );
    const whole = fc.oneof(
      fc.dictionary(names, shard).map((changed) => ({ weight_map: { ...weight_map, ...changed } })),
      fc.dictionary(names, shard).map((map) => ({ weight_map: map })),
      fc.subarray(Object.entries(weight_map)).map((entries) => ({ weight_map: Object.fromEntries(entries) })),
      fc.jsonValue({ maxDepth: 3 }),
      fc.record({ weight_map: fc.jsonValue({ maxDepth: 2 }), metadata: fc.jsonValue({ maxDepth: 2 }) }),
    );
    await fc.assert(
      fc.asyncProperty(whole, async (index) => {
        const taken = await accepts({ [indexName]: JSON.stringify(index) });
        // Only an index that says the same is taken.
        if (taken) expect((index as { weight_map: unknown }).weight_map).toEqual(weight_map);
      }),
      { numRuns: fuzzRuns(150) },
    );
  });

  it("whatever its configuration says", async () => {
    const config = json("config.json");
    const value = fc.oneof(
      fc.constantFrom(0, 1, 2, 3, 16, 1e9, 2 ** 31, -1, 0.5, null, true, false, "mistral", "qwen2", "qwen3", "llama", "dawngrad_llama"),
      fc.jsonValue({ maxDepth: 2 }),
    );
    const keys = fc.constantFrom(
      ...Object.keys(config),
      "rope_scaling",
      "partial_rotary_factor",
      "mlp_bias",
      "qk_norm",
      "max_window_layers",
      "__proto__",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(keys, value), { minLength: 1, maxLength: 4 }), async (changes) => {
        await accepts({ "config.json": JSON.stringify({ ...config, ...Object.fromEntries(changes) }) });
      }),
      { numRuns: fuzzRuns(150) },
    );
  });
});

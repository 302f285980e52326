import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { DtypeError, FormatError, tensor, tensorsOf, useBackend } from "../../src/index.js";
import { type DType, representable } from "../../src/ir/dtype.js";
import type { LlamaConfig } from "../../src/nn/config.js";
import { loadWeights } from "../../src/nn/load-weights.js";
import type { WeightDtype } from "../../src/nn/stored-model.js";
import { backends } from "../support/backends.js";
import { imaginedModel } from "../support/stored-models.js";
import { plainTables, tinyConfig } from "./tiny.js";

const floats: readonly WeightDtype[] = ["f32", "f16", "bf16"];

/** Large enough for several chunks in a tensor, with an odd number of elements. */
const wide: LlamaConfig = { ...tinyConfig, vocab_size: 62_001, hidden_size: 17, num_attention_heads: 1, num_key_value_heads: 1 };

/** What each backend is held against: numbers as a dtype has them, rounded once for all. */
const known = new Map<string, Float32Array>();
function rounded(name: string, dtype: WeightDtype & DType, numbers: ArrayLike<number>): Float32Array {
  const found = known.get(name) ?? Float32Array.from(numbers, (value) => representable(dtype, value));
  known.set(name, found);
  return found;
}

describe.each(backends())("loading weights on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  }, 60_000);
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  const kept = (): readonly WeightDtype[] => floats.filter((dtype) => backend.info.dtypes.has(dtype));

  it("gives every number as the dtype that was asked for has it, chunk by chunk and unit by unit", async () => {
    for (const from of floats) {
      for (const to of [...kept(), ...(kept().includes(from) ? (["stored"] as const) : [])]) {
        const reads: [string, number, number][] = [];
        const model = imaginedModel(wide, { dtype: from, unit: 17, onRead: (...read) => reads.push(read) });
        const loaded = await loadWeights(model, { dtype: to });
        const dtype = to === "stored" ? from : to;
        for (const { path, tensor } of tensorsOf(loaded)) {
          const numbers = model.numbers(path);
          expect(tensor.dtype).toBe(dtype);
          const found = await tensor.data();
          const wanted = rounded(`${from} as ${dtype}: ${path}`, dtype, numbers);
          const wrong = found.findIndex((value, i) => value !== wanted[i]);
          expect([path, wrong]).toEqual([path, -1]);
          tensor.dispose();
        }
        const embedding = reads.filter(([name]) => name === "model.embed_tokens.weight");
        expect(embedding.length).toBeGreaterThan(1);
        for (const [, begin, end] of embedding) expect([begin % 17, end % 17]).toEqual([0, 0]);
        for (const [, begin, end] of reads) expect(end - begin).toBeLessThanOrEqual(2 ** 20);
      }
    }
  });

  it("gives everything back when a tensor cannot be read, whichever it is", async () => {
    const names = [...imaginedModel(tinyConfig).tensors.keys()];
    for (const failing of [names[0], names[5], names.at(-1)]) {
      const before = backend.memory().liveBytes;
      const onRead = (name: string): void => {
        if (name === failing) throw new FormatError("the file is short", { file: "f", hint: "get it again" });
      };
      await expect(loadWeights(imaginedModel(tinyConfig, { onRead }))).rejects.toThrow("the file is short");
      expect(backend.memory().liveBytes).toBe(before);
    }
  });

  it("refuses numbers that f16 does not reach, and dtypes that the backend does not have", async () => {
    const before = backend.memory().liveBytes;
    const large = imaginedModel(tinyConfig, { value: (i) => (i === 3 ? 70_000 : 0) });
    for (const dtype of floats) {
      if (!kept().includes(dtype)) await expect(loadWeights(large, { dtype })).rejects.toThrow(DtypeError);
      else if (dtype === "f16") await expect(loadWeights(large, { dtype })).rejects.toThrow(/70000 \(element 3\), and f16 ends at 65504/);
    }
    // What the file says is infinite stays so: whether a model is sound is not for its reader to say.
    if (kept().includes("f16")) {
      const infinite = await loadWeights(imaginedModel(tinyConfig, { value: () => Number.POSITIVE_INFINITY }), { dtype: "f16" });
      expect((await infinite.model.norm.weight.data())[0]).toBe(Number.POSITIVE_INFINITY);
      for (const { tensor } of tensorsOf(infinite)) tensor.dispose();
    }
    expect(backend.memory().liveBytes).toBe(before);
  });

  it("of 16 bits computes in f32: logits are those of the same numbers as f32", async () => {
    const tokens = tensor(Int32Array.of(3, 1, 4, 1, 5, 9), { shape: [1, 6] });
    for (const dtype of kept().filter((each) => each !== "f32")) {
      const stored = imaginedModel(tinyConfig, { dtype });
      const logits = await Promise.all(
        (["f32", "stored"] as const).map(async (kind) => {
          const model = await loadWeights(stored, { dtype: kind });
          const out = model.forward(tokens, plainTables(6, tinyConfig.head_dim));
          expect(out.dtype).toBe("f32");
          return out.data();
        }),
      );
      const [exact, found] = logits as [Float32Array, Float32Array];
      found.forEach((value, i) => {
        expect(Math.abs(value - (exact[i] as number))).toBeLessThan(2e-6);
      });
    }
  });
});

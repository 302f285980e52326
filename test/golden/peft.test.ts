import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { adapterBlobs, type Llama, loadAdaptedModel, loadAdapter, loadModel, mergeLora, tensor, useBackend } from "../../src/index.js";
import { distance, valuesOf } from "../nn/tiny.js";
import { goldenModel, goldenTables } from "./llama-fixture.js";

/** What make_peft.py wrote. */
interface GoldenAdapters {
  readonly tokens: number[];
  readonly cases: Readonly<Record<string, { readonly tied: boolean; readonly logits: number[] }>>;
}

const folder = new URL("peft/", import.meta.url);
const golden = JSON.parse(readFileSync(new URL("golden.json", folder), "utf8")) as GoldenAdapters;
const pathOf = (name: string): string => fileURLToPath(new URL(name, folder));

const base = (tied: boolean): Llama => {
  const model = goldenModel();
  if (!tied) return model;
  const fields = { _config: { ...model.config, tie_word_embeddings: true }, lm_head: null };
  return Object.assign(Object.create(Object.getPrototypeOf(model) as object) as Llama, model, fields);
};
const logits = async (model: Llama): Promise<Float64Array> => {
  const { tokens } = golden;
  const inputs = tensor(new Int32Array(tokens), { shape: [1, tokens.length] });
  return Float64Array.from(await model.forward(inputs, goldenTables(tokens.length)).data());
};

describe("an adapter of Python's PEFT", () => {
  beforeAll(() => void useBackend(createReferenceBackend()));
  afterAll(() => void useBackend(undefined));

  it.each(Object.entries(golden.cases))("has its logits: %s", async (name, { tied, logits: expected }) => {
    const adapted = await loadAdapter(base(tied), pathOf(name));
    const largest = Math.max(...expected.map(Math.abs));
    expect(distance(await logits(adapted), expected) / largest).toBeLessThan(1e-5);
    expect(distance(await logits(base(tied)), expected) / largest).toBeGreaterThan(1e-3);
    expect(distance(await logits(mergeLora(adapted)), expected) / largest).toBeLessThan(1e-5);
    // Written by this library and read again it is the same.
    const again = await loadAdapter(base(tied), await adapterBlobs(adapted, { base: "x" }));
    expect(await valuesOf(again)).toEqual(await valuesOf(adapted));
    expect(await logits(again)).toEqual(await logits(adapted));
  });

  it("is loaded with the base that it names, or with one that is given", async () => {
    const { logits: expected } = golden.cases["qv"] as { logits: number[] };
    const llama = fileURLToPath(new URL("llama", import.meta.url));
    const adapted = await loadAdaptedModel(pathOf("qv"), { base: llama });
    expect(distance(await logits(adapted), expected)).toBeLessThan(1e-4);
    const files = await adapterBlobs(adapted, { base: llama });
    expect(await logits(await loadAdaptedModel(files))).toEqual(await logits(adapted));
    await expect(loadAdaptedModel(await adapterBlobs(adapted))).rejects.toThrow(/does not say which model/);
    await expect(loadAdaptedModel(await adapterBlobs(adapted, { base: "/nowhere/base" }))).rejects.toThrow(/\/nowhere\/base/);
  });

  it("is no model: the message says what to do", async () => {
    const error = await loadModel(pathOf("qv")).catch((found: unknown) => found);
    expect(String(error)).toMatch(/found an adapter \(LoRA\)/);
    expect((error as { hint: string }).hint).toMatch(/loadAdapter.*loadAdaptedModel/);
  });
});

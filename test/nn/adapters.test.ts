import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  adapterBlobs,
  applyLora,
  type Block,
  FormatError,
  key,
  type Llama,
  LoraLinear,
  type LoraOptions,
  loadAdapter,
  loadAdapterConfig,
  NonFiniteError,
  tensor,
  treeAt,
  UsageError,
  useBackend,
} from "../../src/index.js";
import { readSafetensors, writeSafetensors } from "../../src/nn/safetensors.js";
import { goldenModel } from "../golden/llama-fixture.js";
import { stirred } from "./lora-tools.js";
import { integers, tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

beforeAll(() => void useBackend(createReferenceBackend()));
afterAll(() => void useBackend(undefined));

const names = { config: "adapter_config.json", weights: "adapter_model.safetensors" } as const;
interface Files {
  readonly [names.config]: string;
  readonly [names.weights]: Uint8Array;
}
const read = (name: string): Buffer => readFileSync(new URL(`../golden/peft/${name}`, import.meta.url));
const golden = (name: string): Files => ({
  [names.config]: read(`${name}/${names.config}`).toString(),
  [names.weights]: new Uint8Array(read(`${name}/${names.weights}`)),
});
const qv = golden("qv");
/** The files with other fields in the configuration; undefined takes one away. */
const withFields = (fields: Record<string, unknown>, files: Files = qv): Files => ({
  ...files,
  [names.config]: JSON.stringify({ ...(JSON.parse(files[names.config]) as object), ...fields }),
});

async function refusal(files: Readonly<Partial<Files>>, model: Llama = goldenModel()): Promise<FormatError> {
  const error = await loadAdapter(model, files as Record<string, string | Uint8Array>).then(
    () => new Error("nothing was thrown"),
    (found: unknown) => found,
  );
  if (!(error instanceof FormatError)) throw error;
  expect(error.hint).not.toBe("");
  return error;
}

const { cases } = JSON.parse(read("golden.json").toString()) as { cases: Record<string, unknown> };

describe("adapters in files", () => {
  it("name their base as Python's programs do, a revision of the hub's by a key of its own", async () => {
    const adapted = applyLora(await tinyLlama(), { rank: 1 });
    for (const [base, name, revision] of [
      ["hf:owner/name", "owner/name", undefined],
      ["hf:owner/name@main", "owner/name", undefined],
      ["hf:owner/name@v1", "owner/name", "v1"],
      ["owner/name", "owner/name", undefined],
      ["runs/base", "runs/base", undefined],
      ["hf:owner/name/a.gguf", "hf:owner/name/a.gguf", undefined],
    ] as const) {
      const files = await adapterBlobs(adapted, { base });
      const config = await loadAdapterConfig(files);
      expect([config.base_model_name_or_path, config.revision]).toEqual([name, revision]);
      expect(JSON.parse(await files[names.config].text())).toMatchObject({ revision: revision ?? null });
    }
  });

  it.each<[string, LoraOptions]>([
    ["all matrices", { rank: 2, alpha: 3, dropout: 0.25 }],
    ["one kind, with norms", { rank: 5, rslora: true, targets: ["up_proj"], trainNorms: true }],
    [
      "single modules",
      { rank: 1, targets: ["layers.0.self_attn.q_proj", "layers.1.mlp.up_proj"], modulesToSave: ["layers.0.input_layernorm", "lm_head"] },
    ],
    ["an expression, and the embedding", { rank: 3, targets: /layers\.1\.mlp/, trainEmbeddings: true }],
  ])("come back as they were: %s", async (_, options) => {
    for (const config of [tinyConfig, { ...tinyConfig, tie_word_embeddings: true }]) {
      if (config.tie_word_embeddings && options.modulesToSave !== undefined) continue; // its head is no module
      const model = await tinyLlama(config);
      const adapted = stirred(applyLora(model, options));
      const files = await adapterBlobs(adapted, { base: "owner/name" });
      const again = await loadAdapter(model, files);
      expect(await valuesOf(again)).toEqual(await valuesOf(adapted));
      for (const [layer, block] of adapted.model.layers.entries()) {
        for (const [part, module] of Object.entries({ ...block.self_attn, ...block.mlp })) {
          if (!(module instanceof LoraLinear)) continue;
          const other = again.model.layers[layer];
          expect({ ...other?.self_attn, ...other?.mlp }).toHaveProperty(part);
          const found = ({ ...other?.self_attn, ...other?.mlp } as Record<string, unknown>)[part] as LoraLinear;
          expect([found.scale, found._dropout]).toEqual([module.scale, module._dropout]);
        }
      }
      const said = await loadAdapterConfig(files);
      expect(said).toMatchObject({ r: options.rank, base_model_name_or_path: "owner/name", lora_dropout: options.dropout ?? 0 });
      expect(await adapterBlobs(again, { base: "owner/name" }).then((blobs) => blobs[names.config].text())).toEqual(
        await files[names.config].text(),
      );
    }
  });

  it("of different ranks are written with patterns", async () => {
    const model = await tinyLlama();
    const lora = applyLora(model, { rank: 2, targets: ["q_proj", "v_proj"] });
    const odd = (linear: LoraLinear): LoraLinear =>
      new LoraLinear(
        linear.base(),
        {
          A: tensor(new Float32Array(3 * 16).fill(0.1), { shape: [3, 16] }),
          B: tensor(new Float32Array(24 * 3).fill(0.2), { shape: [24, 3] }),
        },
        { alpha: 7 },
      );
    const mixed = treeAt(lora, (m: Llama) => m.model.layers[1]?.self_attn.q_proj as LoraLinear, odd as never);
    const files = await adapterBlobs(mixed);
    expect(await loadAdapterConfig(files)).toMatchObject({ r: 2, rank_pattern: { "model\\.layers\\.1\\.self_attn\\.q_proj": 3 } });
    expect(await valuesOf(await loadAdapter(model, files))).toEqual(await valuesOf(mixed));
    const dropping = treeAt(
      lora,
      (m: Llama) => m.model.layers[1]?.self_attn.q_proj as LoraLinear,
      ((linear: LoraLinear) =>
        new LoraLinear(linear.base(), { A: linear.lora_A.weight, B: linear.lora_B.weight }, { dropout: 0.5 })) as never,
    );
    await expect(adapterBlobs(dropping)).rejects.toThrow(/differ in dropout or rslora, at model.layers.1.self_attn.q_proj/);
  });

  it("are written of models that have some, with numbers", async () => {
    await expect(adapterBlobs(await tinyLlama())).rejects.toThrow(UsageError);
    const broken = treeAt(
      applyLora(await tinyLlama(), { rank: 1, key: key(1) }),
      (m: Llama) => (m.model.layers[0] as Block).mlp.up_proj,
      ((linear: LoraLinear) =>
        new LoraLinear(linear.base(), { A: linear.lora_A.weight.mul(Number.NaN), B: linear.lora_B.weight })) as never,
    );
    await expect(adapterBlobs(broken)).rejects.toThrow(NonFiniteError);
  });
});

describe("an adapter that cannot be read is refused in words:", () => {
  it.each<[string, Record<string, unknown>, RegExp]>([
    ["another kind of adapter", { peft_type: "IA3" }, /expected peft_type "LORA", found "IA3"/],
    ["no kind", { peft_type: undefined }, /expected peft_type "LORA", found none/],
    ["DoRA", { use_dora: true }, /"use_dora": true, which is not computed here/],
    ["biases", { bias: "all" }, /"bias": "all"/],
    ["biases of adapters", { lora_bias: true }, /"lora_bias": true/],
    ["transposed weights", { fan_in_fan_out: true }, /"fan_in_fan_out": true/],
    ["a beginning that changes the base", { init_lora_weights: "pissa" }, /"init_lora_weights": "pissa"/],
    ["tokens that are trained", { trainable_token_indices: [1] }, /"trainable_token_indices"/],
    ["an option of the future", { use_marvels: { how: "much" } }, /"use_marvels"/],
    ["rank 0", { r: 0 }, /expected r to be a whole number from 1/],
    ["no rank", { r: undefined }, /expected r .* found none/],
    ["an endless alpha", { lora_alpha: "8" }, /expected lora_alpha to be a number above 0, found "8"/],
    ["no targets", { target_modules: null }, /expected target_modules .* found none/],
    ["targets of another model", { target_modules: ["c_attn"] }, /expected target_modules of the model, found \["c_attn"\]/],
    ["the head", { target_modules: ["lm_head", "q_proj"] }, /found one of lm_head/],
    ["the embedding", { target_modules: ["embed_tokens"] }, /found one of model.embed_tokens/],
    ["other layers", { layers_to_transform: [7] }, /expected target_modules of the model/],
    ["other names of layers", { layers_pattern: ["h"] }, /"layers_pattern"/],
    ["a module to save that is none", { modules_to_save: ["score"] }, /"score" in modules_to_save, which the model does not have/],
    ["a part to save", { modules_to_save: ["mlp"] }, /"mlp" in modules_to_save, and model.layers.0.mlp is a part/],
    ["an expression that is none", { target_modules: "(q_proj" }, /expected an expression, found "\(q_proj"/],
    ["an expression that could take for ever", { target_modules: "((a+)+)+b" }, /repeated groups/],
    ["another such", { rank_pattern: { "a*a*a*a*a*b": 3 } }, /many repetitions/],
    ["an expression of Python", { target_modules: "(?i).*Q_PROJ" }, /references, looks around or flags/],
    ["a long expression", { target_modules: "q".repeat(1001) }, /more than 1000 characters/],
    [
      "more targets than tensors",
      { target_modules: ["q_proj", "v_proj", "k_proj"] },
      /expected the tensors "base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"/,
    ],
    ["more tensors than targets", { target_modules: ["q_proj"] }, /v_proj.lora_A.weight.*does not have/],
    ["another rank", { r: 3 }, /shape \[3,32\], found \[4,32\]/],
    ["another rank by pattern", { rank_pattern: { v_proj: 2 } }, /shape \[2,32\], found \[4,32\]/],
    ["another expression", { target_modules: ".*layers\\.0.*q_proj" }, /does not have/],
  ])("%s", async (_, fields, message) => {
    const files = withFields(fields);
    expect((await refusal(files)).message).toMatch(message);
  });

  it("files that are missing, or of another model", async () => {
    expect((await refusal({ [names.config]: qv[names.config] })).message).toMatch(/adapter_model.safetensors/);
    expect((await refusal({ [names.weights]: qv[names.weights] })).message).toMatch(/adapter_config.json/);
    expect((await refusal({ ...qv, [names.config]: "[]" })).message).toMatch(/expected an object/);
    expect((await refusal({ ...qv, [names.weights]: new TextEncoder().encode("PK\u0003\u0004") })).message).toMatch(/zip/);
    expect((await refusal(qv, await tinyLlama())).message).toMatch(/shape \[4,16\], found \[4,32\]/);
    const tied = golden("tied");
    const entries = [...readSafetensors(tied[names.weights], "f").tensors].map(
      ([name, entry]) => [name, { ...entry, data: entry.data.slice() }] as const,
    );
    for (const [name, { data }] of entries) if (name.includes("lm_head")) data[0] = (data[0] as number) ^ 1;
    const model = goldenModel();
    const asTied = Object.assign(Object.create(Object.getPrototypeOf(model) as object) as Llama, model, { lm_head: null });
    expect((await refusal({ ...tied, [names.weights]: writeSafetensors(entries) }, asTied)).message).toMatch(/to equal the embedding/);
  });

  it("a file of which any bytes or characters were changed", async () => {
    const model = goldenModel();
    for (const name of Object.keys(cases).filter((one) => one !== "tied" && one !== "untied")) {
      const files = golden(name);
      const draw = integers(200, 2 ** 31, 3 + name.length);
      for (let trial = 0; trial < 10; trial++) {
        const [what, at, to, cut] = draw.subarray(4 * trial) as unknown as [number, number, number, number];
        const bytes = what % 2 === 0 ? files[names.weights].slice() : new TextEncoder().encode(files[names.config]);
        // In front of the data, which are any numbers.
        const front = what % 2 === 0 ? 8 + (bytes[0] as number) + 256 * (bytes[1] as number) : bytes.length;
        bytes[at % front] = to % 256;
        const changed = what % 5 === 0 ? bytes.subarray(0, cut % bytes.length) : bytes;
        const given =
          what % 2 === 0 ? { ...files, [names.weights]: changed } : { ...files, [names.config]: new TextDecoder().decode(changed) };
        const error = await loadAdapter(model, given).catch((found: unknown) => found);
        if (error instanceof Error) expect(error).toBeInstanceOf(FormatError);
      }
    }
  });
});

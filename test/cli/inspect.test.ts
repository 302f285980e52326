import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { countParameters, llamaShapes } from "../../src/nn/config.js";
import { parseLlamaConfig } from "../../src/nn/config-json.js";
import { float32Tensor, writeSafetensors } from "../../src/nn/safetensors.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

describe("what inspect says", { timeout: 120_000 }, () => {
  let bench: Workbench;
  beforeAll(async () => {
    bench = await createWorkbench();
    expect((await command(bench.train(`--steps 3 --out ${bench.at("base")}`))).code).toBe(0);
    const extend = `extend --model ${bench.at("base")} --text ${bench.at("text.txt")} --g-max 4 --steps 2 --batch 2 --backend reference`;
    expect((await command(`${extend} --out ${bench.at("e2")}`)).code).toBe(0);
  });
  afterAll(() => bench.remove());

  const inspect = async (rest: string) => {
    const found = await command(`inspect ${rest} --json --backend reference`);
    return { ...found, document: JSON.parse(found.stdout) };
  };

  it("is in the files: sizes, tensors, positions, tokenizer and the training that they come from", async () => {
    const { code, document } = await inspect(`${bench.at("e2")} --no-needs`);
    expect(code).toBe(0);
    const config = parseLlamaConfig(await readFile(bench.at("e2/config.json"), "utf8"), "config.json");
    expect(document).toMatchObject({
      kind: "model",
      format: "safetensors",
      parameters: countParameters(config),
      rope: { theta: 10_000, scaling: { type: "default" }, window: 8 },
      reading: { schedule: "linear", gMax: 4 },
      tokenizer: { name: "bytes", vocabSize: 256 },
      training: { step: 2, settings: { command: "extend", method: "e2" } },
      needs: null,
    });
    const shapes = llamaShapes(config);
    expect(new Map(document.tensors.map(({ name, shape }: { name: string; shape: number[] }) => [name, shape]))).toEqual(shapes);
    for (const { storedAs, shape, bytes } of document.tensors) {
      expect(storedAs).toBe("F32");
      expect(bytes).toBe(4 * shape.reduce((product: number, extent: number) => product * extent, 1));
    }
  });

  it("is what commands need, before any of them has begun", async () => {
    const { document } = await inspect(`--model ${bench.at("e2")} --contexts 16,64 --length 32`);
    const needOf = (options: string): number => document.needs.rows.find((row: { options: string }) => row.options === options).needed;
    const text = `--text ${bench.at("text.txt")} --backend reference --json`;
    const read = await command(`eval --model ${bench.at("e2")} --contexts 64 --targets 4 --batch 1 ${text}`);
    expect(JSON.parse(read.stdout).memory.needed).toBe(needOf("--contexts 64 --batch 1"));
    for (const checkpoint of ["", " --checkpoint blocks"]) {
      const out = bench.at(`needs${checkpoint.length}`);
      const trained = await command(`extend --model ${bench.at("base")} --length 32 --batch 1${checkpoint} --steps 1 --out ${out} ${text}`);
      expect(JSON.parse(trained.stdout).memory.needed).toBe(needOf(`--length 32 --batch 1${checkpoint}`));
    }
  });

  it("is what extending by adapters needs, with the numbers that they have, and what is left of it for those that are there", async () => {
    const flags = "--lora 3 --lora-targets q_proj,down_proj --train-norms";
    const { document } = await inspect(`--model ${bench.at("base")} --length 16 ${flags}`);
    const needOf = (options: string): number => document.needs.rows.find((row: { options: string }) => row.options === options).needed;
    const [out, text] = [bench.at("lora"), `--text ${bench.at("text.txt")} --backend reference --json`];
    for (const checkpoint of ["", " --checkpoint blocks"]) {
      const line = `extend --model ${bench.at("base")} ${flags} --g-max 4 --length 16 --batch 1${checkpoint} --steps 1 --out ${out} --force ${text}`;
      expect(JSON.parse((await command(line)).stdout).memory.needed).toBe(needOf(`${flags} --length 16 --batch 1${checkpoint}`));
    }
    // Two matrices of one layer, and three norms.
    expect(document.needs.adapterParameters).toBe(3 * (8 + 8) + 3 * (8 + 32) + 3 * 8);
    const seen = (await inspect(out)).document;
    expect(seen).toMatchObject({ kind: "model", adapter: { r: 3, base_model_name_or_path: bench.at("base") }, training: { step: 1 } });
    expect(seen.needs.adapterParameters).toBe(document.needs.adapterParameters);
    expect(seen.needs.rows.map(({ options }: { options: string }) => options).at(-1)).toBe(
      "--lora 3 --length 8 --batch 1 --checkpoint blocks",
    );
    const words = (await command(`inspect ${out} --backend reference`)).stdout;
    expect(words).toContain(`adapter     on the base ${bench.at("base")}: r 3, lora_alpha 3, targets ["down_proj","q_proj"]`);
    expect(words).toContain("adapters with 192 parameters, where they are trained (--lora)");
    const refused = await command(`inspect ${bench.at("base")} --lora-targets whale`);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining("whale") });
    // Without the files that this program puts beside an adapter it is one of PEFT's, and held against its base all the same.
    for (const name of ["config.json", "trainer.safetensors"]) await rm(`${out}/${name}`, { force: true });
    expect((await inspect(out)).document).toMatchObject({
      kind: "adapter",
      base: { source: bench.at("base"), format: "safetensors", parameters: document.parameters, problem: null },
    });
    expect((await command(`inspect ${out}`)).stdout).toContain(
      `base        ${bench.at("base")}: safetensors, 3.1k parameters; the adapter fits it`,
    );
    const config = JSON.parse(await readFile(`${out}/adapter_config.json`, "utf8"));
    for (const [changed, problem] of [
      [{ ...config, r: 4 }, "lora_A.weight"],
      [{ ...config, target_modules: ["whale"] }, 'expected target_modules of the model, found ["whale"]'],
      [{ ...config, base_model_name_or_path: bench.at("nowhere") }, "nowhere"],
      [{ ...config, base_model_name_or_path: null }, "does not say which model it belongs to"],
    ] as const) {
      await writeFile(`${out}/adapter_config.json`, JSON.stringify(changed));
      const { code, document: facts } = await inspect(out);
      expect(code).toBe(0);
      expect(facts.base.problem).toContain(problem);
    }
  });

  it("is told in words without JSON, with every tensor where that is asked for", async () => {
    const few = await command(`inspect ${bench.at("e2")} --backend reference`);
    expect(few.code).toBe(0);
    for (const words of [
      "1 layer of width 8",
      "2 heads of 4",
      "RoPE with theta 10000",
      "read by schedule linear",
      "bytes, 256 tokens",
      "extend e2",
    ])
      expect(few.stdout).toContain(words);
    expect(few.stdout).toMatch(/eval --contexts 8 --batch 1 +[\d.]+ KiB\n/);
    expect(few.stdout).not.toContain("model.embed_tokens.weight");
    const all = await command(`inspect ${bench.at("e2")} --no-needs --tensors`);
    for (const line of [/model\.embed_tokens\.weight +F32 +8 KiB +\[256, 8\]/, /model\.norm\.weight +F32 +32 B +\[8\]/])
      expect(all.stdout).toMatch(line);
    expect(all.stderr).toBe("");
  });

  it("is of an adapter too, which is no model", async () => {
    await mkdir(bench.at("adapter"));
    const settings = { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q_proj"], base_model_name_or_path: "runs/base" };
    await writeFile(bench.at("adapter/adapter_config.json"), JSON.stringify(settings));
    const name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    await writeFile(
      bench.at("adapter/adapter_model.safetensors"),
      writeSafetensors([[name, float32Tensor(new Float32Array(16), [2, 8])]], {}),
    );
    const { code, document } = await inspect(bench.at("adapter"));
    expect(code).toBe(0);
    expect(document).toMatchObject({
      kind: "adapter",
      parameters: 16,
      config: settings,
      tensors: [{ name, shape: [2, 8], storedAs: "F32", bytes: 64 }],
    });
    expect((await command(`inspect ${bench.at("adapter")}`)).stdout).toContain('of          "runs/base"');
  });

  it("is a refusal with advice for what is no model, whatever else it is", async () => {
    await mkdir(bench.at("empty"));
    await cp(bench.at("base"), bench.at("cut"), { recursive: true });
    const weights = await readFile(bench.at("base/model.safetensors"));
    await writeFile(bench.at("cut/model.safetensors"), weights.subarray(0, weights.length - 5));
    await cp(bench.at("base"), bench.at("other"), { recursive: true });
    await writeFile(bench.at("other/config.json"), '{"model_type": "gpt2"}');
    await mkdir(bench.at("adapter-cut"));
    await writeFile(bench.at("adapter-cut/adapter_config.json"), "[]");
    for (const source of ["nowhere", "empty", "text.txt", "cut", "other", "adapter-cut"]) {
      const { code, stdout, stderr } = await command(`inspect ${bench.at(source)} --no-needs`);
      expect([source, code, stdout]).toEqual([source, 2, ""]);
      expect(stderr).toMatch(/^error: [^\n]+\nhint: [^\n]+\n$/);
    }
    expect((await command("inspect")).stderr).toContain("inspect needs a model");
    expect((await command("inspect a --model b")).stderr).toContain("takes one model, found a and --model b");
  });
});

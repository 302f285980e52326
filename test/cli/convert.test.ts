import { cp, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openModel } from "../../src/nn/open-model.js";
import type { StoredTensor } from "../../src/nn/stored-model.js";
import { loadTokenizer } from "../../src/nn/tokenizers.js";
import { writeTinyTokenizer } from "./tiny-tokenizer.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

describe("a model that is written in another format", { timeout: 120_000 }, () => {
  let bench: Workbench;
  beforeAll(async () => {
    bench = await createWorkbench();
    await writeTinyTokenizer(bench.at("tokens"));
    expect((await command(bench.train(`--tokenizer ${bench.at("tokens")} --steps 3 --out ${bench.at("base")}`))).code).toBe(0);
    const extend = `extend --model ${bench.at("base")} --text ${bench.at("text.txt")} --g-max 4 --steps 2 --batch 2 --backend reference`;
    expect((await command(`${extend} --out ${bench.at("e2")}`)).code).toBe(0);
  });
  afterAll(() => bench.remove());

  const convert = async (rest: string) => {
    const found = await command(`convert ${rest} --json`);
    expect(found).toMatchObject({ code: 0 });
    return JSON.parse(found.stdout);
  };
  const numbersOf = async (source: string): Promise<Map<string, number[]>> => {
    const stored = await openModel(source);
    const read = async ({ name, shape, read: part }: StoredTensor): Promise<[string, number[]]> => [
      name,
      Array.from(
        await part(
          0,
          shape.reduce((product, extent) => product * extent, 1),
        ),
      ),
    ];
    const found: [string, number[]][] = [];
    for (const tensor of stored.tensors.values()) found.push(await read(tensor));
    await stored.close();
    return new Map(found.sort(([a], [b]) => (a < b ? -1 : 1)));
  };

  it("is the same model, from a folder to GGUF and back, tokenizer included", async () => {
    const [gguf, back] = [bench.at("base.gguf"), bench.at("back")];
    expect(await convert(`${bench.at("base")} --out ${gguf}`)).toMatchObject({
      from: "safetensors",
      format: "gguf",
      dtype: "f32",
      exportScale: null,
    });
    expect(await convert(`--model ${gguf} --out ${back} --tokenizer ${bench.at("tokens")}`)).toMatchObject({
      from: "gguf",
      format: "safetensors",
    });
    expect(await numbersOf(gguf)).toEqual(await numbersOf(bench.at("base")));
    expect(await numbersOf(back)).toEqual(await numbersOf(bench.at("base")));
    expect(await readFile(bench.at("back/tokenizer.json"))).toEqual(await readFile(bench.at("tokens/tokenizer.json")));
    const texts: string[] = [];
    for (const source of [bench.at("base"), gguf, back]) {
      const line = `generate --model ${source} --prompt whale --tokens 8 --temperature 0 --ignore-eos --backend reference --json`;
      texts.push(JSON.parse((await command(line)).stdout).text);
    }
    expect(texts).toEqual([texts[0], texts[0], texts[0]]);
  });

  it("takes the tokenizer that is inside of a GGUF file along, into a folder and into another file", async () => {
    const [gguf, folder, again] = [bench.at("t.gguf"), bench.at("t"), bench.at("t2.gguf")];
    await convert(`${bench.at("base")} --out ${gguf} --tokenizer ${bench.at("tokens")}`);
    await convert(`${gguf} --out ${folder}`);
    await convert(`${gguf} --out ${again}`);
    const text = "Call me Ishmael. 12345 — naïve\n\t whales";
    const [given, ...others] = await Promise.all(
      [bench.at("tokens"), gguf, folder, again].map(async (source) => [...(await loadTokenizer(source)).encode(text)]),
    );
    expect(others).toEqual([given, given, given]);
    expect((await readdir(folder)).sort()).toEqual(
      expect.arrayContaining(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]),
    );
  });

  it("is said to be another for llama.cpp where that has no windows", async () => {
    await cp(bench.at("base"), bench.at("mistral"), { recursive: true });
    const config = JSON.parse(await readFile(bench.at("base/config.json"), "utf8"));
    await writeFile(bench.at("mistral/config.json"), JSON.stringify({ ...config, model_type: "mistral", sliding_window: 4 }));
    const gguf = await command(`convert ${bench.at("mistral")} --out ${bench.at("mistral.gguf")}`);
    expect(gguf).toMatchObject({ code: 0, stderr: expect.stringMatching(/^warning: llama\.cpp reads .+ without its window of 4 tokens/) });
    expect(await command(`convert ${bench.at("mistral.gguf")} --out ${bench.at("mistral2")}`)).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(await readFile(bench.at("mistral2/config.json"), "utf8")).sliding_window).toBe(4);
  });

  it("has the dtype that was asked for, and half of the bytes", async () => {
    for (const dtype of ["bf16", "f16", "f32"]) {
      const out = bench.at(`as-${dtype}`);
      const { bytes } = await convert(`${bench.at("base")} --out ${out} --dtype ${dtype}`);
      const stored = await openModel(out);
      expect([...stored.tensors.values()].every((tensor) => tensor.storedAs === dtype.toUpperCase())).toBe(true);
      expect([...stored.tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, 0)).toBe(bytes);
      await stored.close();
      // What is stored in halves stays so unless something else is said.
      expect(await convert(`${out} --out ${bench.at(`again-${dtype}`)}`)).toMatchObject({ dtype });
    }
    await convert(`${bench.at("base")} --out ${bench.at("small.gguf")} --dtype q8_0`);
    expect((await stat(bench.at("small.gguf"))).size).toBeLessThan((await stat(bench.at("base.gguf"))).size);
  });

  it("is read at the scale that it was exported at, by all who read it", async () => {
    const line = (source: string, scale: string): string =>
      `eval --model ${source}${scale} --text ${bench.at("text.txt")} --contexts 24 --targets 8 --backend reference --json`;
    const expected = JSON.parse((await command(line(bench.at("e2"), " --scale 3"))).stdout).rows[0].nats;
    for (const out of [bench.at("x3"), bench.at("x3.gguf")]) {
      expect(await convert(`${bench.at("e2")} --out ${out} --export-scale 3`)).toMatchObject({
        exportScale: 3,
        schedule: "linear",
        window: 24,
      });
      const { rope, config } = JSON.parse((await command(`inspect ${out} --no-needs --json`)).stdout);
      expect(rope).toMatchObject({ scaling: { type: "linear", factor: 3 }, window: 8 });
      expect(config.max_position_embeddings).toBe(24);
      expect(JSON.parse((await command(line(out, ""))).stdout).rows[0].nats).toBeCloseTo(expected, 5);
    }
    const config = JSON.parse(await readFile(bench.at("x3/config.json"), "utf8"));
    expect(config).toMatchObject({ rope_scaling: { rope_type: "linear", factor: 3 }, rope_parameters: { factor: 3 }, rope_theta: 10_000 });
    // As floats, which Python's programs want there.
    for (const float of ['"factor": 3.0', '"rope_theta": 10000.0']) {
      expect(await readFile(bench.at("x3/config.json"), "utf8")).toContain(float);
    }
    const yarn = await convert(`${bench.at("base")} --out ${bench.at("yarn")} --export-scale 4 --schedule yarn`);
    expect(yarn).toMatchObject({ schedule: "yarn", window: 32 });
  });

  it("takes the place of no other model and never of what is read", async () => {
    const before = await readFile(bench.at("base/model.safetensors"));
    for (const force of ["", " --force"]) {
      const itself = await command(`convert ${bench.at("base")} --out ${bench.at("base/.")}${force}`);
      expect(itself).toMatchObject({ code: 2, stdout: "" });
      expect(itself.stderr).toContain("is what is read");
    }
    expect(await readFile(bench.at("base/model.safetensors"))).toEqual(before);
    for (const [out, message] of [
      [bench.at("e2"), "holds a model already (config.json, model.safetensors"],
      [bench.at("base.gguf"), "holds a model already"],
      [bench.at("text.txt"), "is a file, and a folder of that name has to be written"],
    ] as const) {
      const refused = await command(`convert ${bench.at("base")} --out ${out}`);
      expect(refused).toMatchObject({ code: 2, stdout: "" });
      expect(refused.stderr).toContain(message);
      expect(refused.stderr).toMatch(/hint: [^\n]+\n$/);
    }
    await convert(`${bench.at("base")} --out ${bench.at("base.gguf")} --force`);
    await mkdir(bench.at("folder.gguf"));
    expect((await command(`convert ${bench.at("base")} --out ${bench.at("folder.gguf")}`)).stderr).toContain("is a folder, and a file");
  });

  it("is refused for what says nothing, leaving nothing behind", async () => {
    await writeFile(bench.at("broken.gguf"), "GGUF, but no more");
    const cases = [
      [`${bench.at("base")}`, "needs a place to write to"],
      [`${bench.at("base")} --out ${bench.at("n1")} --dtype q8_0`, "q8_0 is a type of GGUF"],
      [`${bench.at("base")} --out ${bench.at("n1")} --schedule yarn`, "which was not given"],
      [`${bench.at("base")} --out ${bench.at("n1")} --export-scale 4`, "was not extended"],
      [`${bench.at("base")} --out ${bench.at("n1")} --export-scale 0.5`, "--export-scale"],
      [`${bench.at("broken.gguf")} --out ${bench.at("n1")}`, "broken.gguf"],
      [`${bench.at("nowhere")} --out ${bench.at("n1")}`, "nowhere"],
    ] as const;
    for (const [rest, message] of cases) {
      const refused = await command(`convert ${rest}`);
      expect([rest, refused.code, refused.stdout]).toEqual([rest, 2, ""]);
      expect(refused.stderr).toContain(message);
    }
    expect(await readdir(bench.folder)).not.toContain("n1");
  });
});

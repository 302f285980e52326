import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/nn/tokenizers.js";
import { HubServer, hubCommits, useHub } from "../support/hub-server.js";
import { llama2cFile, llama2cTokenizer } from "../support/llama2c.js";
import { writeTinyTokenizer } from "./tiny-tokenizer.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

describe("a model of the Hugging Face Hub", { timeout: 120_000 }, () => {
  const hub = new HubServer();
  let bench: Workbench;
  let restore = (): void => {};
  let home = "";
  let count = 0;
  beforeAll(async () => {
    bench = await createWorkbench();
    await hub.start();
    await writeTinyTokenizer(bench.at("tokens"));
    expect(await command(bench.train(`--tokenizer ${bench.at("tokens")} --steps 3 --out ${bench.at("base")}`))).toMatchObject({ code: 0 });
    expect(await command(`convert ${bench.at("base")} --out ${bench.at("m.gguf")}`)).toMatchObject({ code: 0 });
    const read = async (path: string): Promise<Uint8Array> => new Uint8Array(await readFile(bench.at(path)));
    const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    hub.repos.set("tiny/one", new Map(await Promise.all(names.map(async (name) => [name, await read(`base/${name}`)] as const))));
    hub.repos.set("tiny/gguf", new Map([["m.gguf", await read("m.gguf")]]));
  });
  // Each begins with a cache that is empty.
  beforeEach(() => {
    home = bench.at(`home${count++}`);
    restore = useHub(hub.origin, home);
    Object.assign(hub, { mishap: "none", asked: [] });
  });
  afterEach(() => restore());
  afterAll(async () => {
    hub.close();
    await bench.remove();
  });

  const read = async (line: string) => {
    const found = await command(`${line} --json`);
    expect(found).toMatchObject({ code: 0 });
    return JSON.parse(found.stdout);
  };
  const received = (): string[] => [
    ...new Set(hub.asked.filter(({ path }) => path.includes("/resolve/")).map(({ path }) => path.replace(/.*resolve\/[^/]*\//, ""))),
  ];
  const evaluation = (model: string): string =>
    `eval --model ${model} --text ${bench.at("text.txt")} --contexts 8 --targets 4 --backend reference`;
  const greedy = (model: string): string =>
    `generate --model ${model} --prompt whale --tokens 3 --temperature 0 --ignore-eos --backend reference`;

  it("is looked at, measured and continued as the same model in a folder, and downloaded once", async () => {
    const seen = await read("inspect hf:tiny/one --contexts 8 --length 8 --backend reference");
    const expected = await read(`inspect ${bench.at("base")} --contexts 8 --length 8 --backend reference`);
    const anywhere = (facts: typeof seen) => ({ ...facts, model: "", training: null, tokenizer: { ...facts.tokenizer, name: "" } });
    expect(anywhere(seen)).toEqual(anywhere(expected));
    expect(seen.tokenizer.vocabSize).toBeGreaterThan(256);
    hub.asked = [];
    expect((await read(evaluation("hf:tiny/one"))).rows).toEqual((await read(evaluation(bench.at("base")))).rows);
    expect((await read(greedy("hf:tiny/one@main"))).text).toBe((await read(greedy(bench.at("base")))).text);
    // What inspect had is not had again.
    expect(received()).toEqual([]);
  });

  it("may be a GGUF file, the only one or one by its name", async () => {
    const { text } = await read(greedy(bench.at("m.gguf")));
    expect((await read(greedy("hf:tiny/gguf"))).text).toBe(text);
    expect((await read(greedy(`hf:tiny/gguf@${hubCommits.main}/m.gguf`))).text).toBe(text);
    expect(received()).toEqual(["m.gguf"]);
  });

  it("is converted, with its tokenizer", async () => {
    const written = async (out: string) => {
      expect(await command(`convert hf:tiny/one --out ${bench.at(out)}`)).toMatchObject({ code: 0 });
      return (await read(greedy(bench.at(out)))).text;
    };
    const { text } = await read(greedy(bench.at("base")));
    expect([await written("copy"), await written("copy.gguf")]).toEqual([text, text]);
    expect(await readFile(bench.at("copy/tokenizer.json"))).toEqual(await readFile(bench.at("tokens/tokenizer.json")));
  });

  it("is extended by adapters, which name it as Python's programs do", async () => {
    const extend = `extend --text ${bench.at("text.txt")} --g-max 4 --steps 1 --batch 1 --backend reference`;
    const adapted = bench.at("adapted");
    expect((await read(`${extend} --model hf:tiny/one@v1 --lora 2 --out ${adapted}`)).from).toBe("hf:tiny/one@v1");
    expect(await readdir(adapted)).toContain("tokenizer.json");
    const config = JSON.parse(await readFile(`${adapted}/adapter_config.json`, "utf8"));
    expect(config).toMatchObject({ base_model_name_or_path: "tiny/one", revision: "v1" });
    // Its base is found by that, and the run is gone on with.
    const { rows } = await read(evaluation(adapted));
    expect((await read(`extend --resume ${adapted} --steps 2 --backend reference`)).step).toBe(2);
    expect((await read(evaluation(adapted))).rows).not.toEqual(rows);
  });

  it("is read from the cache where there is no connection, and else it is said what to do", async () => {
    const { text } = await read(greedy("hf:tiny/one"));
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:9";
    expect((await read(greedy("hf:tiny/one"))).text).toBe(text);
    for (const line of ["inspect hf:tiny/two", evaluation("hf:tiny/two"), greedy("hf:tiny/two"), `convert hf:tiny/two --out ${home}/x`]) {
      const { code, stdout, stderr } = await command(line);
      expect([line, code, stdout]).toEqual([line, 2, ""]);
      expect(stderr).toContain(
        "error: hf:tiny/two/config.json: the Hub cannot be reached at http://127.0.0.1:9, and the file is not in the",
      );
      expect(stderr).toMatch(/hint: connect once to download it, copy the cache \(HF_HOME\)/);
    }
  });

  it("is refused in a line for a name, a revision or a file that there is not", async () => {
    for (const [model, message] of [
      ["hf:tiny/none", "hf:tiny/none: the Hub answers 404: there is no such model or revision"],
      ["hf:tiny/one@v7", "hf:tiny/one@v7: the Hub answers 404: there is no such model or revision"],
      ["hf:tiny/gguf/n.gguf", "hf:tiny/gguf/n.gguf: there is no such file"],
      ["hf:tiny", '"hf:tiny" names no model of the Hugging Face Hub'],
    ] as const) {
      for (const line of [`inspect ${model}`, evaluation(model), greedy(model), `convert ${model} --out ${home}/x`]) {
        const { code, stdout, stderr } = await command(line);
        expect([line, code, stdout]).toEqual([line, 2, ""]);
        expect(stderr).toContain(`error: ${message}`);
        expect(stderr.match(/^hint: .+$/gm)).toHaveLength(1);
      }
    }
  });

  it("is downloaded on where the line broke, and not kept where its hash is another's", async () => {
    const blobs = `${home}/hub/models--tiny--one/blobs`;
    const incomplete = async (): Promise<string[]> => (await readdir(blobs)).filter((name) => name.endsWith(".incomplete"));
    hub.mishap = "cut";
    const cut = await command(greedy("hf:tiny/one"));
    expect(cut).toMatchObject({ code: 2, stdout: "" });
    expect(cut.stderr).toMatch(/^error: hf:tiny\/one\/model\.safetensors: .+\nhint: /m);
    const [left] = await incomplete();
    const had = (await stat(`${blobs}/${left}`)).size;
    expect(had).toBeGreaterThan(0);
    Object.assign(hub, { mishap: "none", asked: [] });
    await read(greedy("hf:tiny/one"));
    const last = (hub.repos.get("tiny/one")?.get("model.safetensors")?.length ?? 0) - 1;
    expect(hub.asked.map(({ range }) => range)).toContain(`bytes=${had}-${last}`);

    await rm(home, { recursive: true });
    hub.mishap = "damage";
    const damaged = await command(evaluation("hf:tiny/one"));
    expect(damaged).toMatchObject({ code: 2, stdout: "" });
    expect(damaged.stderr).toMatch(/model\.safetensors: expected a file with the hash [0-9a-f]{64}, found/);
    expect(damaged.stderr).toContain("hint: the download was damaged or cut short; try again");
    expect(await incomplete()).toEqual([]);
    hub.mishap = "none";
    await read(evaluation("hf:tiny/one"));
  });
});

describe("a model of llama2.c", { timeout: 120_000 }, () => {
  let bench: Workbench;
  let model = "";
  beforeAll(async () => {
    bench = await createWorkbench();
    model = bench.at("stories/model.bin");
    await mkdir(bench.at("stories"));
    await writeFile(model, llama2cFile(1));
    await writeFile(bench.at("stories/tok61.bin"), llama2cTokenizer());
  });
  afterAll(() => bench.remove());

  const json = async (line: string) => {
    const found = await command(`${line} --json`);
    expect(found).toMatchObject({ code: 0 });
    return JSON.parse(found.stdout);
  };
  const greedy = async (source: string, rest = ""): Promise<string> =>
    (await json(`generate --model ${source} --prompt whale --tokens 4 --temperature 0 --ignore-eos --backend reference${rest}`)).text;
  const loss = async (source: string): Promise<number> =>
    (await json(`eval --model ${source} --text ${bench.at("text.txt")} --contexts 8 --targets 4 --backend reference`)).rows[0].nats;

  it("is looked at, measured and continued with the tokenizer that lies beside it, by file and by folder", async () => {
    const seen = await json(`inspect ${model} --contexts 8 --length 8 --backend reference`);
    expect(seen).toMatchObject({ format: "llama2.c", tokenizer: { vocabSize: 61, bos: 1, eos: 2 }, tokenizerProblem: null });
    const [text, nats] = [await greedy(model), await loss(model)];
    expect(text.length).toBeGreaterThan(0);
    expect(await greedy(bench.at("stories"))).toBe(text);
    expect(await loss(bench.at("stories"))).toBe(nats);
    expect(await greedy(model, ` --tokenizer ${bench.at("stories/tok61.bin")}`)).toBe(text);
  });

  it("is converted to a folder and a GGUF file that others can read too, and extended", async () => {
    const [text, nats] = [await greedy(model), await loss(model)];
    for (const out of [bench.at("folder"), bench.at("m.gguf")]) {
      expect(await json(`convert ${model} --out ${out}`)).toMatchObject({ from: "llama2.c" });
      expect([out, await greedy(out)]).toEqual([out, text]);
      expect(await loss(out)).toBeCloseTo(nats, 12);
    }
    expect(await readdir(bench.at("folder"))).toEqual(expect.arrayContaining(["tokenizer.json", "tokenizer_config.json"]));
    const extend = `extend --model ${model} --text ${bench.at("text.txt")} --length 16 --g-max 2 --steps 1 --batch 1 --backend reference`;
    await json(`${extend} --lora 2 --out ${bench.at("adapted")}`);
    expect(await loss(bench.at("adapted"))).not.toBe(nats);
    const given = await loadTokenizer(model);
    for (const source of ["folder", "m.gguf", "adapted"]) {
      const found = await loadTokenizer(bench.at(source));
      for (const line of ["whale  ships.\n sea", " ", "", "Zebra é"]) expect([...found.encode(line)]).toEqual([...given.encode(line)]);
    }
  });

  it("is refused without a tokenizer in a line that says where to put one, and converted all the same", async () => {
    const alone = bench.at("alone.bin");
    await writeFile(alone, llama2cFile(0));
    for (const line of [`generate --model ${alone} --prompt whale`, `eval --model ${alone} --text ${bench.at("text.txt")}`]) {
      const { code, stdout, stderr } = await command(`${line} --backend reference`);
      expect([code, stdout]).toEqual([2, ""]);
      expect(stderr).toMatch(/error: \S+alone\.bin: there is no tokenizer beside the model, which has 61 tokens\nhint: .*--tokenizer/);
    }
    expect((await json(`inspect ${alone} --no-needs`)).tokenizerProblem).toContain("no tokenizer beside the model");
    const folder = await command(`convert ${alone} --out ${bench.at("bare")}`);
    expect(folder).toMatchObject({ code: 0, stderr: expect.stringContaining("has no tokenizer that files could say") });
    const gguf = await command(`convert ${alone} --out ${bench.at("bare.gguf")}`);
    expect(gguf).toMatchObject({
      code: 0,
      stderr: expect.stringContaining("has no tokenizer that the file could say: name it with --tokenizer"),
    });
  });

  it("is refused where the file or its tokenizer is damaged", async () => {
    const refusal = async (weights: Uint8Array, tokenizer: Uint8Array): Promise<string> => {
      await mkdir(bench.at("bad"), { recursive: true });
      await writeFile(bench.at("bad/model.bin"), weights);
      await writeFile(bench.at("bad/tokenizer.bin"), tokenizer);
      const found = await command(`generate --model ${bench.at("bad/model.bin")} --prompt whale --backend reference`);
      expect(found).toMatchObject({ code: 2, stdout: "" });
      return found.stderr;
    };
    expect(await refusal(llama2cFile(1).subarray(0, -3), llama2cTokenizer())).toMatch(
      /model\.bin.*: expected a file of \d+ bytes, found \d+/,
    );
    expect(await refusal(llama2cFile(1), llama2cTokenizer().subarray(0, 90))).toMatch(/tokenizer\.bin.*: expected/);
  });
});

import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { DawngradError, FormatError, OptionError } from "../../src/errors.js";
import {
  adamw,
  type Llama,
  loadConfig,
  loadModel,
  loadTraining,
  modelBlobs,
  saveModel,
  trainingBlobs,
  useBackend,
} from "../../src/index.js";
import { fromHalves } from "../../src/ir/halves.js";
import { parseJson } from "../../src/nn/json.js";
import { float32Tensor, readSafetensors, type SafetensorsTensor, writeSafetensors } from "../../src/nn/safetensors.js";
import { tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

let folder = "";
const at = (...names: string[]): string => join(folder, ...names);
let model: Llama;
let weights: Uint8Array;
let config: string;
beforeAll(async () => {
  useBackend(createReferenceBackend());
  folder = await mkdtemp(join(tmpdir(), "dawngrad-source-"));
  model = await tinyLlama();
  await saveModel(at("base"), model);
  weights = await readFile(at("base", "model.safetensors"));
  config = await readFile(at("base", "config.json"), "utf8");
});
afterAll(async () => {
  useBackend(undefined);
  await rm(folder, { recursive: true, force: true });
});

const failure = (promise: Promise<unknown>): Promise<FormatError> =>
  promise.then(
    () => expect.unreachable("nothing was refused"),
    (error: FormatError) => error,
  );
const sameAsModel = async (found: Llama): Promise<void> => expect(await valuesOf(found)).toEqual(await valuesOf(model));

/** The stored weights with some of them exchanged, in the order of a writer. */
function changed(change: (tensors: Map<string, SafetensorsTensor>) => void): Uint8Array {
  const tensors = new Map<string, SafetensorsTensor>(readSafetensors(weights, "w").tensors);
  change(tensors);
  return writeSafetensors(
    [...tensors].map(([name, { dtype, shape, data }]) => [name, { dtype, shape, data }] as const),
    { format: "pt" },
  );
}
const load = (bytes: Uint8Array, settings: object = {}): Promise<Llama> =>
  loadModel({ "config.json": JSON.stringify({ ...JSON.parse(config), ...settings }), "model.safetensors": bytes });

describe("a model is read from", () => {
  it("contents by name: bytes, buffers, text and Blobs", async () => {
    await sameAsModel(await loadModel({ "config.json": config, "model.safetensors": weights }));
    const buffer = weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length) as ArrayBuffer;
    await sameAsModel(await loadModel({ "config.json": new TextEncoder().encode(config), "model.safetensors": buffer }));
    const blobs = await modelBlobs(model);
    expect(Object.keys(blobs).sort()).toEqual(["config.json", "model.safetensors"]);
    expect(new Uint8Array(await blobs["model.safetensors"].arrayBuffer())).toEqual(new Uint8Array(weights));
    await sameAsModel(await loadModel(blobs));
    expect(await loadConfig(blobs)).toEqual(await loadConfig(at("base")));
  });

  it("files that a page was given, in any order and in folders, as a list with or without an iterator", async () => {
    const files = [
      new File([new Uint8Array(weights)], "base/model.safetensors"),
      new File(["unneeded"], "README.md"),
      new File([config], "config.json"),
    ];
    await sameAsModel(await loadModel(files));
    await sameAsModel(await loadModel(new Set(files)));
    await sameAsModel(await loadModel({ length: 3, 0: files[0] as File, 1: files[1] as File, 2: files[2] as File }));
    await expect(loadModel([...files, new File([config], "other/config.json")])).rejects.toThrow(OptionError);
  });

  it("a folder, as a path and as a file: address", async () => {
    await sameAsModel(await loadModel(at("base")));
    await sameAsModel(await loadModel(pathToFileURL(at("base"))));
    await sameAsModel(await loadModel(`${pathToFileURL(at("base"))}/`));
  });

  it("what a page saved of a training run", async () => {
    const optimizer = adamw();
    const state = { model, optimizerState: optimizer.init(model), step: 7, extra: { seed: 3 } };
    const found = await loadTraining(await trainingBlobs(state), optimizer);
    await sameAsModel(found.model);
    expect([found.step, found.extra]).toEqual([7, { seed: 3 }]);
  });

  it("nothing else", async () => {
    for (const wrong of ["", 3, null, undefined, weights, new Blob([weights.slice()]), [1, 2], { "config.json": 3 }]) {
      const error = await failure(loadModel(wrong as unknown as string));
      expect(error, String(wrong)).toBeInstanceOf(DawngradError);
      expect(error.message).toMatch(/source/);
    }
    expect(await failure(loadModel({}))).toMatchObject({ file: "config.json" });
  });
});

describe("a model at an address", () => {
  let server: Server;
  let origin = "";
  /** How a file is sent: whole, without its length, compressed, in crumbs, or cut off. */
  let mode: "plain" | "chunked" | "gzip" | "crumbs" | "cut" | "page" = "plain";
  beforeAll(async () => {
    server = createServer(async (request, response) => {
      const path = new URL(request.url ?? "/", "http://localhost").pathname;
      const body = path === "/m/config.json" ? Buffer.from(config) : path === "/m/model.safetensors" ? Buffer.from(weights) : undefined;
      if (body === undefined) return void response.writeHead(404).end("Entry not found");
      if (mode === "page") return void response.writeHead(200).end("<!DOCTYPE html><html><body>Log in</body></html>");
      if (mode === "gzip") return void response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(body));
      if (mode === "plain") return void response.writeHead(200, { "content-length": body.length }).end(body);
      const size = mode === "crumbs" ? 37 : 4096;
      response.writeHead(200, path.endsWith("json") || mode !== "cut" ? {} : { "content-length": body.length });
      for (let begin = 0; begin < body.length; begin += size) {
        if (mode === "cut" && begin >= body.length / 2 && path.endsWith("safetensors")) return void response.destroy();
        response.write(body.subarray(begin, begin + size));
        if (mode === "crumbs" && begin % 370 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  it.each(["plain", "chunked", "gzip", "crumbs"] as const)("is read as it comes in: %s", async (how) => {
    mode = how;
    await sameAsModel(await loadModel(`${origin}/m`));
    await sameAsModel(await loadModel(new URL(`${origin}/m/?token=1`)));
  });

  it("that answers with something else is refused with what it answered", async () => {
    mode = "cut";
    expect((await failure(loadModel(`${origin}/m/`))).message).toMatch(/cannot be fetched|expected a file of/);
    mode = "page";
    expect((await failure(loadModel(`${origin}/m`))).message).toMatch(/found a web page/);
    mode = "plain";
    expect((await failure(loadModel(`${origin}/other`))).message).toMatch(/\/other\/config.json: there is no such file/);
    expect((await failure(loadModel("http://127.0.0.1:9/m"))).message).toMatch(/cannot be fetched/);
  });
});

describe("a folder of another kind is named for what it holds:", () => {
  const folders: [name: string, files: Record<string, string>, message: RegExp][] = [
    ["a checkpoint in several files without its index", { "model-00001-of-00002.safetensors": "" }, /several files/],
    ["weights of PyTorch", { "pytorch_model.bin": "" }, /weights of PyTorch \(pytorch_model.bin\)/],
    ["Meta's own format", { "consolidated.00.pth": "" }, /weights of PyTorch/],
    ["a GGUF", { "tiny.Q4_K_M.gguf": "" }, /GGUF/],
    ["an adapter", { "adapter_model.safetensors": "", "adapter_config.json": "" }, /adapter/],
    ["another name", { "weights.safetensors": "" }, /another name/],
    ["another framework", { "tf_model.h5": "" }, /another framework/],
    ["nothing", {}, /no such file/],
  ];
  it.each(folders)("%s", async (name, files, message) => {
    const path = at("folders", name);
    await mkdir(path, { recursive: true });
    for (const [file, content] of Object.entries(files)) await writeFile(join(path, file), content);
    // With and without a config.json, and as files of a page.
    const bare = await failure(loadModel(path));
    expect(bare.message).toMatch(message);
    await writeFile(join(path, "config.json"), config);
    const error = await failure(loadModel(path));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/model\.safetensors: there is no such file/);
    expect(error.message).toMatch(message);
    expect(error.hint).not.toBe("");
    const picked = await failure(loadModel({ "config.json": config, ...files }));
    expect(picked.message).toMatch(message);
  });

  it("a half of a model, which is told from where the other half is to be had", async () => {
    const lonely = await failure(loadModel({ "model.safetensors": weights, "tokenizer.json": "{}" }));
    expect(lonely.message).toBe("config.json: there is no such file");
    expect(lonely.hint).toBe("get it from where model.safetensors came from");
    const light = await failure(loadModel({ "config.json": config, "README.md": "" }));
    expect(light.message).toBe("model.safetensors: there is no such file");
    expect(light.hint).toBe("get it from where config.json came from");
  });

  it("a file in place of the folder", async () => {
    await writeFile(at("whole.zip"), "PK\x03\x04");
    expect((await failure(loadModel(at("whole.zip")))).message).toMatch(/expected the folder of a model, found a file: a zip archive/);
    expect((await failure(loadModel(at("nowhere")))).message).toMatch(/no such file/);
  });
});

describe("a file of another kind is named for what it is:", () => {
  const bytes = (...values: number[]): Uint8Array => Uint8Array.from([...values, ...new Array(40).fill(0)]);
  const kinds: [name: string, content: Uint8Array | string, message: RegExp][] = [
    ["a pointer of Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", /pointer of Git LFS/],
    ["a web page", "\n<!DOCTYPE html><html lang=en>", /web page/],
    ["a web page without a doctype", "<html><head>", /web page/],
    ["an XML document", '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', /XML/],
    ["a message", "Entry not found", /text that begins with "Entry not found"/],
    ["a GGUF", bytes(0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0), /GGUF/],
    ["a zip archive", bytes(0x50, 0x4b, 3, 4), /zip archive, such as PyTorch/],
    ["a pickle", bytes(0x80, 2, 0x8a, 10), /pickle/],
    ["a gzip archive", gzipSync("weights"), /gzip/],
    ["an index", '{"metadata":{"total_size":8},"weight_map":{"a":"b"}}', /several files/],
    ["JSON", '{ "a": 1 }', /JSON/],
    ["nothing", "", /empty file/],
    ["HDF5", bytes(0x89, 0x48, 0x44, 0x46), /HDF5/],
  ];
  it.each(kinds)("%s", async (_, content, message) => {
    const given = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const error = await failure(load(given));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/^model\.safetensors/);
    expect(error.message).toMatch(message);
    expect(error.hint).not.toBe("");
    expect(() => readSafetensors(given, "w")).toThrow(message);
    if (typeof content === "string" && content.startsWith("{")) return;
    expect((await failure(loadModel({ "config.json": given, "model.safetensors": weights }))).message).toMatch(message);
  });
});

describe("tensors that follow from others", () => {
  const D = tinyConfig.head_dim;
  const frequencies = (theta: number): Float32Array => Float32Array.from({ length: D / 2 }, (_, j) => theta ** ((-2 * j) / D));
  const bfloat = (values: Float32Array): SafetensorsTensor => {
    const halves = new Uint16Array(new Uint32Array(values.buffer).length);
    new Uint32Array(values.buffer).forEach((bits, i) => {
      halves[i] = bits >>> 16;
    });
    return { dtype: "BF16", shape: [values.length], data: new Uint8Array(halves.buffer) };
  };
  const withFrequencies = (tensor: SafetensorsTensor): Uint8Array =>
    changed((tensors) => {
      for (let layer = 0; layer < 2; layer++) tensors.set(`model.layers.${layer}.self_attn.rotary_emb.inv_freq`, tensor);
    });

  it("are left out where they agree: stored frequencies, in f32 and rounded", async () => {
    await sameAsModel(await load(withFrequencies(float32Tensor(frequencies(10_000), [D / 2]))));
    await sameAsModel(await load(withFrequencies(bfloat(frequencies(10_000)))));
    await sameAsModel(
      await load(changed((tensors) => tensors.set("model.rotary_emb.inv_freq", float32Tensor(frequencies(10_000), [D / 2])))),
    );
  });

  it("are refused where they do not", async () => {
    const other = await failure(load(withFrequencies(float32Tensor(frequencies(500), [D / 2]))));
    expect(other.message).toMatch(/inv_freq" to hold rope_theta/);
    expect(other.hint).toMatch(/rope_theta/);
    expect((await failure(load(withFrequencies(float32Tensor(new Float32Array(4), [4]))))).message).toMatch(/shape \[3\], found \[4\]/);
    const stray = changed((tensors) =>
      tensors.set("model.layers.2.self_attn.rotary_emb.inv_freq", float32Tensor(frequencies(10_000), [3])),
    );
    expect((await failure(load(stray))).message).toMatch(/which the model does not have/);
  });

  it("a head beside a tied embedding is left out where it equals it, and refused where it does not", async () => {
    const tied = (edit?: (head: Float32Array) => void): Uint8Array =>
      changed((tensors) => {
        const { shape, data } = tensors.get("model.embed_tokens.weight") as SafetensorsTensor;
        const head = new Float32Array(new Uint8Array(data).buffer);
        edit?.(head);
        tensors.set("lm_head.weight", float32Tensor(head, shape));
      });
    const found = await load(tied(), { tie_word_embeddings: true });
    expect(found.lm_head).toBeNull();
    const values = await valuesOf(model);
    values.delete("lm_head.weight");
    expect(await valuesOf(found)).toEqual(values);
    const error = await failure(
      load(
        tied((head) => {
          head[5] = 3;
        }),
        { tie_word_embeddings: true },
      ),
    );
    expect(error.message).toMatch(/to equal the embedding that it is tied to, found 3 beside .* in element 5/);
    expect(error.hint).toMatch(/tie_word_embeddings/);
  });
});

describe("what a file takes before it is refused", () => {
  it("is no memory of its size: the header is checked before the body is read", async () => {
    const path = at("huge");
    await mkdir(path);
    await writeFile(join(path, "config.json"), config);
    const file = join(path, "model.safetensors");
    const entry = { dtype: "F32", shape: [750_000_000], data_offsets: [0, 3e9] };
    const header = new TextEncoder().encode(JSON.stringify({ "model.embed_tokens.weight": entry }));
    await writeFile(file, new Uint8Array([...new Uint8Array(new BigUint64Array([BigInt(header.length)]).buffer), ...header]));
    await truncate(file, 8 + header.length + 3e9);
    const before = process.memoryUsage().arrayBuffers;
    expect((await failure(loadModel(path))).message).toMatch(/shape \[19,16\], found \[750000000\]/);
    expect(process.resourceUsage().maxRSS).toBeLessThan(2 ** 21);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
    await rm(file);
  });

  it("is no time of its own: headers are bounded, and the look at their JSON is linear", async () => {
    const length = 25 * 2 ** 20;
    const text = `{"__metadata__":{${Array.from({ length: length / 16 }, (_, i) => `"${i.toString(36).padStart(6, "0")}":"abc"`).join(",")}}}`;
    const whole = new Uint8Array(8 + text.length);
    new DataView(whole.buffer).setBigUint64(0, BigInt(text.length), true);
    whole.set(new TextEncoder().encode(text), 8);
    expect(() => readSafetensors(whole, "w")).toThrow(/header of at most/);
    const many = text.slice(0, 12 * 2 ** 20).replace(/,[^,]*$/, "}}");
    const begun = process.cpuUsage();
    expect(() => parseJson(many, { file: "w" })).toThrow(/at most 262144 keys/);
    const { user } = process.cpuUsage(begun);
    expect(user / 1e6).toBeLessThan(3);
  });

  it("takes time in proportion to the length of a text, whatever it holds", () => {
    const pieces = ['"\\\\"', '"\\u0041"', " \n", '"a":', '"a" ', "[", "{", "0,", '"é"', '\\"'];
    for (const piece of pieces) {
      const seconds = (count: number): number => {
        const text = piece.repeat(Math.ceil(count / piece.length));
        const begun = process.cpuUsage().user;
        try {
          parseJson(text, { file: "w" });
        } catch (error) {
          expect(error).toBeInstanceOf(FormatError);
        }
        return (process.cpuUsage().user - begun) / 1e6;
      };
      seconds(1e4);
      expect(seconds(2e6), piece).toBeLessThan(1.5);
    }
  });
});

describe("halves", () => {
  it("load in the time of a plain loop", () => {
    const halves = Uint16Array.from({ length: 2 ** 21 }, (_, i) => i);
    const time = (work: () => unknown): number => {
      const begun = process.cpuUsage().user;
      work();
      return process.cpuUsage().user - begun;
    };
    const least = (work: () => unknown): number => Math.min(...Array.from({ length: 5 }, () => time(work)));
    const slow = least(() => Uint32Array.from(halves, (half) => half << 16));
    expect(least(() => fromHalves("bf16", halves)) / slow).toBeLessThan(0.4);
  });

  it("keep every value", () => {
    const all = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
    const bits = new Uint32Array(fromHalves("bf16", all).buffer);
    expect(bits.every((word, i) => word === i * 2 ** 16)).toBe(true);
  });
});

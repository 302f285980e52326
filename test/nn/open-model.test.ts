import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { FormatError } from "../../src/errors.js";
import { type Llama, loadModel, modelBlobs, openModel, type StoredModel, useBackend } from "../../src/index.js";
import { fromHalves, toHalves } from "../../src/ir/halves.js";
import { readSafetensors, type SafetensorsTensor, writeSafetensors } from "../../src/nn/safetensors.js";
import { tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

let model: Llama;
let config: string;
let tensors: Map<string, SafetensorsTensor>;
let folder: string;
beforeAll(async () => {
  useBackend(createReferenceBackend());
  folder = await mkdtemp(join(tmpdir(), "dawngrad-open-"));
  model = await tinyLlama();
  const blobs = await modelBlobs(model);
  config = new TextDecoder().decode(await blobs["config.json"].arrayBuffer());
  tensors = new Map(
    [...readSafetensors(new Uint8Array(await blobs["model.safetensors"].arrayBuffer()), "w").tensors].map(
      ([name, { dtype, shape, data }]) => [name, { dtype, shape, data }],
    ),
  );
});
afterAll(async () => {
  useBackend(undefined);
  await rm(folder, { recursive: true, force: true });
});

const shardName = (i: number, count: number): string => `model-0000${i + 1}-of-0000${count}.safetensors`;

interface Sharded {
  readonly files: Record<string, string | Uint8Array>;
  readonly weight_map: Record<string, string>;
}

/** The tensors in turn in `count` files with their index. */
function sharded(
  count = 3,
  edit: (shards: Map<string, SafetensorsTensor>[], weightMap: Record<string, string>) => void = () => {},
): Sharded {
  const shards = Array.from({ length: count }, () => new Map<string, SafetensorsTensor>());
  const weight_map: Record<string, string> = {};
  [...tensors].forEach(([name, tensor], i) => {
    shards[i % count]?.set(name, tensor);
    weight_map[name] = shardName(i % count, count);
  });
  edit(shards, weight_map);
  const files: Record<string, string | Uint8Array> = { "config.json": config };
  for (const [i, shard] of shards.entries()) files[shardName(i, count)] = writeSafetensors(shard, { format: "pt" });
  files["model.safetensors.index.json"] = JSON.stringify({ metadata: { total_size: 1234 }, weight_map });
  return { files, weight_map };
}

const failure = (promise: Promise<unknown>): Promise<FormatError> =>
  promise.then(
    () => expect.unreachable("nothing was refused"),
    (error: FormatError) => error,
  );

const withModel = async <R>(opened: Promise<StoredModel>, body: (found: StoredModel) => R): Promise<Awaited<R>> => {
  const found = await opened;
  try {
    return await body(found);
  } finally {
    await found.close();
  }
};

/** Every tensor read whole, then again in pieces that no width divides, as f32. */
async function readAllOf(stored: StoredModel): Promise<Map<string, number[]>> {
  const found = new Map<string, number[]>();
  const numbers = (dtype: string, values: Float32Array | Uint16Array): number[] => [
    ...(values instanceof Float32Array ? values : fromHalves(dtype as "f16", values)),
  ];
  for (const [name, { shape, dtype, read }] of stored.tensors) {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const whole = numbers(dtype, await read(0, size));
    const pieces: number[] = [];
    for (let begin = 0; begin < size; begin += 37) pieces.push(...numbers(dtype, await read(begin, Math.min(size, begin + 37))));
    expect(pieces).toEqual(whole);
    found.set(name, whole);
  }
  return found;
}

describe("a checkpoint in several files", () => {
  it("is loaded as one, from contents, from a folder and as files of a page", async () => {
    const { files } = sharded();
    const expected = await valuesOf(model);
    expect(await valuesOf(await loadModel(files))).toEqual(expected);
    for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
    expect(await valuesOf(await loadModel(folder))).toEqual(expected);
    const picked = Object.entries(files).map(([name, content]) => new File([content as string], `picked/${name}`));
    expect(await valuesOf(await loadModel(picked))).toEqual(expected);
  });

  it("tells what it holds before any weight is read", async () => {
    const { files } = sharded();
    await withModel(openModel(files), async (stored) => {
      expect(stored).toMatchObject({ format: "safetensors", metadata: { format: "pt", total_size: 1234 } });
      expect(stored.config).toMatchObject(tinyConfig);
      expect(new Set(stored.tensors.keys())).toEqual(new Set(tensors.keys()));
      const weights = Object.entries(files).filter(([name]) => name.endsWith(".safetensors"));
      expect(stored.fileBytes).toBe(weights.reduce((sum, [, content]) => sum + content.length, 0));
      for (const { name, shape, storedAs, dtype, bytes, unit } of stored.tensors.values()) {
        const held = tensors.get(name) as SafetensorsTensor;
        expect({ shape, storedAs, dtype, bytes, unit }).toEqual({
          shape: held.shape,
          storedAs: "F32",
          dtype: "f32",
          bytes: held.data.length,
          unit: 1,
        });
      }
      expect(await readAllOf(stored)).toEqual(await valuesOf(model));
    });
  });

  const embed = "model.embed_tokens.weight";
  const cases: [string, Parameters<typeof sharded>[1], RegExp][] = [
    [
      "a tensor that no file has",
      (shards) => void shards.forEach((shard) => void shard.delete(embed)),
      /-0000\d-of-00003.safetensors: expected the tensors "model.embed_tokens.weight" of model.safetensors.index.json, found none/,
    ],
    [
      "tensors that the model lacks",
      (shards, map) => {
        for (const name of ["a", "b"]) {
          shards[0]?.set(name, tensors.get(embed) as SafetensorsTensor);
          map[name] = shardName(0, 3);
        }
      },
      /expected 21 tensors, found "a", "b", which the model does not have/,
    ],
    [
      "a tensor that the model needs",
      (shards, map) => {
        for (const shard of shards) shard.delete(embed);
        delete map[embed];
      },
      /model.safetensors.index.json: expected a tensor "model.embed_tokens.weight", found none/,
    ],
    [
      "a tensor in two files",
      (shards) => void shards.forEach((shard) => void shard.set(embed, tensors.get(embed) as SafetensorsTensor)),
      /found "model.embed_tokens.weight", which model.safetensors.index.json places in model-0000\d-of-00003.safetensors/,
    ],
    [
      "a tensor that the index lacks",
      (shards) => void shards[1]?.set("stray", tensors.get(embed) as SafetensorsTensor),
      /model-00002-of-00003.safetensors at byte \d+: found "stray", which model.safetensors.index.json does not list/,
    ],
    [
      "an index that leads out of the folder",
      (_, map) => {
        map[embed] = "../../secret.safetensors";
      },
      /expected the file of "model.embed_tokens.weight" to be a name/,
    ],
    [
      "an index that names an absolute path",
      (_, map) => {
        map[embed] = "C:\\secret.safetensors";
      },
      /to be a name/,
    ],
    [
      "an index of a file that is missing",
      (shards, map) => {
        for (const shard of shards) shard.delete(embed);
        map[embed] = "model-00009-of-00009.safetensors";
      },
      /model-00009-of-00009.safetensors: there is no such file/,
    ],
  ];
  it.each(cases)("is refused for %s", async (_, edit, message) => {
    const error = await failure(openModel(sharded(3, edit).files));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(message);
    expect(error.hint).not.toBe("");
  });

  it.each([
    ["no JSON", "{"],
    ["no map", '{"metadata":{}}'],
    ["a list", '{"weight_map":["a"]}'],
    ["no file", '{"weight_map":{}}'],
    ["a number for a file", '{"weight_map":{"a":3}}'],
    ["a tensor twice", '{"weight_map":{"a":"b.safetensors","a":"b.safetensors"}}'],
    [
      "thousands of files",
      JSON.stringify({ weight_map: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`t${i}`, `${i}.safetensors`])) }),
    ],
  ])("is refused for an index of %s", async (_, index) => {
    const error = await failure(openModel({ ...sharded().files, "model.safetensors.index.json": index }));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.file).toBe("model.safetensors.index.json");
  });
});

describe("weights of 16 bits", () => {
  it.each(["f16", "bf16"] as const)("are given as they are stored: %s", async (dtype) => {
    const rounded = new Map<string, number[]>();
    const halves = [...tensors].map(([name, { shape, data }]): [string, SafetensorsTensor] => {
      const bits = toHalves(dtype, new Float32Array(data.slice().buffer));
      rounded.set(name, [...fromHalves(dtype, bits)]);
      return [name, { dtype: dtype === "f16" ? "F16" : "BF16", shape, data: new Uint8Array(bits.buffer) }];
    });
    const contents = writeSafetensors(halves);
    // At an odd offset in memory too, where no view of 16 bits is to be had.
    const shifted = new Uint8Array(contents.length + 1);
    shifted.set(contents, 1);
    for (const weights of [contents, shifted.subarray(1)]) {
      const files = { "config.json": config, "model.safetensors": weights };
      await withModel(openModel(files), async (stored) => {
        for (const tensor of stored.tensors.values()) expect(tensor.dtype).toBe(dtype);
        expect(await readAllOf(stored)).toEqual(rounded);
      });
      expect(await valuesOf(await loadModel(files))).toEqual(rounded);
    }
  });
});

describe("a download that comes as one stream", () => {
  let server: Server;
  let origin: string;
  const served = new Map<string, Uint8Array>();
  let requests: string[] = [];
  beforeAll(async () => {
    server = createServer((request, response) => {
      const path = request.url ?? "";
      requests.push(path);
      const body = served.get(path);
      if (body === undefined) return void response.writeHead(404).end();
      response.write(body.subarray(0, 1000)); // without a length
      response.end(body.subarray(1000));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  const serve = (path: string, files: Record<string, string | Uint8Array>): void => {
    for (const [name, content] of Object.entries(files))
      served.set(`${path}/${name}`, typeof content === "string" ? new TextEncoder().encode(content) : content);
    requests = [];
  };

  it("is read in several files", async () => {
    serve("/several", sharded().files);
    expect(await valuesOf(await loadModel(`${origin}/several`))).toEqual(await valuesOf(model));
  });

  it("is read once where a tied head stands in front of the embedding", async () => {
    const embedding = tensors.get("model.embed_tokens.weight") as SafetensorsTensor;
    const weights = writeSafetensors(new Map([...tensors, ["lm_head.weight", embedding]]));
    serve("/tied", { "config.json": JSON.stringify({ ...JSON.parse(config), tie_word_embeddings: true }), "model.safetensors": weights });
    const expected = await valuesOf(model);
    expected.delete("lm_head.weight");
    expect(await valuesOf(await loadModel(`${origin}/tied`))).toEqual(expected);
    expect(requests.filter((path) => path.endsWith(".safetensors"))).toHaveLength(1);
  });

  it("is refused where it is longer than its header says", async () => {
    const weights = writeSafetensors(tensors);
    const longer = new Uint8Array(weights.length + 3);
    longer.set(weights);
    serve("/longer", { "config.json": config, "model.safetensors": longer });
    expect((await failure(loadModel(`${origin}/longer`))).message).toMatch(/expected a file of \d+ bytes, found \d+/);
  });
});

describe("a file that should be a model", () => {
  it("is named for what it is, by its path, its name or alone in a folder", async () => {
    const bytes = new TextEncoder().encode("GGUF\x09\0\0\0");
    await mkdir(join(folder, "gguf"));
    await writeFile(join(folder, "gguf", "model.gguf"), bytes);
    for (const source of [join(folder, "gguf", "model.gguf"), join(folder, "gguf"), { "model.gguf": bytes }]) {
      const error = await failure(openModel(source));
      expect(error).toBeInstanceOf(FormatError);
      expect(error.message).toMatch(/model\.gguf.*GGUF/);
    }
  });
});

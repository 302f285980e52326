import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, readlink, rm, stat } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { FormatError, OptionError } from "../../src/errors.js";
import { type Llama, loadConfig, loadModel, modelBlobs, openModel, useBackend } from "../../src/index.js";
import { hubAddress, parseHubAddress } from "../../src/nn/hub.js";
import { modelFiles, openIfThere } from "../../src/nn/model-source.js";
import { HubServer, hubCommits, useHub } from "../support/hub-server.js";
import { tinyLlama, valuesOf } from "./tiny.js";

const { main: commit, v1: older } = hubCommits;
const hub = new HubServer();
beforeAll(async () => void (await hub.start()));
afterAll(() => hub.close());

describe("a model of the Hugging Face Hub", () => {
  let restore = (): void => {};
  let home: string;
  let model: Llama;
  beforeAll(async () => {
    useBackend(createReferenceBackend());
    model = await tinyLlama();
    const bytes = async (options: Parameters<typeof modelBlobs>[1]): Promise<Map<string, Uint8Array>> => {
      const blobs = Object.entries(await modelBlobs(model, options));
      return new Map(await Promise.all(blobs.map(async ([name, blob]) => [name, new Uint8Array(await blob.arrayBuffer())] as const)));
    };
    const extra: [string, Uint8Array][] = ["README.md", "tokenizer.json", "sub/config.json", "a.gguf", "pytorch_model.bin"].map((name) => [
      name,
      new TextEncoder().encode(`{"file":"${name}"}`),
    ]);
    hub.repos.set("tiny/one", new Map([...(await bytes({})), ...extra]));
    hub.repos.set("tiny/many", await bytes({ maxShardBytes: 2000 }));
    hub.repos.set("secret/one", await bytes({}));
  });
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), "dawngrad-hub-"));
    restore = useHub(`${hub.origin}/`, home);
    hub.mishap = "none";
    hub.asked = [];
  });
  afterEach(async () => {
    restore();
    await rm(home, { recursive: true, force: true });
  });
  afterAll(() => void useBackend(undefined));

  const failure = (promise: Promise<unknown>): Promise<FormatError> =>
    promise.then(
      () => expect.unreachable("nothing was refused"),
      (error: FormatError) => error,
    );
  const same = async (found: Llama): Promise<void> => expect(await valuesOf(found)).toEqual(await valuesOf(model));
  const cache = (repo = "one"): string => join(home, "hub", `models--tiny--${repo}`);
  const received = (): string[] =>
    [
      ...new Set(hub.asked.filter(({ path }) => path.includes("/resolve/")).map(({ path }) => path.replace(/.*resolve\/[^/]*\//, ""))),
    ].sort();

  it("is downloaded into the cache that Python shares, of each file only what is needed, once", async () => {
    await same(await loadModel("hf:tiny/one"));
    expect(received()).toEqual(["config.json", "model.safetensors"]);
    expect(await readFile(join(cache(), "refs", "main"), "utf8")).toBe(commit);
    const snapshot = join(cache(), "snapshots", commit);
    expect((await readdir(snapshot)).sort()).toEqual(["config.json", "model.safetensors"]);
    const weights = hub.repos.get("tiny/one")?.get("model.safetensors") as Uint8Array;
    expect(await readlink(join(snapshot, "model.safetensors"))).toBe(`../../blobs/${createHash("sha256").update(weights).digest("hex")}`);
    expect((await readdir(join(cache(), "blobs"))).filter((name) => name.endsWith(".incomplete"))).toEqual([]);

    hub.asked = [];
    await same(await loadModel("hf:tiny/one@main"));
    await loadConfig(`hf:tiny/one@${commit}`);
    expect(received()).toEqual([]);
  });

  it("has other files by name, among them those of folders, and says which it has not", async () => {
    const files = modelFiles("test", "hf:tiny/one");
    expect(await files.names()).toContain("tokenizer.json");
    const tokenizer = await files.open("tokenizer.json");
    expect(new TextDecoder().decode(await tokenizer.read(0, tokenizer.size as number))).toBe('{"file":"tokenizer.json"}');
    await tokenizer.close();
    expect(await openIfThere(files, "tokenizer.model")).toBeUndefined();
    expect(await modelFiles("test", "hf:tiny/one/sub").names()).toEqual(["config.json"]);
    expect((await failure(openModel("hf:tiny/one/a.gguf"))).message).toMatch(/snapshots.*a\.gguf/);
    expect(received()).toEqual(["a.gguf", "tokenizer.json"]);
  });

  it("may be in several files, and of another revision", async () => {
    await same(await loadModel("hf:tiny/many"));
    expect(received().filter((name) => name.endsWith(".safetensors")).length).toBeGreaterThan(3);
    await same(await loadModel("hf:tiny/many@v1"));
    expect(await readFile(join(cache("many"), "refs", "v1"), "utf8")).toBe(older);
    await loadConfig("hf:tiny/many@refs/pr/1");
    expect(await readFile(join(cache("many"), "refs", "refs", "pr", "1"), "utf8")).toBe(commit);
  });

  it("is read from the cache where there is no connection, and else says what to do", async () => {
    await loadModel("hf:tiny/one");
    await loadConfig("hf:tiny/many");
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:9";
    await same(await loadModel("hf:tiny/one"));
    await same(await loadModel(`hf:tiny/one@${commit}`));
    const never = await failure(loadModel("hf:tiny/other"));
    expect(never).toBeInstanceOf(FormatError);
    expect(never.message).toMatch(/^hf:tiny\/other\/config\.json: the Hub cannot be reached at http:\/\/127\.0\.0\.1:9/);
    expect(never.hint).toMatch(/HF_HOME/);
    const half = await failure(loadModel("hf:tiny/many"));
    expect(half.message).toMatch(/^hf:tiny\/many\/model\.safetensors: there is no such file, and the Hub cannot be reached/);
    expect(half.hint).toMatch(/connect once/);
    hub.asked = [];
    process.env["HF_ENDPOINT"] = hub.origin;
    process.env["HF_HUB_OFFLINE"] = "1";
    await same(await loadModel("hf:tiny/one"));
    expect((await failure(loadModel("hf:tiny/other"))).message).toMatch(/cannot be reached/);
    expect(hub.asked).toEqual([]);
  });

  it("goes on with a download that broke off", async () => {
    hub.mishap = "cut";
    expect(await failure(loadModel("hf:tiny/one"))).toBeInstanceOf(FormatError);
    const [left] = (await readdir(join(cache(), "blobs"))).filter((name) => name.endsWith(".incomplete"));
    const had = (await stat(join(cache(), "blobs", left as string))).size;
    expect(had).toBeGreaterThan(0);
    hub.mishap = "none";
    hub.asked = [];
    await same(await loadModel("hf:tiny/one"));
    const total = hub.repos.get("tiny/one")?.get("model.safetensors")?.length ?? 0;
    expect(hub.asked.map(({ range }) => range)).toContain(`bytes=${had}-${total - 1}`);
  });

  it("is not kept where its hash is another than the Hub's", async () => {
    hub.mishap = "damage";
    const error = await failure(loadModel("hf:tiny/one"));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/model\.safetensors: expected a file with the hash [0-9a-f]{64}, found/);
    expect(await readdir(join(cache(), "blobs"))).toHaveLength(1);
    hub.mishap = "none";
    await same(await loadModel("hf:tiny/one"));
  });

  it("is refused by name where it does not exist or needs permission", async () => {
    expect((await failure(loadModel("hf:no/such"))).message).toMatch(/^hf:no\/such: the Hub answers 404/);
    const secret = await failure(loadModel("hf:secret/one"));
    expect(secret.message).toMatch(/answers 401/);
    expect(secret.hint).toMatch(/HF_TOKEN/);
    process.env["HF_TOKEN"] = "hf_made_up";
    await same(await loadModel("hf:secret/one"));
    expect(hub.asked.at(-1)?.token).toBe("Bearer hf_made_up");
  });

  it("is named as owner/name, with or without revision and file", async () => {
    const main = { revision: "main", path: "" };
    expect(parseHubAddress("hf:a/b")).toEqual({ repo: "a/b", ...main });
    expect(parseHubAddress("hf:a/b/")).toEqual({ repo: "a/b", ...main });
    expect(parseHubAddress("hf:a.c/b-1@v1.0")).toEqual({ repo: "a.c/b-1", revision: "v1.0", path: "" });
    expect(parseHubAddress("hf:a/b@refs/pr/7/x/y.gguf")).toEqual({ repo: "a/b", revision: "refs/pr/7", path: "x/y.gguf" });
    expect(hubAddress({ repo: "a/b", revision: "refs/pr/7", path: "y.gguf" })).toBe(
      "https://huggingface.co/a/b/resolve/refs%2Fpr%2F7/y.gguf",
    );
    for (const wrong of ["hf:", "hf:a", "hf:a/", "hf:../b", "hf:a/..", "hf:a/b@..", "hf:a/b/../../c", "hf:a b/c", "hf:a/b@"]) {
      expect(await failure(loadModel(wrong)), wrong).toBeInstanceOf(OptionError);
    }
    expect(hub.asked).toEqual([]);
  });
});

describe("a server that gives ranges", () => {
  const contents = new Map<string, Uint8Array>();
  let ranges: string[] = [];
  let etag = '"1"';
  let ranged: Server;
  let at = "";
  beforeAll(async () => {
    useBackend(createReferenceBackend());
    const blobs = await modelBlobs(await tinyLlama());
    for (const [name, blob] of Object.entries(blobs)) contents.set(`/${name}`, new Uint8Array(await blob.arrayBuffer()));
    ranged = createServer((request, response) => {
      const bytes = contents.get(request.url ?? "");
      if (bytes === undefined) return void response.writeHead(404).end();
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      if (from === undefined || to === undefined) return void response.writeHead(200).end(bytes);
      ranges.push(`${request.url} ${from}`);
      const end = Math.min(bytes.length, Number(to) + 1);
      if (Number(from) >= bytes.length) return void response.writeHead(416).end();
      response.writeHead(206, { etag, "content-range": `bytes ${from}-${end - 1}/${bytes.length}` }).end(bytes.subarray(Number(from), end));
    });
    await new Promise<void>((resolve) => ranged.listen(0, "127.0.0.1", resolve));
    at = `http://127.0.0.1:${(ranged.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    ranged.closeAllConnections();
    ranged.close();
    useBackend(undefined);
  });

  it("is asked for parts, in any order, and small files at once", async () => {
    ranges = [];
    const expected = await valuesOf(await tinyLlama());
    expect(await valuesOf(await loadModel(at))).toEqual(expected);
    expect(ranges).toEqual(["/config.json 0", "/model.safetensors 0"]);
    contents.set(
      "/large",
      Uint8Array.from({ length: 9_000_000 }, (_, i) => i % 251),
    );
    const files = modelFiles("test", at);
    const large = await files.open("large");
    expect([large.size, large.seekable]).toEqual([9_000_000, true]);
    for (const from of [8_999_990, 3, 5_000_000, 0])
      expect([...(await large.read(from, from + 10))]).toEqual(Array.from({ length: 10 }, (_, i) => (from + i) % 251));
    etag = '"2"';
    await expect(large.read(7_000_000, 7_000_001)).rejects.toThrow(FormatError);
    etag = '"1"';
    contents.set("/empty", new Uint8Array());
    const empty = await files.open("empty");
    expect((await empty.start()).length).toBe(0);
    await empty.close();
  });
});

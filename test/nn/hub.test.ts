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
import { tinyLlama, valuesOf } from "./tiny.js";

/** A server that speaks as much of the Hub's API as models need. */
const commit = "0123456789abcdef0123456789abcdef01234567";
const older = "89abcdef0123456789abcdef0123456789abcdef";
const repos = new Map<string, Map<string, Uint8Array>>();
interface Asked {
  readonly method: string;
  readonly path: string;
  readonly range?: string;
  readonly token?: string;
}
let asked: Asked[] = [];
/** What goes wrong: the line breaks in the middle of weights, or a byte of them is another. */
let mishap: "none" | "cut" | "damage" = "none";
let server: Server;
let origin = "";

const hashOf = (name: string, bytes: Uint8Array): { oid: string; lfs?: { oid: string; size: number; pointerSize: number } } => {
  const oid = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  if (!/safetensors$/.test(name)) return { oid };
  return { oid: "f".repeat(40), lfs: { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length, pointerSize: 130 } };
};

beforeAll(async () => {
  server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://hub");
    const { range, authorization } = request.headers;
    asked.push({ method: request.method ?? "", path: pathname, ...(range && { range }), ...(authorization && { token: authorization }) });
    const json = (status: number, value: unknown): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    };
    const [, api, , owner, name, what, revision] = pathname.split("/");
    if (api === "api") {
      const files = repos.get(`${owner}/${name}@${revision}`) ?? repos.get(`${owner}/${name}@main`);
      if (owner === "secret" && authorization === undefined) return json(401, { error: "Invalid username or password." });
      if (files === undefined || ![commit, older, "main", "v1", "refs%2Fpr%2F1"].includes(revision ?? ""))
        return json(404, { error: "not found" });
      if (what === "revision") {
        return json(200, {
          _id: "1",
          id: `${owner}/${name}`,
          sha: revision === "v1" ? older : commit,
          siblings: [...files.keys()].map((rfilename) => ({ rfilename })),
        });
      }
      let body = "";
      for await (const chunk of request) body += chunk;
      const { paths } = JSON.parse(body) as { paths: string[] };
      return json(
        200,
        paths.map((path) => ({ path, type: "file", size: files.get(path)?.length, ...hashOf(path, files.get(path) as Uint8Array) })),
      );
    }
    const [, owner2, name2, , , ...rest] = pathname.split("/");
    const file = rest.join("/");
    const bytes = repos.get(`${owner2}/${name2}@main`)?.get(file);
    if (bytes === undefined) return void response.writeHead(404, { "x-error-code": "EntryNotFound" }).end();
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "") ?? [];
    const [begin, end] = [Number(from ?? 0), to ? Math.min(bytes.length, Number(to) + 1) : bytes.length];
    const part = bytes.slice(begin, end);
    const isData = file.endsWith("safetensors") && part.length > 1;
    if (mishap === "damage" && isData) part[part.length - 1] = (part[part.length - 1] as number) ^ 1;
    response.writeHead(range ? 206 : 200, {
      etag: '"x"',
      "content-length": part.length,
      ...(range && { "content-range": `bytes ${begin}-${end - 1}/${bytes.length}` }),
    });
    if (mishap === "cut" && isData) {
      response.write(part.subarray(0, part.length >> 1));
      setTimeout(() => response.destroy(), 30);
    } else response.end(part);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

describe("a model of the Hugging Face Hub", () => {
  const names = ["HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"] as const;
  const before = Object.fromEntries(names.map((name) => [name, process.env[name]]));
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
    repos.set("tiny/one@main", new Map([...(await bytes({})), ...extra]));
    repos.set("tiny/many@main", await bytes({ maxShardBytes: 2000 }));
    repos.set("secret/one@main", await bytes({}));
  });
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), "dawngrad-hub-"));
    for (const name of names) delete process.env[name];
    process.env["HF_ENDPOINT"] = `${origin}/`;
    process.env["HF_HOME"] = home;
    mishap = "none";
    asked = [];
  });
  afterEach(async () => {
    for (const name of names) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
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
    [...new Set(asked.filter(({ path }) => path.includes("/resolve/")).map(({ path }) => path.replace(/.*resolve\/[^/]*\//, "")))].sort();

  it("is downloaded into the cache that Python shares, of each file only what is needed, once", async () => {
    await same(await loadModel("hf:tiny/one"));
    expect(received()).toEqual(["config.json", "model.safetensors"]);
    expect(await readFile(join(cache(), "refs", "main"), "utf8")).toBe(commit);
    const snapshot = join(cache(), "snapshots", commit);
    expect((await readdir(snapshot)).sort()).toEqual(["config.json", "model.safetensors"]);
    const weights = repos.get("tiny/one@main")?.get("model.safetensors") as Uint8Array;
    expect(await readlink(join(snapshot, "model.safetensors"))).toBe(`../../blobs/${createHash("sha256").update(weights).digest("hex")}`);
    expect((await readdir(join(cache(), "blobs"))).filter((name) => name.endsWith(".incomplete"))).toEqual([]);

    asked = [];
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
    asked = [];
    process.env["HF_ENDPOINT"] = origin;
    process.env["HF_HUB_OFFLINE"] = "1";
    await same(await loadModel("hf:tiny/one"));
    expect((await failure(loadModel("hf:tiny/other"))).message).toMatch(/cannot be reached/);
    expect(asked).toEqual([]);
  });

  it("goes on with a download that broke off", async () => {
    mishap = "cut";
    expect(await failure(loadModel("hf:tiny/one"))).toBeInstanceOf(FormatError);
    const [left] = (await readdir(join(cache(), "blobs"))).filter((name) => name.endsWith(".incomplete"));
    const had = (await stat(join(cache(), "blobs", left as string))).size;
    expect(had).toBeGreaterThan(0);
    mishap = "none";
    asked = [];
    await same(await loadModel("hf:tiny/one"));
    const total = repos.get("tiny/one@main")?.get("model.safetensors")?.length ?? 0;
    expect(asked.map(({ range }) => range)).toContain(`bytes=${had}-${total - 1}`);
  });

  it("is not kept where its hash is another than the Hub's", async () => {
    mishap = "damage";
    const error = await failure(loadModel("hf:tiny/one"));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/model\.safetensors: expected a file with the hash [0-9a-f]{64}, found/);
    expect(await readdir(join(cache(), "blobs"))).toHaveLength(1);
    mishap = "none";
    await same(await loadModel("hf:tiny/one"));
  });

  it("is refused by name where it does not exist or needs permission", async () => {
    expect((await failure(loadModel("hf:no/such"))).message).toMatch(/^hf:no\/such: the Hub answers 404/);
    const secret = await failure(loadModel("hf:secret/one"));
    expect(secret.message).toMatch(/answers 401/);
    expect(secret.hint).toMatch(/HF_TOKEN/);
    process.env["HF_TOKEN"] = "hf_made_up";
    await same(await loadModel("hf:secret/one"));
    expect(asked.at(-1)?.token).toBe("Bearer hf_made_up");
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
    expect(asked).toEqual([]);
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

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  type Backend,
  FormatError,
  Linear,
  loadTensors,
  mapTensors,
  OptionError,
  readSafetensors,
  saveTensors,
  type Tensor,
  tensor,
  tensorsBlob,
  tensorsOf,
  useBackend,
  writeSafetensors,
  zeros,
} from "../../src/index.js";
import type { SafetensorsDtype } from "../../src/nn/safetensors-header.js";

const folder = mkdtempSync(join(tmpdir(), "dawngrad-trees-"));
afterAll(() => rmSync(folder, { recursive: true }));

const bytesOf = async (tree: unknown): Promise<Uint8Array> => new Uint8Array(await (await tensorsBlob(tree)).arrayBuffer());

describe("trees as safetensors", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  const tree = () => ({
    layers: [
      new Linear(
        tensor([
          [0.5, -1],
          [3, 0.25],
        ]),
        tensor([1, 2]),
      ),
      { scale: tensor([1.5, -2, 0]).cast("bf16"), half: tensor(0.1).cast("f16") },
    ],
    ids: tensor([[-1, 2 ** 31 - 1]], { dtype: "i32" }),
    seeds: tensor([2 ** 32 - 1, 0], { dtype: "u32" }),
    mask: tensor([true, false, true]),
    odd: tensor([Number.NaN, -Infinity]),
    empty: zeros([0, 3]),
    rate: 0.1,
    none: null,
    _note: "constants stay",
  });

  it("come back as they were, each in its dtype, from a path, an address, a Blob and bytes", async () => {
    const saved = tree();
    const path = join(folder, "tree.safetensors");
    await saveTensors(path, saved, { metadata: { step: "7" } });
    const bytes = new Uint8Array(readFileSync(path));
    expect(readSafetensors(bytes, "tree").metadata).toEqual({ format: "pt", step: "7" });
    const like = mapTensors(saved, (t) => zeros(t.shape, { dtype: t.dtype }));
    for (const source of [
      path,
      pathToFileURL(path),
      pathToFileURL(path).href,
      new Blob([bytes]),
      bytes,
      bytes.buffer,
      readFileSync(path),
    ]) {
      const loaded = await loadTensors(source, { like });
      const expected = tensorsOf(saved);
      expect(tensorsOf(loaded).map(({ path: at, tensor: t }) => [at, t.dtype, t.shape])).toEqual(
        expected.map(({ path: at, tensor: t }) => [at, t.dtype, t.shape]),
      );
      for (const [i, { tensor: t }] of tensorsOf(loaded).entries()) expect(await t.data()).toEqual(await expected[i]?.tensor.data());
      expect([loaded.rate, loaded.none, loaded._note]).toEqual([0.1, null, "constants stay"]);
      expect(loaded.layers[0]).toBeInstanceOf(Linear);
    }
    const byName = await loadTensors(path);
    expect(Object.keys(byName).sort()).toEqual(
      tensorsOf(saved)
        .map(({ path: at }) => at)
        .sort(),
    );
    expect(byName["layers.1.scale"]?.dtype).toBe("bf16");
  });

  it("of any form come back, whatever their names", async () => {
    const leaf = fc.array(fc.integer({ min: -100, max: 100 }), { maxLength: 4 }).map((values) => ({ values }));
    const nested = fc.letrec<{ node: unknown }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.dictionary(fc.stringMatching(/^[a-z"\\ é]{1,3}$/), tie("node"), { minKeys: 1, maxKeys: 3 }),
        fc.array(tie("node"), { minLength: 1, maxLength: 3 }),
      ),
    })).node;
    const made = (node: unknown): unknown => {
      if (Array.isArray(node)) return node.map(made);
      const { values } = node as { values?: unknown };
      if (Array.isArray(values) && Object.keys(node as object).length === 1 && values.every((v) => typeof v === "number"))
        return tensor(new Int32Array(values));
      return Object.fromEntries(Object.entries(node as object).map(([name, part]) => [name, made(part)]));
    };
    await fc.assert(
      fc.asyncProperty(nested, async (node) => {
        const saved = { root: made(node) };
        const loaded = await loadTensors(await bytesOf(saved), { like: saved });
        for (const [i, { path, tensor: t }] of tensorsOf(loaded).entries()) {
          const expected = tensorsOf(saved)[i];
          expect(path).toBe(expected?.path);
          expect(await t.data()).toEqual(await expected?.tensor.data());
        }
      }),
      { numRuns: 25, seed: 11 },
    );
  });

  it("a tensor at several places is written once, and is one again", async () => {
    const shared = tensor([1, 2]);
    const saved = { a: shared, b: { c: shared } };
    const bytes = await bytesOf(saved);
    expect([...readSafetensors(bytes, "shared").tensors.keys()]).toEqual(["a"]);
    const loaded = await loadTensors(bytes, { like: saved });
    expect(loaded.b.c).toBe(loaded.a);
  });

  it("floats take the width of the tree, integers where they fit", async () => {
    const raw = (dtype: SafetensorsDtype, values: ArrayBufferView, length: number) =>
      [dtype, { dtype, shape: [length], data: new Uint8Array(values.buffer) }] as const;
    const bytes = writeSafetensors([
      raw("F64", new Float64Array([0.1, 3]), 2),
      raw("F32", new Float32Array([0.1, 3]), 2),
      raw("I64", new BigInt64Array([-5n, 7n]), 2),
      raw("U64", new BigUint64Array([5n]), 1),
      raw("I16", new Int16Array([-300]), 1),
      raw("U8", new Uint8Array([255]), 1),
      raw("I8", new Int8Array([-128]), 1),
      raw("U16", new Uint16Array([65535]), 1),
    ]);
    const plain = await loadTensors(bytes);
    expect(
      Object.fromEntries(await Promise.all(Object.entries(plain).map(async ([name, t]) => [name, [t.dtype, ...(await t.data())]]))),
    ).toEqual({
      F64: ["f32", Math.fround(0.1), 3],
      F32: ["f32", Math.fround(0.1), 3],
      I64: ["i32", -5, 7],
      U64: ["u32", 5],
      I16: ["i32", -300],
      U8: ["u32", 255],
      I8: ["i32", -128],
      U16: ["u32", 65535],
    });
    const like = { F64: zeros([2]).cast("bf16"), I64: zeros([2], { dtype: "i32" }), U8: zeros([1], { dtype: "i32" }) };
    const loaded = await loadTensors(bytes, { like, strict: false });
    expect([loaded.F64.dtype, ...(await loaded.F64.data()), loaded.U8.dtype]).toEqual(["bf16", 0.10009765625, 3, "i32"]);
    useBackend(createReferenceBackend());
    const doubles = await loadTensors(bytes);
    expect([doubles["F64"]?.dtype, ...(await (doubles["F64"] as Tensor).data())]).toEqual(["f64", 0.1, 3]);
    const widened = await loadTensors(bytes, { like: { F32: zeros([2], { dtype: "f64" }) }, strict: false });
    expect([...(await widened.F32.data())]).toEqual([Math.fround(0.1), 3]);
    expect(readSafetensors(await bytesOf(doubles), "doubles").tensors.get("F64")?.dtype).toBe("F64");
    useBackend(backend);
  });

  it("names are translated, and without strictness what is missing stays", async () => {
    const saved = { w: tensor([1, 2]), extra: tensor([3]) };
    const bytes = new Uint8Array(await (await tensorsBlob(saved, { rename: (path) => `model.${path}` })).arrayBuffer());
    const like = { w: zeros([2]), missing: tensor([5]) };
    const loaded = await loadTensors(bytes, { like, rename: (path) => `model.${path}`, strict: false });
    expect(await loaded.w.array()).toEqual([1, 2]);
    expect(loaded.missing).toBe(like.missing);
  });

  it("are refused whole where they do not fit, in words", async () => {
    const bytes = await bytesOf({ w: zeros([2, 3]), b: zeros([2]), n: tensor([-1], { dtype: "i32" }) });
    const load = (like: unknown) => loadTensors(bytes, { like });
    const live = backend.memory().liveBytes;
    const n = zeros([1], { dtype: "i32" });
    const cases: readonly [like: unknown, message: string][] = [
      [{ w: zeros([2, 3]), n }, 'found "b", which the tree does not have'],
      [{ w: zeros([2, 3]), b: zeros([2]), n, c: zeros([2]), d: zeros([]) }, 'expected "c", "d", found none of that name'],
      [{ w: zeros([2, 3]), bias: zeros([2]), n }, 'expected "bias", found none of that name; found "b", which the tree does not have'],
      [{ w: zeros([3, 2]), b: zeros([2]), n }, 'expected "w" to have shape [3,2], found [2,3]'],
      [{ w: zeros([2, 3]), b: zeros([2], { dtype: "i32" }), n }, 'expected "b" to hold what becomes i32, found F32'],
      [{ w: zeros([2, 3]), b: zeros([2]), n: zeros([1], { dtype: "u32" }) }, '"n" holds -1 (element 0), which is no u32'],
      [{ w: zeros([2, 3]), b: zeros([2]), n: zeros([1], { dtype: "bool" }) }, 'expected "n" to hold what becomes bool, found I32'],
    ];
    for (const [like, message] of cases) {
      const error = await load(like).catch((e: unknown) => e);
      expect(error, message).toBeInstanceOf(FormatError);
      expect((error as Error).message).toContain(message);
    }
    await expect(loadTensors(bytes.subarray(0, -4), { like: { w: zeros([2, 3]) } })).rejects.toThrow(FormatError);
    const two = writeSafetensors([["x", { dtype: "BOOL", shape: [1], data: new Uint8Array([2]) }]]);
    await expect(loadTensors(two)).rejects.toThrow('"x" holds 2 (element 0), which is no bool');
    const eighths = writeSafetensors([["x", { dtype: "F8_E4M3", shape: [1], data: new Uint8Array([2]) }]]);
    await expect(loadTensors(eighths)).rejects.toThrow('expected "x" to hold floats, integers or bools, found F8_E4M3');
    expect(backend.memory().liveBytes).toBe(live);
  });

  it("that cannot be written are refused, and nothing is written", async () => {
    const path = join(folder, "refused.safetensors");
    await expect(saveTensors(path, { rate: 1 })).rejects.toThrow("saveTensors: the tree holds no tensor");
    await expect(saveTensors(path, tensor([1]))).rejects.toThrow("saveTensors: the tensor at the root has no name");
    await expect(saveTensors(path, { a: zeros([1]), b: zeros([1]) }, { rename: () => "x" })).rejects.toThrow(
      'two tensors have the name "x"',
    );
    await expect(saveTensors(join(folder, "none", "x"), { a: zeros([1]) })).rejects.toThrow(OptionError);
    await expect(loadTensors(path)).rejects.toThrow("there is no such file");
  });
});

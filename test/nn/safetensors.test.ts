import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FormatError, OptionError } from "../../src/errors.js";
import { readFileChecked, writeFileAtomic } from "../../src/nn/files.js";
import {
  checkTensors,
  float32Tensor,
  readSafetensors,
  type SafetensorsTensor,
  toFloat32,
  writeSafetensors,
} from "../../src/nn/safetensors.js";
import type { SafetensorsDtype } from "../../src/nn/safetensors-header.js";
import { storedTensors } from "../support/arbitraries.js";
import { fuzzRuns } from "../support/fuzz.js";

const golden = new URL("../golden/llama/model.safetensors", import.meta.url);

/** A file from a header as written, with `dataBytes` zeros behind it. */
function fileOf(header: string | Uint8Array, dataBytes = 0): Uint8Array {
  const bytes = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + bytes.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(bytes.length), true);
  file.set(bytes, 8);
  return file;
}

const header = (entries: Record<string, unknown>): string => JSON.stringify(entries);
const four = { dtype: "F32", shape: [1], data_offsets: [0, 4] };

function failure(action: () => unknown): FormatError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    return error as FormatError;
  }
  throw new Error("nothing was thrown");
}

/** Reads, and lets nothing but FormatError out. Whether the file was accepted. */
function accepts(bytes: Uint8Array): boolean {
  try {
    const { tensors } = readSafetensors(bytes, "fuzzed");
    let end: number | undefined;
    for (const { data, offset } of tensors.values()) {
      if (end !== undefined) expect(offset).toBe(end);
      end = offset + data.length;
    }
    if (end !== undefined) expect(end).toBe(bytes.length);
    return true;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    expect(error.file).toBe("fuzzed");
    expect(error.hint).not.toBe("");
    return false;
  }
}

const sample = writeSafetensors(
  [
    ["model.norm.weight", float32Tensor(Float32Array.of(1, 2, 3), [3])],
    ["lm_head.weight", float32Tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3])],
    ["half", { dtype: "F16", shape: [2], data: Uint8Array.of(0, 60, 0, 64) }],
  ],
  { format: "pt" },
);

describe("a safetensors file", () => {
  it("comes back as it was written", () => {
    fc.assert(
      fc.property(storedTensors, fc.dictionary(fc.string({ unit: "binary" }), fc.string({ unit: "binary" })), (given, metadata) => {
        const tensors = given.map(({ name, ...tensor }): [string, SafetensorsTensor] => [name, tensor as SafetensorsTensor]);
        const bytes = writeSafetensors(tensors, metadata);
        const read = readSafetensors(bytes, "f");
        expect({ ...read.metadata }).toEqual({ ...metadata });
        expect(new Set(read.tensors.keys())).toEqual(new Set(given.map(({ name }) => name)));
        for (const { name, dtype, shape, data } of given) {
          expect(read.tensors.get(name)).toMatchObject({ name, dtype, shape, file: "f" });
          expect(Buffer.from(read.tensors.get(name)?.data ?? []).equals(data)).toBe(true);
        }
        expect(Buffer.from(writeSafetensors([...tensors].reverse(), metadata)).equals(bytes)).toBe(true);
      }),
    );
  });

  it("has the layout of the format, bytes for bytes", () => {
    const bytes = writeSafetensors(
      [
        ["b", float32Tensor(Float32Array.of(1), [])],
        ["a", float32Tensor(Float32Array.of(2), [1])],
      ],
      { k: "v" },
    );
    const text =
      '{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}';
    const padded = text.padEnd(Math.ceil(text.length / 8) * 8, " ");
    expect(Buffer.from(bytes).toString("latin1")).toBe(`${String.fromCharCode(padded.length)}${"\0".repeat(7)}${padded}\0\0\0@\0\0\x80?`);
  });

  it("aligns every tensor to its elements", () => {
    const odd: SafetensorsTensor = { dtype: "U8", shape: [3], data: new Uint8Array(3) };
    const half: SafetensorsTensor = { dtype: "F16", shape: [1], data: new Uint8Array(2) };
    const bytes = writeSafetensors([
      ["a", odd],
      ["b", half],
      ["c", float32Tensor(new Float32Array(1), [1])],
    ]);
    const offsets = [...readSafetensors(bytes, "f").tensors.values()].map(({ name, offset }) => [name, offset % 8]);
    expect(offsets).toEqual([
      ["c", 0],
      ["b", 4],
      ["a", 6],
    ]);
  });

  it("from Hugging Face is read", async () => {
    const { tensors, metadata } = readSafetensors(await readFileChecked(golden.pathname), "model.safetensors");
    expect({ ...metadata }).toEqual({ format: "pt" });
    expect(tensors.get("model.embed_tokens.weight")).toMatchObject({ dtype: "F32", shape: [61, 32] });
    for (const entry of tensors.values()) expect(toFloat32(entry).every(Number.isFinite)).toBe(true);
  });

  it("may be a part of a larger buffer, at any offset", () => {
    const shifted = new Uint8Array(sample.length + 3);
    shifted.set(sample, 3);
    const { tensors } = readSafetensors(shifted.subarray(3), "f");
    expect([...toFloat32(entryOf(tensors, "lm_head.weight"))]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...toFloat32(entryOf(tensors, "half"))]).toEqual([1, 2]);
  });

  it("may hold nothing", () => {
    expect(readSafetensors(fileOf("{}"), "f").tensors.size).toBe(0);
    expect(readSafetensors(writeSafetensors([]), "f").tensors.size).toBe(0);
  });
});

describe("a damaged safetensors file is refused:", () => {
  const cases: [string, Uint8Array, RegExp][] = [
    ["an empty file", new Uint8Array(), /at byte 0: expected a safetensors file, found an empty file/],
    ["a header length above the cap", Uint8Array.of(1, 225, 245, 5, 0, 0, 0, 0), /at most 16777216 bytes, found a length of 100000001/],
    ["a header length of 2^64 − 1", new Uint8Array(64).fill(255), /found a length of 18446744073709551615/],
    ["a header longer than the file", fileOf("{}").subarray(0, 9), /expected a header of 2 bytes, found 1/],
    ["an empty header", fileOf(""), /found an empty header/],
    ["a header that starts with a space", fileOf(" {}"), /found byte 0x20/],
    ["a header that is not UTF-8", fileOf(Uint8Array.of(0x7b, 0xff, 0x7d)), /in UTF-8/],
    ["a header that is no JSON", fileOf('{"a":}'), /at byte \d+: expected JSON/],
    ["a header that ends early", fileOf('{"é":'), /at byte 14: expected JSON/],
    ["a header padded with zeros", fileOf("{}\0\0"), /expected JSON/],
    [
      "a name twice",
      fileOf(`{"a":${JSON.stringify(four)},"a":${JSON.stringify(four)}}`, 4),
      /at byte 62: expected every key once, found "a" twice/,
    ],
    ["a name twice, once escaped", fileOf(`{"a":${JSON.stringify(four)},"\\u0061":${JSON.stringify(four)}}`, 4), /found "a" twice/],
    ["a field twice", fileOf('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4), /found "dtype" twice/],
    ["millions of values", fileOf(`{"a":[${"{},".repeat(2_000_000)}0]}`), /at most 2000000 values/],
    ["a deep header", fileOf(`{"a":${"[".repeat(100_000)}`), /at most 64 levels/],
    ["half of a surrogate pair as name", fileOf(`{"\\ud800":${JSON.stringify(four)}}`, 4), /names in Unicode/],
    ["metadata that are no object", fileOf('{"__metadata__":["a"]}'), /object of strings/],
    ["metadata that are no strings", fileOf('{"__metadata__":{"a":1}}'), /to hold strings, found 1/],
    ["an entry that is no object", fileOf('{"a":[]}'), /described by an object/],
    ["an unknown field", fileOf(header({ a: { ...four, scale: 2 } }), 4), /found "scale"/],
    ["an unknown dtype", fileOf(header({ a: { ...four, dtype: "F4" } }), 4), /found "F4"/],
    ["a dtype named like a method", fileOf(header({ a: { ...four, dtype: "toString" } }), 4), /found "toString"/],
    ["no shape", fileOf(header({ a: { dtype: "F32", data_offsets: [0, 4] } }), 4), /shape .* found undefined/],
    ["a negative extent", fileOf(header({ a: { ...four, shape: [-1] } }), 4), /found \[-1\]/],
    ["a fractional extent", fileOf(header({ a: { ...four, shape: [1.5] } }), 4), /found \[1.5\]/],
    ["an extent above 2^53", fileOf('{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}', 4), /below 2\^53/],
    ["nine dimensions", fileOf(header({ a: { ...four, shape: Array(9).fill(1) } }), 4), /at most 8/],
    ["a product that overflows", fileOf(header({ a: { ...four, shape: [2 ** 40, 2 ** 40, 0] } }), 4), /fewer than 2\^53 bytes/],
    [
      "a product that is 0 modulo 2^64",
      fileOf(header({ a: { ...four, shape: [2 ** 32, 2 ** 32], data_offsets: [0, 0] } })),
      /fewer than 2\^53 bytes/,
    ],
    ["one offset", fileOf(header({ a: { ...four, data_offsets: [0] } }), 4), /two whole numbers/],
    [
      "offsets in reverse",
      fileOf(header({ a: { ...four, data_offsets: [4, 0] } }), 4),
      /to have 4 bytes \(F32 \[1\]\), found data_offsets \[4, 0\]/,
    ],
    ["a range of the wrong size", fileOf(header({ a: { ...four, shape: [2] } }), 4), /to have 8 bytes/],
    ["data that begin late", fileOf(header({ a: { ...four, data_offsets: [4, 8] } }), 8), /hole of 4 bytes/],
    ["a hole", fileOf(header({ a: four, b: { ...four, data_offsets: [8, 12] } }), 12), /"b" to begin at 4, found 8/],
    ["an overlap", fileOf(header({ a: four, b: { ...four, data_offsets: [2, 6] } }), 6), /overlaps/],
    ["the same range twice", fileOf(header({ a: four, b: four }), 4), /overlaps/],
    ["data missing at the end", fileOf(header({ a: four }), 3), /expected a file of 66 bytes, found 65/],
    ["data too many at the end", fileOf(header({ a: four }), 5), /expected a file of 66 bytes, found 67/],
  ];
  it.each(cases)("%s", (_, bytes, message) => {
    const error = failure(() => readSafetensors(bytes, "weights.safetensors"));
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^weights\.safetensors at byte \d+: /);
    expect(error.hint).not.toBe("");
  });

  it("a file cut anywhere", () => {
    for (let length = 0; length < sample.length; length++) expect(accepts(sample.subarray(0, length))).toBe(false);
  });

  it("a file with any bit of its length flipped", () => {
    for (let bit = 0; bit < 64; bit++) {
      const bytes = sample.slice();
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(accepts(bytes)).toBe(false);
    }
  });

  it("with nothing but FormatError, whatever bytes are changed", () => {
    const changes = fc.array(fc.record({ at: fc.nat(sample.length - 1), to: fc.nat(255) }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(changes, (list) => {
        const bytes = sample.slice();
        for (const { at, to } of list) bytes[at] = to;
        accepts(bytes);
      }),
      { numRuns: fuzzRuns(200) },
    );
  });

  it("with nothing but FormatError, whatever JSON the header is", () => {
    const number = fc.oneof(fc.constantFrom(0, 1, 4, 8, 12, -1, 2 ** 31, 2 ** 32, 2 ** 53, 1e308, 0.5), fc.nat(16));
    const entry = fc.record(
      {
        dtype: fc.oneof(fc.constantFrom("F32", "F16", "U8", "F4", "", "__proto__"), fc.jsonValue()),
        shape: fc.oneof(fc.array(number, { maxLength: 10 }), fc.jsonValue()),
        data_offsets: fc.oneof(fc.tuple(number, number), fc.array(number, { maxLength: 3 }), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    const entries = fc.dictionary(fc.constantFrom("a", "b", "__metadata__", "__proto__"), fc.oneof(entry, fc.jsonValue({ maxDepth: 3 })));
    fc.assert(
      fc.property(fc.oneof(entries, fc.jsonValue({ maxDepth: 4 })), fc.nat(16), (value, dataBytes) => {
        accepts(fileOf(JSON.stringify(value), dataBytes));
      }),
      { numRuns: fuzzRuns(200) },
    );
  });

  it("with nothing but FormatError, for random bytes behind a fitting length", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void accepts(fileOf(bytes))),
      { numRuns: fuzzRuns(50) },
    );
  });

  it("before memory is taken for what it claims", () => {
    const bytes = fileOf(header({ a: { dtype: "F32", shape: [2 ** 50], data_offsets: [0, 2 ** 52] } }), 4);
    const before = process.memoryUsage().arrayBuffers;
    expect(accepts(bytes)).toBe(false);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 20);
  });
});

describe("numbers of a tensor", () => {
  const numbers = (dtype: SafetensorsDtype, data: Uint8Array): Float32Array => {
    const count = data.length / { F32: 4, F16: 2, BF16: 2, F64: 8 }[dtype as "F32"];
    return toFloat32({ name: "x", file: "f", offset: 100, dtype, shape: [count], data });
  };
  const bytesOf = (values: Uint16Array | Float64Array): Uint8Array => new Uint8Array(values.buffer);

  it("are those of every binary16 number", () => {
    const found = numbers("F16", bytesOf(Uint16Array.from({ length: 65536 }, (_, bits) => bits)));
    const wrong: number[] = [];
    for (let bits = 0; bits < 65536; bits++) {
      const [sign, exponent, fraction] = [bits < 0x8000 ? 1 : -1, Math.floor(bits / 1024) % 32, (bits % 1024) / 1024];
      const special = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
      const normal = exponent === 0 ? sign * fraction * 2 ** -14 : sign * (1 + fraction) * 2 ** (exponent - 15);
      if (!Object.is(found[bits], exponent === 31 ? special : normal)) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  it("are those of every bfloat16 number", () => {
    const found = numbers("BF16", bytesOf(Uint16Array.from({ length: 65536 }, (_, bits) => bits)));
    const wrong: number[] = [];
    for (let bits = 0; bits < 65536; bits++) {
      const [sign, exponent, fraction] = [bits < 0x8000 ? 1 : -1, Math.floor(bits / 128) % 256, (bits % 128) / 128];
      const special = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
      const normal = exponent === 0 ? sign * fraction * 2 ** -126 : sign * (1 + fraction) * 2 ** (exponent - 127);
      if (!Object.is(found[bits], exponent === 255 ? special : normal)) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  it("are rounded from f64, and refused where f32 has none", () => {
    expect([...numbers("F64", bytesOf(Float64Array.of(1, 0.1, Number.NaN, Number.NEGATIVE_INFINITY)))]).toEqual([
      1,
      Math.fround(0.1),
      Number.NaN,
      Number.NEGATIVE_INFINITY,
    ]);
    const error = failure(() => numbers("F64", bytesOf(Float64Array.of(1, -1e300))));
    expect(error.message).toBe('f at byte 108: expected numbers that f32 can hold in "x", found -1e+300');
  });

  it("are a view of aligned F32 data and a copy elsewhere", () => {
    const buffer = new Uint8Array(16);
    expect(numbers("F32", buffer.subarray(4, 12)).buffer).toBe(buffer.buffer);
    expect(numbers("F32", buffer.subarray(3, 11)).buffer).not.toBe(buffer.buffer);
    // A Buffer of Node, whose slices are views.
    expect(numbers("F32", Buffer.from(buffer.buffer).subarray(3, 11)).buffer).not.toBe(buffer.buffer);
  });

  it("are refused for other dtypes, by name", () => {
    const error = failure(() => toFloat32({ name: "ids", file: "f", offset: 8, dtype: "I64", shape: [0], data: new Uint8Array() }));
    expect(error.message).toBe('f at byte 8: expected "ids" to be one of F32 F16 BF16 F64, found I64');
  });
});

describe("the tensors of a file fit a model", () => {
  const { tensors } = readSafetensors(sample, "f");
  const shapes = (entries: Record<string, number[]>): Map<string, number[]> => new Map(Object.entries(entries));

  it("when names and shapes are the same", () => {
    checkTensors(tensors, shapes({ half: [2], "model.norm.weight": [3], "lm_head.weight": [2, 3] }), { file: "f" });
  });

  it.each([
    ["one is missing", { half: [2], "model.norm.weight": [3], "lm_head.weight": [2, 3], other: [1] }, /expected a tensor "other"/],
    ["one is too many", { half: [2], "model.norm.weight": [3] }, /found "lm_head.weight", which the model does not have/],
    ["one is transposed", { half: [2], "model.norm.weight": [3], "lm_head.weight": [3, 2] }, /shape \[3,2\], found \[2,3\]/],
    ["one has another rank", { half: [2], "model.norm.weight": [3, 1], "lm_head.weight": [2, 3] }, /shape \[3,1\], found \[3\]/],
  ])("but not when %s", (_, expected, message) => {
    expect(failure(() => checkTensors(tensors, shapes(expected as Record<string, number[]>), { file: "f" })).message).toMatch(message);
  });

  it("but not when one holds integers", () => {
    const ids = readSafetensors(writeSafetensors([["ids", { dtype: "I32", shape: [0], data: new Uint8Array() }]]), "f").tensors;
    expect(failure(() => checkTensors(ids, shapes({ ids: [0] }), { file: "f" })).message).toMatch(/found I32/);
  });
});

describe("tensors that cannot be written are refused:", () => {
  const good = float32Tensor(Float32Array.of(1), [1]);
  const cases: [string, [string, SafetensorsTensor][]][] = [
    [
      "a name twice",
      [
        ["a", good],
        ["a", good],
      ],
    ],
    ["the name of the metadata", [["__metadata__", good]]],
    ["half of a surrogate pair as name", [["\ud800", good]]],
    ["data of the wrong size", [["a", { ...good, shape: [2] }]]],
    ["an impossible shape", [["a", { ...good, shape: [-1, -1] }]]],
    ["an unknown dtype", [["a", { ...good, dtype: "F4" as SafetensorsDtype }]]],
  ];
  it.each(cases)("%s", (_, tensors) => {
    expect(() => writeSafetensors(tensors)).toThrow(OptionError);
  });
});

describe("files", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "dawngrad-files-"));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it("come back as they were written, and nothing else is left in the folder", async () => {
    const path = join(folder, "weights.safetensors");
    await writeFile(path, "what was there before");
    await writeFileAtomic(path, sample);
    expect(Buffer.from(await readFileChecked(path)).equals(sample)).toBe(true);
    await writeFileAtomic(path, "Ωmega");
    expect(await readFile(path, "utf8")).toBe("Ωmega");
    await writeFileAtomic(join(folder, "empty"), "");
    expect((await readFileChecked(join(folder, "empty"))).length).toBe(0);
    expect((await readdir(folder)).sort()).toEqual(["empty", "weights.safetensors"]);
  });

  it("keep what they held when writing fails", async () => {
    const target = join(folder, "is-a-folder");
    await writeFileAtomic(join(folder, "kept"), "kept");
    const { mkdir } = await import("node:fs/promises");
    await mkdir(join(target, "inside"), { recursive: true });
    await expect(writeFileAtomic(target, "x")).rejects.toThrow(OptionError);
    expect((await readdir(folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    await rm(target, { recursive: true });
  });

  it("are written piece by piece, and keep what they held where a piece cannot be made", async () => {
    const path = join(folder, "pieces");
    const pieces = async function* (fails: boolean): AsyncGenerator<Uint8Array> {
      yield Uint8Array.of(1, 2);
      yield new Uint8Array();
      if (fails) throw new OptionError("no more");
      yield Uint8Array.of(3);
    };
    await writeFileAtomic(path, pieces(false));
    expect([...(await readFile(path))]).toEqual([1, 2, 3]);
    await expect(writeFileAtomic(path, pieces(true))).rejects.toThrow(new OptionError("no more"));
    expect([...(await readFile(path))]).toEqual([1, 2, 3]);
    expect((await readdir(folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("are refused with the file's name where they cannot be read", async () => {
    const missing = join(folder, "missing.safetensors");
    await expect(readFileChecked(missing)).rejects.toThrow(new RegExp(`${missing}: there is no such file`));
    await expect(readFileChecked(missing)).rejects.toThrow(FormatError);
    await expect(readFileChecked(folder)).rejects.toThrow(/expected a file, found a folder/);
    await expect(readFileChecked("/dev/null")).rejects.toThrow(/expected a file, found something else/);
    await expect(readFileChecked(join(folder, "kept"), { maxBytes: 3 })).rejects.toThrow(/expected at most 3 bytes, found 4/);
    await expect(readFileChecked(join(folder, "kept", "inside"))).rejects.toThrow(FormatError);
    await chmod(join(folder, "kept"), 0o600);
  });

  it("are refused where their folder does not exist", async () => {
    await expect(writeFileAtomic(join(folder, "none", "x"), "x")).rejects.toThrow(/its folder does not exist/);
  });
});

function entryOf<V>(tensors: ReadonlyMap<string, V>, name: string): V {
  const entry = tensors.get(name);
  if (entry === undefined) throw new Error(`no ${name}`);
  return entry;
}

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError } from "../../../src/errors.js";
import { type ByteSource, bytesSource, sourceOf } from "../../../src/nn/byte-source.js";
import { type GgufHeader, readGgufHeader } from "../../../src/nn/gguf/header.js";
import { ggufFlag, ggufNumber, ggufNumbers, ggufString, ggufStrings, ggufTokenizer } from "../../../src/nn/gguf/keys.js";
import type { GgufList, GgufValue } from "../../../src/nn/gguf/values.js";
import { fuzzRuns } from "../../support/fuzz.js";
import {
  array,
  bytesOf,
  bytesOfString,
  bytesOfU64,
  f32Data,
  join,
  type RawGguf,
  type RawKey,
  rawGguf,
  type TypeName,
} from "../../support/gguf.js";

const read = (file: RawGguf | Uint8Array): Promise<GgufHeader> =>
  readGgufHeader(bytesSource(file instanceof Uint8Array ? file : rawGguf(file), "m.gguf"));

/** Bytes that come one after another, some at a time, and of which nobody knows how many there are. */
function streamed(bytes: Uint8Array): ByteSource {
  let gone = 0;
  return {
    name: "stream",
    size: undefined,
    seekable: false,
    start: async () => bytes.subarray(0, 512),
    length: async (most) => Math.min(bytes.length, most + 1),
    close: async () => undefined,
    read: async (begin, end) => {
      expect(begin).toBeGreaterThanOrEqual(gone);
      if (end > bytes.length) throw new FormatError("too short", { file: "stream", hint: "again" });
      gone = end;
      return bytes.slice(begin, end);
    },
  };
}

async function failure(action: Promise<unknown>): Promise<FormatError> {
  const error = await action.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FormatError);
  return error as FormatError;
}

const four = { name: "a", extents: [4], type: 0, data: f32Data(1, 2, 3, 4) };
const tokenizerKeys: RawKey[] = [
  ["tokenizer.ggml.model", "string", "gpt2"],
  ["tokenizer.ggml.pre", "string", "smollm"],
  ["tokenizer.ggml.tokens", "array", array("string", ["<|end|>", "Ġa", "é"])],
  ["tokenizer.ggml.token_type", "array", array("i32", [3, 1, 1])],
  ["tokenizer.ggml.merges", "array", array("string", ["Ġ a"])],
  ["tokenizer.ggml.scores", "array", array("f32", [0, -1, -2.5])],
  ["tokenizer.ggml.bos_token_id", "u32", 0],
  ["tokenizer.ggml.padding_token_id", "u32", 4294967295],
  ["tokenizer.ggml.add_bos_token", "bool", true],
  ["tokenizer.chat_template", "string", "{{ messages }}"],
];
const sample: RawGguf = {
  keys: [["general.architecture", "string", "llama"], ["general.alignment", "u32", 64], ["n", "u64", 7n], ...tokenizerKeys],
  tensors: [
    { name: "token_embd.weight", extents: [32, 3], type: 8, data: new Uint8Array(3 * 34) },
    { name: "norm", extents: [5], type: 0, data: f32Data(1, 2, 3, 4, 5) },
    { name: "empty", extents: [0, 7], type: 0, data: new Uint8Array() },
    { name: "half", extents: [3, 2], type: 1, data: new Uint8Array(12) },
  ],
  alignment: 64,
};

describe("the header of a GGUF file", () => {
  it.each([2, 3])("of version %i says which keys and tensors there are", async (version) => {
    const header = await read({ ...sample, version });
    expect(header).toMatchObject({ version, alignment: 64 });
    expect(header.keys.get("n")).toEqual({ type: "u64", value: 7 });
    expect([...header.tensors.values()].map(({ name, type, shape, bytes }) => [name, type.name, shape, bytes])).toEqual([
      ["token_embd.weight", "Q8_0", [3, 32], 102],
      ["norm", "F32", [5], 20],
      ["empty", "F32", [7, 0], 0],
      ["half", "F16", [2, 3], 12],
    ]);
    const { dataStart, tensors } = header;
    expect(dataStart % 64).toBe(0);
    expect([...tensors.values()].map(({ offset }) => offset - dataStart)).toEqual([0, 128, 192, 192]);
  });

  it("gives every value back as it was written", async () => {
    const integer = (bits: number, signed: boolean): fc.Arbitrary<number> =>
      signed ? fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 }) : fc.integer({ min: 0, max: 2 ** bits - 1 });
    const scalars: { readonly [T in Exclude<TypeName, "array">]: fc.Arbitrary<unknown> } = {
      u8: integer(8, false),
      i8: integer(8, true),
      u16: integer(16, false),
      i16: integer(16, true),
      u32: integer(32, false),
      i32: integer(32, true),
      f32: fc.float(),
      bool: fc.boolean(),
      string: fc.string({ unit: "binary" }),
      u64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      i64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      f64: fc.double(),
    };
    const names = Object.keys(scalars) as (keyof typeof scalars)[];
    const value = fc.constantFrom(...names).chain((type) =>
      fc.oneof(
        scalars[type].map((one): readonly [TypeName, unknown] => [type, one]),
        fc.array(scalars[type], { maxLength: 5 }).map((values): readonly [TypeName, unknown] => ["array", array(type, values)]),
      ),
    );
    const narrow = (found: unknown): unknown =>
      typeof found === "bigint" && found >= Number.MIN_SAFE_INTEGER && found <= Number.MAX_SAFE_INTEGER ? Number(found) : found;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.string({ unit: "binary" }), value), { maxLength: 6 }), async (entries) => {
        const keys = new Map(entries.filter(([name]) => name !== "general.alignment"));
        const header = await read({ keys: [...keys].map(([name, [type, one]]) => [name, type, one]) });
        expect([...header.keys.keys()]).toEqual([...keys.keys()]);
        for (const [name, [type, one]] of keys) {
          const { type: foundType, value: found } = header.keys.get(name) as GgufValue;
          expect(foundType).toBe(type);
          if (type !== "array") expect(found).toEqual(narrow(one));
          else expect((found as GgufList).values()).toEqual((one as ReturnType<typeof array>).values.map(narrow));
        }
      }),
    );
  });

  it("gives a tokenizer's lists by name", async () => {
    const header = await read(sample);
    expect(ggufTokenizer(header)).toEqual({
      model: "gpt2",
      pre: "smollm",
      tokens: ["<|end|>", "Ġa", "é"],
      scores: Float64Array.of(0, -1, -2.5),
      tokenTypes: Float64Array.of(3, 1, 1),
      merges: ["Ġ a"],
      bosTokenId: 0,
      eosTokenId: undefined,
      unknownTokenId: undefined,
      paddingTokenId: undefined,
      eotTokenId: undefined,
      addBosToken: true,
      addEosToken: undefined,
      addSpacePrefix: undefined,
      removeExtraWhitespaces: undefined,
      chatTemplate: "{{ messages }}",
    });
    expect(ggufTokenizer(await read({}))).toBeUndefined();
  });

  it("loses no byte of a file that comes as a stream, wherever its pieces end", async () => {
    const tokens = Array.from({ length: 40_000 }, (_, i) => `token ${i}`);
    const bytes = rawGguf({ keys: [["list", "array", array("string", tokens)]], tensors: [four, { ...four, name: "b" }] });
    const header = await readGgufHeader(streamed(bytes));
    expect(ggufStrings(header, "list")).toEqual(tokens);
    for (const { offset } of header.tensors.values()) {
      expect([...(await header.source.read(offset, offset + 3))]).toEqual([...bytes.subarray(offset, offset + 3)]);
      expect([...(await header.source.read(offset + 3, offset + 16))]).toEqual([...bytes.subarray(offset + 3, offset + 16)]);
    }
  });

  it("reads no more of a large file than the header and one piece", async () => {
    let most = 0;
    const bytes = rawGguf({ tensors: [{ ...four, extents: [2 ** 30], data: new Uint8Array() }] });
    const large = sourceOf({
      name: "large",
      size: 2 ** 33,
      read: async (begin, end) => {
        most = Math.max(most, end);
        const piece = new Uint8Array(end - begin);
        piece.set(bytes.subarray(begin, end));
        return piece;
      },
    });
    await expect(readGgufHeader(large)).rejects.toThrow(/expected a file of 4294967360 bytes, found 8589934592/);
    expect(most).toBeLessThanOrEqual(2 ** 18);
  });
});

describe("a key of the wrong type is refused:", () => {
  const cases: [string, (header: GgufHeader) => unknown, RegExp][] = [
    ["a number for a string", (header) => ggufString(header, "n"), /expected "n" to be a string, found u64 "7"/],
    ["a string for a number", (header) => ggufNumber(header, "general.architecture"), /to be a number, found string "llama"/],
    ["a number for a boolean", (header) => ggufFlag(header, "n"), /to be true or false/],
    ["strings for numbers", (header) => ggufNumbers(header, "tokenizer.ggml.tokens"), /an array of numbers, found an array of 3 string/],
    ["numbers for strings", (header) => ggufStrings(header, "tokenizer.ggml.scores"), /an array of strings, found an array of 3 f32/],
  ];
  it.each(cases)("%s", async (_, ask, message) => {
    const header = await read(sample);
    expect(() => ask(header)).toThrow(message);
    expect(() => ask(header)).toThrow(FormatError);
  });
});

describe("a tokenizer is refused whose", () => {
  const cases: [string, RawKey, RegExp][] = [
    ["scores are too few", ["tokenizer.ggml.scores", "array", array("f32", [1])], /to have 3 items, one for each token, found 1/],
    ["types are too many", ["tokenizer.ggml.token_type", "array", array("i32", [1, 1, 1, 1])], /found 4/],
    ["ids are no token's", ["tokenizer.ggml.bos_token_id", "u32", 3], /from 0 to 2, found 3/],
    [
      "tokens are not UTF-8",
      ["tokenizer.ggml.tokens", 9, join(bytesOf("u32", 8), bytesOfU64(3), ...Array(3).fill(bytesOfString(Uint8Array.of(255))))],
      /UTF-8/,
    ],
    ["flags are numbers", ["tokenizer.ggml.add_bos_token", "u32", 1], /true or false/],
    ["flags are neither 0 nor 1", ["tokenizer.ggml.add_bos_token", "bool", 2], /true \(1\) or false \(0\), found 2/],
  ];
  it.each(cases)("%s", async (_, key, message) => {
    const keys = [...tokenizerKeys.filter(([name]) => name !== key[0]), key];
    expect((await failure(read({ keys }).then(ggufTokenizer))).message).toMatch(message);
  });
});

describe("a damaged GGUF file is refused:", () => {
  const key = (type: TypeName | number, value: unknown): RawGguf => ({ keys: [["k", type, value]] });
  const cases: [string, RawGguf | Uint8Array, RegExp][] = [
    ["an empty file", new Uint8Array(), /expected a GGUF file, found an empty file/],
    ["a file of another kind", new TextEncoder().encode('{"a":1}'), /expected a GGUF file, found JSON/],
    ["four bytes", new TextEncoder().encode("GGUF"), /expected the version of a GGUF file, found its end/],
    ["version 1", { version: 1 }, /at byte 4: expected GGUF of version 2 or 3, found version 1/],
    ["a later version", { version: 4 }, /found version 4/],
    ["big-endian", { version: 3 * 2 ** 24 }, /expected a little-endian GGUF file, found a big-endian one/],
    [
      "a count of tensors that the file cannot hold",
      { tensorCount: 2n ** 63n },
      /at byte 8: expected at most 0 tensors .* found 9223372036854775808/,
    ],
    ["a count of keys that the file cannot hold", { keyCount: 2 }, /at byte 16: expected at most 0 keys .* found 2/],
    ["more keys than there are", { ...sample, keyCount: 40 }, /m\.gguf at byte/],
    ["a name that is longer than the file", rawGguf(key("u8", 1)).fill(255, 24, 26), /expected 65535 bytes for the name of a key, found 6/],
    ["a type of value that there is not", key(13, Uint8Array.of(1)), /type of the value of "k" to be a number from 0 to 12, found 13/],
    ["a boolean that is 2", key("bool", 2), /true \(1\) or false \(0\), found 2/],
    ["a string of 2^62 bytes", key("string", bytesOfU64(2n ** 62n)), /expected 4611686018427387904 bytes for the value of "k", found 0/],
    [
      "an array of 2^62 items",
      key("array", join(bytesOf("u32", 0), bytesOfU64(2n ** 62n))),
      /expected at most 0 items of the value of "k"/,
    ],
    ["an array of arrays", key("array", join(bytesOf("u32", 9), bytesOfU64(0))), /found an array of arrays/],
    ["a string in an array that is too long", key("array", join(bytesOf("u32", 8), bytesOfU64(1), bytesOfU64(5))), /expected 5 bytes/],
    [
      "a key twice",
      {
        keys: [
          ["k", "u8", 1],
          ["k", "u8", 1],
        ],
      },
      /expected every key once, found "k" twice/,
    ],
    [
      "an alignment that is no power of two",
      { keys: [["general.alignment", "u32", 48]] },
      /general.alignment to be a u32 and a power of two, found "48"/,
    ],
    ["an alignment of 0", { keys: [["general.alignment", "u32", 0]] }, /found "0"/],
    ["an alignment of another type", { keys: [["general.alignment", "u64", 32]] }, /to be a u32/],
    ["a tensor twice", { tensors: [four, four] }, /every tensor once, found "a" twice/],
    ["a tensor of five axes", { tensors: [{ ...four, extents: [1, 1, 1, 1, 4] }] }, /at most 4 axes, found 5/],
    ["extents whose product is 0 modulo 2^64", { tensors: [{ ...four, extents: [2n ** 32n, 2n ** 32n] }] }, /fewer than 2\^50 elements/],
    ["an extent of 2^63", { tensors: [{ ...four, extents: [2n ** 63n, 0] }] }, /fewer than 2\^50 elements/],
    ["a type that ggml removed", { tensors: [{ ...four, type: 4 }] }, /type of ggml, found number 4/],
    ["a type named like a method", { tensors: [{ ...four, type: 2 ** 32 - 1 }] }, /found number 4294967295/],
    ["rows that are no whole blocks", { tensors: [{ ...four, extents: [33], type: 8 }] }, /whole blocks of 32 \(Q8_0\), found 33/],
    ["a scalar of blocks", { tensors: [{ ...four, extents: [], type: 2 }] }, /found 1 elements/],
    ["an overlap", { tensors: [four, { ...four, name: "b", offset: 0 }] }, /"b" to begin at 32 .* found 0, which overlaps/],
    ["a hole", { tensors: [four, { ...four, name: "b", offset: 64 }] }, /found 64, which leaves a hole of 32 bytes/],
    [
      "an offset that is not aligned",
      { tensors: [four, { ...four, name: "b", offset: 48 }] },
      /begin at 32 \(a multiple of 32\), found 48/,
    ],
    ["an offset beyond the file", { tensors: [{ ...four, offset: 2n ** 60n }] }, /within the file, found offset/],
    [
      "data missing at the end",
      rawGguf({ tensors: [four] }).subarray(0, -17),
      /expected 16 bytes of "a" \(F32 \[4\]\), found the end of the file/,
    ],
    ["data too many at the end", join(rawGguf({ tensors: [four] }), new Uint8Array(1)), /expected a file of 96 bytes, found 97/],
  ];
  it.each(cases)("%s", async (_, file, message) => {
    const error = await failure(read(file));
    expect(error.message).toMatch(message);
    expect(error.file).toBe("m.gguf");
    expect(error.hint).not.toBe("");
  });

  it("a name that is not UTF-8", async () => {
    const bytes = rawGguf(key("u8", 1));
    bytes[32] = 255;
    expect((await failure(read(bytes))).message).toMatch(/at byte 32: expected UTF-8/);
  });

  it("a file cut anywhere but in the padding at its end", async () => {
    const bytes = rawGguf({ ...sample, tensors: [...(sample.tensors ?? []), { ...four, name: "last" }] });
    const end = bytes.length - 48;
    for (let length = 0; length < end; length++) await failure(read(bytes.subarray(0, length)));
    for (let length = end; length <= bytes.length; length++) await read(bytes.subarray(0, length));
  });
});

/** Reads, and lets nothing but FormatError out; what it accepts lies in the file, one after another. */
async function tolerate(bytes: Uint8Array): Promise<void> {
  try {
    const header = await read(bytes);
    let end = header.dataStart;
    for (const { offset, bytes: count } of header.tensors.values()) {
      expect(offset).toBeGreaterThanOrEqual(end);
      end = offset + count;
    }
    if (header.tensors.size > 0) expect(end).toBeLessThanOrEqual(bytes.length);
    for (const { type, value } of header.keys.values()) if (type === "array") value.values();
    ggufTokenizer(header);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    expect(error.hint).not.toBe("");
  }
}

describe("nothing but FormatError comes from", () => {
  const bytes = rawGguf(sample);

  it("a file with a bit of any byte flipped", async () => {
    for (let bit = 0; bit < 8 * bytes.length; bit += 3) {
      const changed = bytes.slice();
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      await tolerate(changed);
    }
  });

  it("a file of which some bytes are others", async () => {
    const change = fc.record({ at: fc.nat(bytes.length - 1), to: fc.oneof(fc.constantFrom(0, 1, 127, 128, 255), fc.nat(255)) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 8 }), async (changes) => {
        const changed = bytes.slice();
        for (const { at, to } of changes) changed[at] = to;
        await tolerate(changed);
      }),
      { numRuns: fuzzRuns(100) },
    );
  });

  it("a file with pieces taken out, put in twice or exchanged", async () => {
    const place = fc.nat(bytes.length);
    await fc.assert(
      fc.asyncProperty(place, place, place, async (a, b, c) => {
        await tolerate(join(bytes.subarray(0, a), bytes.subarray(b, c), bytes.subarray(Math.max(a, c))));
      }),
      { numRuns: fuzzRuns(50) },
    );
  });

  it("random bytes behind a fitting beginning", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (rest) => tolerate(join(bytes.subarray(0, 8), rest))),
      { numRuns: fuzzRuns(50) },
    );
  });

  it("claims, for which no memory is taken", async () => {
    const before = process.memoryUsage().arrayBuffers;
    await tolerate(rawGguf({ keys: [["k", "array", join(bytesOf("u32", 10), bytesOfU64(2 ** 40))]] }));
    await tolerate(rawGguf({ keys: [["k", "string", bytesOfU64(2 ** 40)]] }));
    await tolerate(rawGguf({ tensors: [{ ...four, extents: [2 ** 40] }] }));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 21);
  });
});

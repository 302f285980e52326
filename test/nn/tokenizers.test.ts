import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OptionError } from "../../src/errors.js";
import { byteTokenizer } from "../../src/nn/tokenizers.js";

const unicode = fc.string({ unit: "binary", maxLength: 40 });

/** Cuts a list into pieces at the given places. */
function pieces<T>(list: readonly T[], cuts: readonly number[]): T[][] {
  const at = [0, ...cuts.map((cut) => cut % (list.length + 1)).sort((a, b) => a - b), list.length];
  return at.slice(1).map((end, index) => list.slice(at[index], end));
}

describe("the byte tokenizer", () => {
  it("has one token per byte of UTF-8", () => {
    expect(byteTokenizer.vocabSize).toBe(256);
    expect([...byteTokenizer.encode("aé€🐋\n")]).toEqual([97, 195, 169, 226, 130, 172, 240, 159, 144, 139, 10]);
    expect([...byteTokenizer.encode(Uint8Array.of(0, 255))]).toEqual([0, 255]);
  });

  it("gives every text back, byte-order marks included", () => {
    fc.assert(fc.property(unicode, (text) => void expect(byteTokenizer.decode(byteTokenizer.encode(text))).toBe(text)));
    expect(byteTokenizer.decode(byteTokenizer.encode("\ufeffa"))).toBe("\ufeffa");
  });

  it("decodes any bytes, with U+FFFD for what is no UTF-8", () => {
    expect(byteTokenizer.decode([97, 0xff, 98, 0xe2, 0x82])).toBe("a\ufffdb\ufffd");
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void expect(byteTokenizer.decode(bytes)).toBe(Buffer.from(bytes).toString("utf8"))));
  });

  it("decodes the same text from pieces, wherever they are cut", () => {
    const cuts = fc.array(fc.nat(200), { maxLength: 10 });
    fc.assert(
      fc.property(
        fc.oneof(
          unicode.map((text) => Buffer.from(text)),
          fc.uint8Array(),
        ),
        cuts,
        (bytes, at) => {
          const decoder = byteTokenizer.decoder();
          const text =
            pieces([...bytes], at)
              .map((ids) => decoder.push(ids))
              .join("") + decoder.end();
          expect(text).toBe(byteTokenizer.decode(bytes));
        },
      ),
    );
  });

  it("holds an incomplete character back until it is complete or the end", () => {
    const decoder = byteTokenizer.decoder();
    expect([240, 159, 144].map((id) => decoder.push([id]))).toEqual(["", "", ""]);
    expect(decoder.push([139, 33])).toBe("🐋!");
    expect(decoder.push([226])).toBe("");
    expect(decoder.end()).toBe("\ufffd");
    expect(decoder.push([97]) + decoder.end()).toBe("a");
  });

  it("refuses ids that are no bytes, and text that is cut inside of a character", () => {
    for (const id of [-1, 256, 0.5, Number.NaN]) expect(() => byteTokenizer.decode([97, id])).toThrow(OptionError);
    expect(() => byteTokenizer.decoder().push([300])).toThrow(/token 300 at place 0 is no byte/);
    expect(() => byteTokenizer.encode("🐋".slice(0, 1))).toThrow(/half of a surrogate pair at place 0/);
    expect(() => byteTokenizer.encode("a🐋\udc0b")).toThrow(/at place 3/);
  });
});

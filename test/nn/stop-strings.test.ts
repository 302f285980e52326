import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { byteTokenizer } from "../../src/index.js";
import { StoppedText } from "../../src/nn/stop-strings.js";

/** Texts of few letters, so that stop strings and beginnings of them come often. */
const letters = fc.string({ unit: fc.constantFrom("a", "b", "é", "😀"), maxLength: 30 });
const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "é", "😀"), minLength: 1, maxLength: 4 }), { maxLength: 3 });

describe("text with stop strings", () => {
  test.prop([letters, stops])("is all before the first of them, byte by byte", (text, stopStrings) => {
    const ends = stopStrings.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    const stopped = new StoppedText(byteTokenizer.decoder(), stopStrings);
    let found = "";
    for (const token of byteTokenizer.encode(text)) {
      found += stopped.push(token);
      // What has been handed out is never taken back.
      expect(text.startsWith(found)).toBe(true);
    }
    found += stopped.end();
    // A stop string that is complete first wins over one that begins before it and is complete later.
    if (ends.length === 0) expect([found, stopped.stopped]).toEqual([text, false]);
    else {
      const complete = Math.min(...stopStrings.flatMap((stop) => (text.includes(stop) ? [text.indexOf(stop) + stop.length] : [])));
      const seen = text.slice(0, complete);
      const first = Math.min(...stopStrings.map((stop) => seen.indexOf(stop)).filter((at) => at >= 0));
      expect([found, stopped.stopped]).toEqual([text.slice(0, first), true]);
    }
  });

  it("is handed out at once where it cannot become a stop string", () => {
    const stopped = new StoppedText(byteTokenizer.decoder(), ["###"]);
    const pieces = Array.from(byteTokenizer.encode("a #b##c ###d"), (token) => stopped.push(token));
    expect(pieces).toEqual(["a", " ", "", "#b", "", "", "##c", " ", "", "", "", ""]);
    expect([stopped.end(), stopped.stopped]).toEqual(["", true]);
  });
});

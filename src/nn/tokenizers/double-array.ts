/**
 * SentencePiece's table of replacements (`precompiled_charsmap`): a double-array trie (Aoe 1989, as Darts-clone lays it out) from UTF-8 to
 * places in a list of texts that end with a zero byte. Layout: u32 bytes of the trie, its units of u32, the texts; little endian.
 *
 * A unit holds at bit 31 whether it is a leaf's value (its lower 31 bits), at bits 0–7 the byte that leads to it, at bit 8 whether a leaf hangs
 * on it, and from bit 9 on the offset to its children, with bit 9 for a shift by 8.
 */
import { FormatError } from "../../errors.js";

export interface CharsMap {
  /**
   * The replacement of the longest (or shortest) key that bytes `from` … `to − 1` begin with, and how long it is; undefined where there is none.
   */
  match(bytes: Uint8Array, from: number, to: number, longest: boolean): { readonly length: number; readonly text: Uint8Array } | undefined;
}

/** Throws FormatError for a table that says other sizes than it has. */
export function readCharsMap(blob: Uint8Array, file: string): CharsMap {
  const fail = (message: string): FormatError =>
    new FormatError(`the table of characters (precompiled_charsmap): ${message}`, { file, hint: "the file is damaged; get it again" });
  if (blob.length < 4) throw fail(`expected at least 4 bytes, found ${blob.length}`);
  const view = new DataView(blob.buffer, blob.byteOffset, blob.length);
  const trieBytes = view.getUint32(0, true);
  if (trieBytes % 4 !== 0 || trieBytes === 0 || trieBytes > blob.length - 4) {
    throw fail(`expected a trie inside of ${blob.length - 4} bytes, found one of ${trieBytes}`);
  }
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const texts = blob.subarray(4 + trieBytes);
  const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);

  const textAt = (place: number): Uint8Array => {
    const end = texts.indexOf(0, place);
    if (place >= texts.length || end < 0) throw fail(`expected a text inside of ${texts.length} bytes, found one at ${place}`);
    return texts.subarray(place, end);
  };
  return {
    match(bytes, from, to, longest) {
      let node = offsetOf(units[0] as number);
      let found: { length: number; value: number } | undefined;
      for (let i = from; i < to; i++) {
        const byte = bytes[i] as number;
        if (byte === 0) break;
        node = (node ^ byte) >>> 0;
        const unit = units[node];
        if (unit === undefined || (unit & 0x8000_00ff) !== byte) break;
        node = (node ^ offsetOf(unit)) >>> 0;
        if ((unit & 0x100) !== 0) {
          const leaf = units[node];
          if (leaf === undefined) throw fail("a leaf lies behind the end");
          found = { length: i + 1 - from, value: leaf & 0x7fff_ffff };
          if (!longest) break;
        }
      }
      return found && { length: found.length, text: textAt(found.value) };
    },
  };
}

/**
 * Decoders of tokenizer.json: the writings of tokens to text. Each is a step with a state of its own, given writings as they come, so that one
 * mechanism serves whole texts and streams.
 */
import { fromByteCharacters } from "./byte-characters.js";
import type { Fields } from "./fields.js";
import { readPattern } from "./normalizers.js";
import { readMetaspace } from "./pre-tokenizers.js";
import { newUtf8 } from "./tokenizer.js";

/** Turns the next items into items that are complete. */
export interface DecodeState {
  push(items: readonly string[]): string[];
  end(): string[];
}

export interface DecodeStep {
  /** @param streaming text is wanted as soon as it is complete, not when all is there */
  begin(streaming: boolean): DecodeState;
  /** What bytes a token stands for inside of a text, given what earlier steps made of it. */
  inside(item: string | Uint8Array): string | Uint8Array;
}

const utf8 = new TextEncoder();

/** A step that looks at one item at a time. `first` is true for the first of a text alone. */
const each = (change: (item: string, first: boolean) => string): DecodeStep => ({
  begin() {
    let first = true;
    return {
      push: (items) =>
        items.map((item) => {
          const changed = change(item, first);
          first = false;
          return changed;
        }),
      end: () => [],
    };
  },
  inside: (item) => (typeof item === "string" ? change(item, false) : item),
});

/** Writings of bytes, which are UTF-8 together; a writing that is none stands for itself. */
export const byteLevelDecoder: DecodeStep = {
  begin() {
    const text = newUtf8();
    return {
      push: (items) => [items.map((item) => text.decode(fromByteCharacters(item) ?? utf8.encode(item), { stream: true })).join("")],
      end: () => [text.decode()],
    };
  },
  inside: (item) => (typeof item === "string" ? (fromByteCharacters(item) ?? item) : item),
};

/** The byte of "<0x0A>". */
export function writtenByte(item: string): number | undefined {
  const digits = /^<0x([0-9A-Fa-f]{2})>$/.exec(item)?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}

/** What becomes of bytes in a row that are not UTF-8. */
export type WrongBytes =
  /** Each that belongs to no character is one "�", as in SentencePiece. */
  | "singly"
  /** The whole row is, one "�" a byte, as in Hugging Face's `tokenizers`. */
  | "together";

/** "<0x0A>" to the byte, between items that are text. A stream cannot wait for the end of a row: there wrong bytes are replaced singly. */
export const byteFallbackDecoder = (wrong: WrongBytes): DecodeStep => ({
  begin(streaming) {
    let waiting: number[] = [];
    const flush = (ended: boolean): string => {
      if (waiting.length === 0) return "";
      const { text, left } = decodeRow(Uint8Array.from(waiting), ended);
      const replaced = wrong === "together" && !streaming && text.includes("�") && !isUtf8(waiting) ? "�".repeat(waiting.length) : text;
      waiting = left;
      return replaced;
    };
    return {
      push(items) {
        const out: string[] = [];
        for (const item of items) {
          const byte = writtenByte(item);
          if (byte !== undefined) waiting.push(byte);
          else {
            const row = flush(true);
            if (row !== "") out.push(row);
            out.push(item);
          }
        }
        const row = streaming ? flush(false) : "";
        return row === "" ? out : [...out, row];
      },
      end() {
        const row = flush(true);
        return row === "" ? [] : [row];
      },
    };
  },
  inside(item) {
    const byte = typeof item === "string" ? writtenByte(item) : undefined;
    return byte === undefined ? item : Uint8Array.of(byte);
  },
});

function isUtf8(bytes: readonly number[]): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
    return true;
  } catch {
    return false;
  }
}

/** Characters of bytes, "�" for each byte that belongs to none; those that may begin one are left unless the row has ended. */
function decodeRow(bytes: Uint8Array, ended: boolean): { text: string; left: number[] } {
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const length = lengthOf(bytes[at] as number);
    if (!ended && length > bytes.length - at && length > 0) return { text, left: [...bytes.subarray(at)] };
    const character = length > 0 ? [...bytes.subarray(at, at + length)] : [];
    if (character.length === length && length > 0 && isUtf8(character)) {
      text += newUtf8().decode(Uint8Array.from(character));
      at += length;
    } else {
      text += "�";
      at++;
    }
  }
  return { text, left: [] };
}

/** Bytes of the character that a byte begins; 0 where it begins none. */
const lengthOf = (byte: number): number => (byte < 0x80 ? 1 : byte < 0xc2 ? 0 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf5 ? 4 : 0);

/** Everything as one item. */
const fuse: DecodeStep = {
  begin(streaming) {
    let held = "";
    return {
      push: (items) => {
        if (streaming) return [items.join("")];
        held += items.join("");
        return [];
      },
      end: () => (streaming ? [] : [held]),
    };
  },
  inside: (item) => item,
};

/**
 * Takes a character off the beginning and the end, so many times at most: of every item, or of the text as a whole where it was fused before.
 */
const strip = (character: string, start: number, stop: number, whole: boolean): DecodeStep => {
  const stripped = (item: string): string => {
    let [from, to] = [0, item.length];
    while (from < start && item[from] === character) from++;
    while (to > from && item.length - to < stop && item[to - 1] === character) to--;
    return item.slice(from, to);
  };
  if (!whole) return each(stripped);
  return {
    begin() {
      let left = start;
      let held = "";
      return {
        push(items) {
          let text = held + items.join("");
          let from = 0;
          while (left > 0 && from < text.length) {
            if (text[from] !== character) left = 0;
            else {
              from++;
              left--;
            }
          }
          text = text.slice(from);
          let to = text.length;
          while (to > 0 && text.length - to < stop && text[to - 1] === character) to--;
          held = text.slice(to);
          return [text.slice(0, to)];
        },
        end: () => [],
      };
    },
    inside: (item) => item,
  };
};

/** What Python's tokenizers does to the spaces of English. */
const cleanedUp = (text: string): string =>
  [" .", " ?", " !", " ,"]
    .reduce((so, sign) => so.replaceAll(sign, sign.slice(1)), text)
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(" do not", " don't")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");

/** The end of a word is a space, but for the last one. */
const suffixDecoder = (suffix: string): DecodeStep => ({
  begin() {
    let held: string | undefined;
    return {
      push(items) {
        const out: string[] = [];
        for (const item of items) {
          if (held !== undefined) out.push(held.replaceAll(suffix, " "));
          held = item;
        }
        return out;
      },
      end: () => (held === undefined ? [] : [held.replaceAll(suffix, "")]),
    };
  },
  inside: (item) => (typeof item === "string" ? item.replaceAll(suffix, " ") : item),
});

/** Where a file names no decoder. */
export const spacedDecoder: DecodeStep = each((item, first) => (first ? item : ` ${item}`));

/** Throws FormatError for a kind that is not known. */
export function readDecoder(fields: Fields): readonly DecodeStep[] {
  return readSteps(fields, { fused: false });
}

function readSteps(fields: Fields, state: { fused: boolean }): readonly DecodeStep[] {
  const type = fields.string("type");
  switch (type) {
    case "Sequence":
      return fields.objects("decoders").flatMap((one) => readSteps(one, state));
    case "ByteLevel":
      return [byteLevelDecoder];
    case "ByteFallback":
      return [byteFallbackDecoder("together")];
    case "Fuse":
      state.fused = true;
      return [fuse];
    case "Replace": {
      const content = fields.string("content");
      const pattern = readPattern(fields, "pattern");
      return [each((item) => item.replace(pattern, () => content))];
    }
    case "Strip": {
      const character = fields.stringOr("content", " ");
      if (character.length !== 1) throw fields.fail("content", "a character");
      return [strip(character, fields.integerOr("start", 0, 0, 1024), fields.integerOr("stop", 0, 0, 1024), state.fused)];
    }
    case "Metaspace": {
      const { replacement, prepend } = readMetaspace(fields);
      return [
        each((item, first) =>
          first && prepend !== "never" ? item.replaceAll(replacement, " ").replace(/^ /, "") : item.replaceAll(replacement, " "),
        ),
      ];
    }
    case "WordPiece": {
      const prefix = fields.stringOr("prefix", "##");
      const clean = fields.flag("cleanup", true);
      return [
        each((item, first) => {
          const joined = first ? item : item.startsWith(prefix) ? item.slice(prefix.length) : ` ${item}`;
          return clean ? cleanedUp(joined) : joined;
        }),
      ];
    }
    case "BPEDecoder":
      return [suffixDecoder(fields.stringOr("suffix", "</w>"))];
    default:
      throw fields.fail("type", "a decoder that is known here");
  }
}

/** The bytes of a token inside of a text. */
export function bytesInside(steps: readonly DecodeStep[], written: string): Uint8Array {
  let item: string | Uint8Array = written;
  for (const step of steps) item = step.inside(item);
  return typeof item === "string" ? utf8.encode(item) : item;
}

/** Runs steps one after another. */
export function runDecoder(steps: readonly DecodeStep[], streaming: boolean): { push(items: readonly string[]): string; end(): string } {
  const states = steps.map((step) => step.begin(streaming));
  const through = (items: readonly string[], from: number): readonly string[] =>
    states.slice(from).reduce<readonly string[]>((so, state) => state.push(so), items);
  return {
    push: (items) => through(items, 0).join(""),
    end: () => states.map((state, i) => through(state.end(), i + 1).join("")).join(""),
  };
}

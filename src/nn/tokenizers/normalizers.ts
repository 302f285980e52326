/** Normalizers of tokenizer.json: text to text, before it is split. What is described is what Hugging Face's `tokenizers` does. */
import { FormatError } from "../../errors.js";
import { toByteCharacters } from "./byte-characters.js";
import { type CharsMap, readCharsMap } from "./double-array.js";
import type { Fields } from "./fields.js";
import { compilePattern, escapeLiteral, literalPattern } from "./patterns.js";

export type Normalizer = (text: string) => string;

/** Characters at a time are mapped one by one, without what stands around them: no final sigma. */
export const lowercase: Normalizer = (text) => text.replaceAll("Σ", "σ").toLowerCase();

const edges = { left: /^\p{White_Space}+/u, right: /\p{White_Space}+$/u };

/** Throws FormatError for a kind that is not known. */
export function readNormalizer(fields: Fields): Normalizer {
  const type = fields.string("type");
  switch (type) {
    case "Sequence": {
      const steps = fields.objects("normalizers").map(readNormalizer);
      return (text) => steps.reduce((so, step) => step(so), text);
    }
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return (text) => text.normalize(type);
    case "Lowercase":
      return lowercase;
    case "Strip": {
      const [left, right] = [fields.flag("strip_left", true), fields.flag("strip_right", true)];
      return (text) => {
        const begun = left ? text.replace(edges.left, "") : text;
        return right ? trimEnd(begun) : begun;
      };
    }
    case "StripAccents":
      return (text) => text.replace(/\p{M}/gu, "");
    case "Prepend": {
      const prefix = fields.string("prepend");
      return (text) => (text === "" ? text : prefix + text);
    }
    case "Replace": {
      const content = fields.string("content");
      const pattern = readPattern(fields, "pattern");
      return (text) => text.replace(pattern, () => content);
    }
    case "Precompiled":
      return precompiled(readCharsMap(readBase64(fields, "precompiled_charsmap"), fields.file));
    case "BertNormalizer":
      return bert(fields);
    case "ByteLevel":
      return toByteCharacters;
    default:
      throw fields.fail("type", "a normalizer that is known here");
  }
}

/** The pattern `{ "String": … }` or `{ "Regex": … }` under a name, with the flag g. */
export function readPattern(fields: Fields, name: string): RegExp {
  const pattern = fields.object(name);
  if (pattern.has("Regex")) return compilePattern(pattern.string("Regex"), fields.file);
  const text = pattern.string("String");
  if (text === "") throw pattern.fail("String", "a text that is not empty");
  return literalPattern(text);
}

/** From the end, because a pattern looks for it from every place of white space. */
function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1] as string)) end--;
  return text.slice(0, end);
}

function readBase64(fields: Fields, name: string): Uint8Array {
  const text = fields.string(name);
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    throw new FormatError(`expected ${fields.nameOf(name)} to be Base64`, { file: fields.file, hint: "the file is damaged; get it again" });
  }
}

const utf8 = new TextEncoder();

/** By user-perceived characters of at most 5 bytes as a whole, else by code points, where the shortest key counts. */
function precompiled(map: CharsMap): Normalizer {
  const known = new Map<string, string | undefined>();
  const replaced = (text: string): string | undefined => {
    if (known.has(text)) return known.get(text);
    const bytes = utf8.encode(text);
    const match = map.match(bytes, 0, bytes.length, false);
    const replacement = match && new TextDecoder().decode(match.text);
    if (known.size < 65_536) known.set(text, replacement);
    return replacement;
  };
  const byCharacter = (text: string): string => {
    let written = "";
    for (const character of text) written += replaced(character) ?? character;
    return written;
  };
  const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });
  const byGrapheme = (text: string): string => {
    let written = "";
    for (const { segment } of graphemes.segment(text)) {
      written += (utf8.encode(segment).length < 6 ? replaced(segment) : undefined) ?? byCharacter(segment);
    }
    return written;
  };
  // In ASCII, where segmentation is slow for nothing, only CR LF is a character of two.
  const ascii = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)).filter(
    (character) => replaced(character) !== undefined,
  );
  const inAscii = new RegExp(`\\r\\n|[${ascii.map(escapeLiteral).join("")}]`, "gv");
  return (text) =>
    text.replace(/(?:[\0-\x7f](?![^\0-\x7f]))+|(?:[\0-\x7f]?[^\0-\x7f]+)+/g, (part) =>
      (part.length > 1 && part.charCodeAt(1) > 0x7f) || part.charCodeAt(0) > 0x7f
        ? byGrapheme(part)
        : part.replace(inAscii, (found) => replaced(found) ?? byCharacter(found)),
    );
}

/** Ideographs as BERT's multilingual models have them. */
const ideographs =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;

/** Devlin et al. 2019. */
function bert(fields: Fields): Normalizer {
  const clean = fields.flag("clean_text", true);
  const spaced = fields.flag("handle_chinese_chars", true);
  const lower = fields.flag("lowercase", true);
  const strip = fields.flag("strip_accents", lower);
  return (text) => {
    let so = text;
    if (clean) so = so.replace(/[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}]/gu, "").replace(/\p{White_Space}/gu, " ");
    if (spaced) so = so.replace(ideographs, " $& ");
    if (strip) so = so.normalize("NFD").replace(/\p{Mn}/gu, "");
    return lower ? lowercase(so) : so;
  };
}

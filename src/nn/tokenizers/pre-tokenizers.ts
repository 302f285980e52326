/** Pre-tokenizers of tokenizer.json: a text to the pieces that a model encodes one by one. */
import { toByteCharacters } from "./byte-characters.js";
import type { Fields } from "./fields.js";
import { readPattern } from "./normalizers.js";
import { literalPattern, rustWordClass } from "./patterns.js";

/**
 * The next finer pieces of a piece; made lazily, because a text may be long.
 *
 * @param first whether the piece stands at the beginning of the whole text
 */
export type PreTokenizer = (piece: string, first: boolean) => Iterable<string>;

/** What becomes of the places that a pattern finds: whether a span is joined to the one before it. */
const joins = {
  Isolated: () => false,
  Removed: () => false,
  MergedWithPrevious: (before: boolean, match: boolean) => !before && match,
  MergedWithNext: (before: boolean, match: boolean) => before && !match,
  Contiguous: (before: boolean, match: boolean) => before === match,
};
type Behavior = keyof typeof joins;

/** GPT-2's words: contractions, letters, numbers and other signs with the space before them, and white space but for that space. */
export const gpt2Pattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const gpt2Words = new RegExp(gpt2Pattern.replaceAll("\\s", "\\p{White_Space}").replace("\\S", "\\P{White_Space}"), "gv");

const whiteSpace = /\p{White_Space}/gu;
const numeric = { one: /\p{N}/gu, many: /\p{N}+/gu };
const asciiPunctuation = "!-\\/:-@\\[-`\\{-~";
const punctuation = new RegExp(`[\\p{P}${asciiPunctuation}]`, "gu");
const words = new RegExp(`[${rustWordClass}]+|[^${rustWordClass}\\p{White_Space}]+`, "gv");

/** Pieces between and at the matches of a pattern with the flag g. Matches of nothing do not count. */
export function* splitAt(text: string, pattern: RegExp, behavior: Behavior, invert = false): Generator<string> {
  const joined = joins[behavior];
  let [from, to] = [0, 0]; // of the piece that waits for what comes next
  let waits: boolean | undefined; // whether it ends with a match
  for (const span of spans(text, pattern)) {
    const match = span.match !== invert;
    if (waits !== undefined && !joined(waits, match)) {
      if (!(behavior === "Removed" && waits)) yield text.slice(from, to);
      from = to;
    }
    to = span.to;
    waits = match;
  }
  if (waits !== undefined && !(behavior === "Removed" && waits)) yield text.slice(from, to);
}

function* spans(text: string, pattern: RegExp): Generator<{ readonly to: number; readonly match: boolean }> {
  let last = 0;
  for (const found of text.matchAll(pattern)) {
    if (found[0] === "") continue;
    if (last < found.index) yield { to: found.index, match: false };
    last = found.index + found[0].length;
    yield { to: last, match: true };
  }
  if (last < text.length) yield { to: text.length, match: false };
}

/** Throws FormatError for a kind that is not known. A ByteLevel one only splits: `byteLevel` says whether bytes are to be written, too. */
export function readPreTokenizer(fields: Fields): { readonly steps: readonly PreTokenizer[]; readonly byteLevel: boolean } {
  const type = fields.string("type");
  const only = (step: PreTokenizer): { steps: PreTokenizer[]; byteLevel: boolean } => ({ steps: [step], byteLevel: false });
  const splitting = (pattern: RegExp, behavior: Behavior, invert = false) => only((piece) => splitAt(piece, pattern, behavior, invert));
  switch (type) {
    case "Sequence": {
      const all = fields.objects("pretokenizers").map(readPreTokenizer);
      const steps = all.flatMap((one, i) =>
        one.byteLevel && i < all.length - 1 ? [...one.steps, ((piece) => [toByteCharacters(piece)]) satisfies PreTokenizer] : one.steps,
      );
      return { steps, byteLevel: all.at(-1)?.byteLevel ?? false };
    }
    case "ByteLevel": {
      const steps: PreTokenizer[] = [];
      if (fields.flag("add_prefix_space", true)) steps.push((piece) => [piece.startsWith(" ") ? piece : ` ${piece}`]);
      if (fields.flag("use_regex", true)) steps.push((piece) => splitAt(piece, gpt2Words, "Isolated"));
      return { steps, byteLevel: true };
    }
    case "Metaspace":
      return only(metaspace(fields));
    case "Split":
      return splitting(readPattern(fields, "pattern"), readBehavior(fields, "Isolated"), fields.flag("invert", false));
    case "Digits":
      return fields.flag("individual_digits", false) ? splitting(numeric.one, "Isolated") : splitting(numeric.many, "Isolated");
    case "Punctuation":
      return splitting(punctuation, readBehavior(fields, "Isolated"));
    case "Whitespace":
      return splitting(words, "Removed", true);
    case "WhitespaceSplit":
      return splitting(whiteSpace, "Removed");
    case "BertPreTokenizer":
      return { steps: [...splitting(whiteSpace, "Removed").steps, ...splitting(punctuation, "Isolated").steps], byteLevel: false };
    case "CharDelimiterSplit":
      return splitting(literalPattern(fields.string("delimiter")), "Removed");
    default:
      throw fields.fail("type", "a pre-tokenizer that is known here");
  }
}

function readBehavior(fields: Fields, otherwise: Behavior): Behavior {
  const found = fields.stringOr("behavior", otherwise);
  if (!Object.hasOwn(joins, found)) throw fields.fail("behavior", Object.keys(joins).join(" or "));
  return found as Behavior;
}

/** Where spaces become "▁" and a text may get one in front: in front of every section, the first alone, or none. */
export interface MetaspaceOptions {
  readonly replacement: string;
  readonly prepend: "always" | "first" | "never";
}

export function readMetaspace(fields: Fields): MetaspaceOptions {
  const replacement = fields.stringOr("replacement", "▁");
  if ([...replacement].length !== 1) throw fields.fail("replacement", "a character");
  const scheme = fields.stringOr("prepend_scheme", "always");
  if (scheme !== "always" && scheme !== "first" && scheme !== "never") throw fields.fail("prepend_scheme", '"always", "first" or "never"');
  return { replacement, prepend: fields.flag("add_prefix_space", true) ? scheme : "never" };
}

function metaspace(fields: Fields): PreTokenizer {
  const { replacement, prepend } = readMetaspace(fields);
  const split = fields.flag("split", true);
  const pattern = literalPattern(replacement);
  return (piece, first) => {
    const spaced = piece.replaceAll(" ", replacement);
    const prefixed = prepend === "always" || (prepend === "first" && first);
    const whole = prefixed && !spaced.startsWith(replacement) ? replacement + spaced : spaced;
    return split ? splitAt(whole, pattern, "MergedWithNext") : [whole];
  };
}

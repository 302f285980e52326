/** Tokens that are looked for in the text itself, before anything else is done with it. */
import { FormatError } from "../../errors.js";
import type { Fields } from "./fields.js";
import type { Normalizer } from "./normalizers.js";
import { rustWordClass } from "./patterns.js";
import { Trie } from "./trie.js";

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Stands for no text of its own. */
  readonly special: boolean;
  /** Found only where no letter or digit touches it. */
  readonly singleWord?: boolean;
  /** Takes the white space to its left (right) with it. */
  readonly leftStrip?: boolean;
  readonly rightStrip?: boolean;
  /** Looked for in the normalized text, as this. Default: in the text itself, as `content`. */
  readonly normalized?: string | undefined;
}

export function readAddedToken(fields: Fields, normalizer: Normalizer | undefined): AddedToken {
  const content = fields.string("content");
  const special = fields.flag("special", false);
  return {
    id: fields.integer("id", 0, 2 ** 31 - 1),
    content,
    special,
    singleWord: fields.flag("single_word", false),
    leftStrip: fields.flag("lstrip", false),
    rightStrip: fields.flag("rstrip", false),
    normalized: fields.flag("normalized", !special) ? (normalizer?.(content) ?? content) : undefined,
  };
}

/** A token, or text between tokens, with where it begins. */
export type Section =
  | { readonly token: number; readonly to: number }
  | { readonly text: string; readonly from: number; readonly to: number };

const wordAtEnd = new RegExp(`[${rustWordClass}]$`, "v");
const wordAtStart = new RegExp(`^[${rustWordClass}]`, "v");
const spaceAtStart = /\p{White_Space}*/uy;
const isSpace = /\p{White_Space}/u;

/** Splits a text at tokens: the leftmost one, the longest where several begin at a place. */
export class TokenSplitter {
  private readonly trie: Trie;
  private readonly tokens: readonly AddedToken[];
  /** Characters that a token may begin with. */
  private readonly beginnings: RegExp;

  constructor(tokens: readonly AddedToken[]) {
    const texts = tokens.map(({ content, normalized }) => normalized ?? content);
    this.tokens = tokens.filter((_, i) => texts[i] !== "");
    const found = texts.filter((text) => text !== "");
    this.trie = new Trie(found);
    const first = [...new Set(found.map((text) => text.slice(0, 1)))];
    this.beginnings = new RegExp(first.length === 0 ? "(?!)" : `[${first.map(unit).join("")}]`, "g");
  }

  /** @param parseSpecial whether special tokens are among those that are found */
  *split(text: string, parseSpecial: boolean): Generator<Section> {
    let from = 0;
    for (let at = this.next(text, 0); at < text.length; at = this.next(text, at)) {
      let index = -1;
      let to = at;
      this.trie.from(text, at, (found, end) => {
        index = found;
        to = end;
      });
      const token = this.tokens[index];
      if (token === undefined) {
        at++;
        continue;
      }
      const begin = at;
      at = to;
      if (token.special && !parseSpecial) continue;
      if (token.singleWord && (wordAtEnd.test(before(text, begin)) || wordAtStart.test(text.slice(to, to + 2)))) continue;
      let start = begin;
      if (token.leftStrip) while (start > from && isSpace.test(text[start - 1] as string)) start--;
      if (token.rightStrip) {
        spaceAtStart.lastIndex = to;
        to += spaceAtStart.exec(text)?.[0].length ?? 0;
      }
      if (from < start) yield { text: text.slice(from, start), from, to: start };
      yield { token: token.id, to };
      from = to;
    }
    if (from < text.length) yield { text: text.slice(from), from, to: text.length };
  }

  private next(text: string, from: number): number {
    this.beginnings.lastIndex = from;
    return this.beginnings.exec(text)?.index ?? text.length;
  }
}

const before = (text: string, place: number): string => text.slice(Math.max(0, place - 2), place);
const unit = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Throws FormatError where two tokens have the same writing or number. */
export function checkAddedTokens(tokens: readonly AddedToken[], file: string): void {
  const seen = new Map<string, number>();
  for (const { id, content } of tokens) {
    if ((seen.get(content) ?? id) !== id) {
      throw new FormatError(`expected added tokens to differ, found ${JSON.stringify(content)} as ${seen.get(content)} and as ${id}`, {
        file,
        hint: "the file is damaged; get it again",
      });
    }
    seen.set(content, id);
  }
}

/** Vocabularies of words and of their parts, which know no scores. */
import type { Emit, TokenModel } from "./model.js";

export interface WordPieceOptions {
  readonly tokens: ReadonlyMap<string, number>;
  readonly unknown: number | undefined;
  /** What tokens begin with that continue a word. */
  readonly prefix: string;
  /** Longer words are unknown. */
  readonly longestWord: number;
}

/** The longest token that a word begins with, and so on with the rest (Devlin et al. 2019); a word with an unknown rest is unknown as a whole. */
export class WordPieceModel implements TokenModel {
  private readonly longest: number;

  constructor(private readonly options: WordPieceOptions) {
    let longest = 0;
    for (const token of options.tokens.keys()) longest = Math.max(longest, token.length);
    this.longest = longest;
  }

  encode(word: string, emit: Emit): void {
    const { unknown } = this.options;
    const tokens = this.parts(word);
    if (tokens !== undefined) for (const token of tokens) emit(token);
    else if (unknown !== undefined) emit(unknown);
  }

  private parts(word: string): number[] | undefined {
    const { tokens, prefix, longestWord } = this.options;
    if (word.length > longestWord && [...word].length > longestWord) return undefined;
    const found: number[] = [];
    for (let at = 0; at < word.length; ) {
      let end = Math.min(word.length, at + this.longest);
      let token: number | undefined;
      for (; end > at; end--) {
        token = tokens.get(`${at > 0 ? prefix : ""}${word.slice(at, end)}`);
        if (token !== undefined) break;
      }
      if (token === undefined) return undefined;
      found.push(token);
      at = end;
    }
    return found;
  }
}

/** Every piece is a token or unknown. */
export class WordLevelModel implements TokenModel {
  constructor(
    private readonly tokens: ReadonlyMap<string, number>,
    private readonly unknown: number | undefined,
  ) {}

  encode(piece: string, emit: Emit): void {
    const token = this.tokens.get(piece) ?? this.unknown;
    if (token !== undefined) emit(token);
  }
}

/** A piece of text to tokens: the step of a tokenizer that knows its vocabulary. */

/** Receives tokens. */
export type Emit = (token: number) => void;

export interface TokenModel {
  /** Emits the tokens of a piece that is not empty. */
  encode(piece: string, emit: Emit): void;
  /**
   * Whether a piece may be cut between two characters (code points): no token spans the place, so that what stands on one side never decides
   * about the other. Absent for models that pieces are always whole for.
   */
  separates?(before: string, after: string): boolean;
}

/** What stands for characters that the vocabulary lacks. */
export interface UnknownCharacters {
  /** The token for them; without one they are left out. */
  readonly token: number | undefined;
  /** Several in a row are one token. */
  readonly fuse: boolean;
  /** The tokens of their bytes, by byte, where all 256 are there or those that are. */
  readonly bytes: ReadonlyMap<number, number> | undefined;
}

const utf8 = new TextEncoder();

/** The tokens of a character's bytes; undefined where one of them has none. */
export function byteTokens(character: string, bytes: ReadonlyMap<number, number> | undefined): number[] | undefined {
  if (bytes === undefined) return undefined;
  const tokens: number[] = [];
  for (const byte of utf8.encode(character)) {
    const token = bytes.get(byte);
    if (token === undefined) return undefined;
    tokens.push(token);
  }
  return tokens;
}

/** The tokens "<0x00>" … "<0xFF>" of a vocabulary by byte. */
export function byteTokensOf(tokenOf: (text: string) => number | undefined): ReadonlyMap<number, number> {
  const bytes = new Map<number, number>();
  for (let byte = 0; byte < 256; byte++) {
    const token = tokenOf(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
    if (token !== undefined) bytes.set(byte, token);
  }
  return bytes;
}

/** Pairs of characters that stand side by side inside of some token. */
export function neighboursIn(tokens: Iterable<string>): (before: string, after: string) => boolean {
  const pairs = new Set<string>();
  for (const token of tokens) {
    let before: string | undefined;
    for (const character of token) {
      if (before !== undefined) pairs.add(before + character);
      before = character;
    }
  }
  return (before, after) => pairs.has(before + after);
}

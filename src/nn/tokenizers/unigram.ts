/**
 * Unigram language model (Kudo 2018): of all ways to write a piece as tokens the one whose log probabilities add up to the most, found by the
 * Viterbi algorithm from left to right.
 */

import { byteTokens, type Emit, type TokenModel, type UnknownCharacters } from "./model.js";
import { Trie } from "./trie.js";

export interface UnigramPiece {
  readonly text: string;
  readonly token: number;
  readonly score: number;
}

export interface UnigramOptions {
  readonly pieces: readonly UnigramPiece[];
  /** The score of a character that is no piece. */
  readonly unknownScore: number;
  readonly unknown: UnknownCharacters;
}

export class UnigramModel implements TokenModel {
  private readonly trie: Trie;

  constructor(private readonly options: UnigramOptions) {
    this.trie = new Trie(options.pieces.map(({ text }) => text));
  }

  encode(text: string, emit: Emit): void {
    const { pieces, unknownScore } = this.options;
    const best = new Float64Array(text.length + 1);
    /** By place: where the last token of the best way to it begins, and which piece it is (−1: none is). */
    const begins = new Int32Array(text.length + 1).fill(-1);
    const last = new Int32Array(text.length + 1);
    begins[0] = 0;
    const consider = (piece: number, score: number, from: number, to: number): void => {
      const sum = (best[from] as number) + score;
      if (begins[to] !== -1 && sum <= (best[to] as number)) return;
      best[to] = sum;
      begins[to] = from;
      last[to] = piece;
    };
    for (let at = 0; at < text.length; ) {
      const after = at + ((text.codePointAt(at) as number) > 0xffff ? 2 : 1);
      let single = false;
      this.trie.from(text, at, (piece, end) => {
        single ||= end === after;
        consider(piece, (pieces[piece] as UnigramPiece).score, at, end);
      });
      if (!single) consider(-1, unknownScore, at, after);
      at = after;
    }
    this.emitPath(text, begins, last, emit);
  }

  private emitPath(text: string, begins: Int32Array, last: Int32Array, emit: Emit): void {
    const { pieces, unknown } = this.options;
    const ends: number[] = [];
    for (let at = text.length; at > 0; at = begins[at] as number) ends.push(at);
    ends.reverse();
    for (let i = 0; i < ends.length; i++) {
      let end = ends[i] as number;
      const piece = last[end] as number;
      if (piece >= 0) {
        emit((pieces[piece] as UnigramPiece).token);
        continue;
      }
      const begin = begins[end] as number;
      while (unknown.fuse && i + 1 < ends.length && last[ends[i + 1] as number] === -1) end = ends[++i] as number;
      const bytes = byteTokens(text.slice(begin, end), unknown.bytes);
      if (bytes !== undefined) for (const byte of bytes) emit(byte);
      else if (unknown.token !== undefined) emit(unknown.token);
    }
  }
}

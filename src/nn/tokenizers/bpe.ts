/**
 * Byte-pair encoding (Sennrich et al. 2016): a piece begins as its characters, and of all pairs of neighbours that a rule joins, the one of the
 * first rule is joined, the leftmost where several are equal, until no rule fits. With a heap of the pairs that takes n log n steps for n
 * characters, however long a piece is.
 */
import { byteTokens, type Emit, neighboursIn, type TokenModel, type UnknownCharacters } from "./model.js";

/** A rule: two symbols become one. Rules of smaller rank go first. */
export interface Merge {
  readonly left: string;
  readonly right: string;
  readonly result: string;
  readonly rank: number;
}

export interface BpeOptions {
  /** The token of a symbol; undefined for one that merges pass through and no token stands for. */
  readonly tokenOf: (symbol: string) => number | undefined;
  /** All symbols that may be tokens. */
  readonly vocabulary: Iterable<string>;
  readonly merges: Iterable<Merge>;
  readonly unknown: UnknownCharacters;
  /** Put before every character but the first of a piece, and after the last. */
  readonly prefix?: string;
  readonly suffix?: string;
  /** A piece that is a token is never put together from merges. */
  readonly wholeFirst?: boolean;
}

/** Symbols of merges get numbers below this, so that a pair of them is a number that is exact. */
const SYMBOLS = 2 ** 26;
const PLACES = 2 ** 31;

export class BpeModel implements TokenModel {
  private readonly numbers = new Map<string, number>();
  /** By number: the token, or −1. */
  private readonly tokens: number[] = [];
  private readonly texts: string[] = [];
  /** By left · SYMBOLS + right: an index of the two lists. */
  private readonly pairs = new Map<number, number>();
  private readonly ranks: number[] = [];
  private readonly results: number[] = [];
  private readonly touching: (before: string, after: string) => boolean;

  constructor(private readonly options: BpeOptions) {
    for (const { left, right, result, rank } of options.merges) {
      const pair = this.numberOf(left) * SYMBOLS + this.numberOf(right);
      if (this.pairs.has(pair)) continue;
      this.pairs.set(pair, this.ranks.length);
      this.ranks.push(rank);
      this.results.push(this.numberOf(result));
    }
    this.touching = neighboursIn(options.vocabulary);
  }

  private numberOf(symbol: string): number {
    const known = this.numbers.get(symbol);
    if (known !== undefined) return known;
    const number = this.texts.length;
    this.numbers.set(symbol, number);
    this.texts.push(symbol);
    this.tokens.push(this.options.tokenOf(symbol) ?? -1);
    return number;
  }

  separates(before: string, after: string): boolean {
    const { unknown, prefix, suffix, wholeFirst } = this.options;
    if (prefix || suffix || wholeFirst || this.touching(before, after)) return false;
    // Unknown characters in a row may be one token.
    return !unknown.fuse || (this.options.tokenOf(before) !== undefined && this.options.tokenOf(after) !== undefined);
  }

  encode(piece: string, emit: Emit): void {
    const { tokenOf, wholeFirst } = this.options;
    const whole = wholeFirst ? tokenOf(piece) : undefined;
    if (whole !== undefined) emit(whole);
    else this.emitSymbols(this.merge(this.symbolsOf(piece)), emit);
  }

  /** Numbers of symbols; −1 and less for characters that are none, whose text `−1 − number` is an index of `strange`. */
  private symbolsOf(piece: string): { symbols: Int32Array; count: number; strange: string[] } {
    const { prefix = "", suffix = "" } = this.options;
    const symbols = new Int32Array(piece.length);
    const strange: string[] = [];
    let count = 0;
    let at = 0;
    for (const character of piece) {
      at += character.length;
      const symbol = `${count > 0 ? prefix : ""}${character}${at === piece.length ? suffix : ""}`;
      let number = this.numbers.get(symbol);
      if (number === undefined && this.options.tokenOf(symbol) !== undefined) number = this.numberOf(symbol);
      symbols[count++] = number ?? -1 - (strange.push(symbol) - 1);
    }
    return { symbols, count, strange };
  }

  private merge({ symbols, count, strange }: { symbols: Int32Array; count: number; strange: string[] }): {
    symbols: Int32Array;
    count: number;
    strange: string[];
  } {
    const next = new Int32Array(count);
    const previous = new Int32Array(count);
    const waiting = new MinHeap();
    const ruleAt = (left: number): number => {
      const right = left < 0 ? count : (next[left] as number);
      if (right >= count) return -1;
      const [a, b] = [symbols[left] as number, symbols[right] as number];
      return a < 0 || b < 0 ? -1 : (this.pairs.get(a * SYMBOLS + b) ?? -1);
    };
    const offer = (left: number): void => {
      const rule = ruleAt(left);
      if (rule >= 0) waiting.push((this.ranks[rule] as number) * PLACES + left);
    };
    for (let i = 0; i < count; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    for (let i = 0; i + 1 < count; i++) offer(i);
    for (let key = waiting.pop(); key !== undefined; key = waiting.pop()) {
      const rank = Math.floor(key / PLACES);
      const left = key - rank * PLACES;
      // What was offered may have been joined to something else meanwhile.
      if (next[left] === -1) continue;
      const rule = ruleAt(left);
      if (rule < 0 || this.ranks[rule] !== rank) continue;
      const right = next[left] as number;
      const after = next[right] as number;
      symbols[left] = this.results[rule] as number;
      next[left] = after;
      next[right] = -1;
      if (after < count) previous[after] = left;
      offer(previous[left] as number);
      offer(left);
    }
    let kept = 0;
    for (let i = 0; i < count; ) {
      symbols[kept++] = symbols[i] as number;
      i = next[i] as number;
    }
    return { symbols, count: kept, strange };
  }

  private emitSymbols({ symbols, count, strange }: { symbols: Int32Array; count: number; strange: string[] }, emit: Emit): void {
    const { unknown } = this.options;
    let fused = false;
    for (let i = 0; i < count; i++) {
      const symbol = symbols[i] as number;
      const token = symbol < 0 ? -1 : (this.tokens[symbol] as number);
      if (token >= 0) {
        emit(token);
        fused = false;
        continue;
      }
      const text = symbol < 0 ? (strange[-1 - symbol] as string) : (this.texts[symbol] as string);
      const bytes = byteTokens(text, unknown.bytes);
      if (bytes !== undefined) {
        for (const byte of bytes) emit(byte);
        fused = false;
      } else if (unknown.token !== undefined) {
        if (!(unknown.fuse && fused)) emit(unknown.token);
        fused = true;
      }
    }
  }
}

/** Numbers, of which the smallest comes first. */
class MinHeap {
  private keys = new Float64Array(64);
  private size = 0;

  push(key: number): void {
    if (this.size === this.keys.length) {
      const more = new Float64Array(2 * this.size);
      more.set(this.keys);
      this.keys = more;
    }
    const { keys } = this;
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((keys[parent] as number) <= key) break;
      keys[at] = keys[parent] as number;
      at = parent;
    }
    keys[at] = key;
  }

  pop(): number | undefined {
    if (this.size === 0) return undefined;
    const { keys } = this;
    const first = keys[0];
    const last = keys[--this.size] as number;
    let at = 0;
    for (let child = 1; child < this.size; child = 2 * at + 1) {
      if (child + 1 < this.size && (keys[child + 1] as number) < (keys[child] as number)) child++;
      if ((keys[child] as number) >= last) break;
      keys[at] = keys[child] as number;
      at = child;
    }
    keys[at] = last;
    return first;
  }
}

/**
 * Patterns of tokenizer.json, which are Oniguruma's (Ruby's syntax), as regular expressions of JavaScript.
 *
 * The two agree on most of what tokenizers use. What differs is written out: white space is Unicode's (JavaScript's has U+FEFF and lacks
 * U+0085), `\d` and `\w` know all scripts, `(?i:…)` folds letters, `X?+` gives nothing back, `^` and `$` stand at lines. Whatever else there is
 * fails by name. As files come from anywhere, patterns whose matching can take exponential time are refused, too: a group may be repeated only
 * where its length is fixed and nothing in it is a choice.
 */
import { FormatError } from "../../errors.js";

const space = "\\p{White_Space}";
const digit = "\\p{Nd}";
/** Oniguruma's word characters inside of brackets; outside, it has more numbers of Latin-1 among them. */
const wordClass = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
const wordsOutside: Readonly<Record<string, string>> = {
  w: `[${wordClass}\\xb2\\xb3\\xb9\\xbc-\\xbe]`,
  W: `[^${wordClass}\\xb2\\xb3\\xb9\\xbc-\\xbe]`,
};
/** The word characters of Rust's regular expressions (UTS 18), which everything but patterns uses. */
export const rustWordClass: string = `${wordClass}\\p{Join_Control}`;

/** Inside of brackets; negated ones are classes of their own. */
const classEscapes: Readonly<Record<string, string>> = {
  s: space,
  S: `[^${space}]`,
  d: digit,
  D: `[^${digit}]`,
  w: wordClass,
  W: `[^${wordClass}]`,
  h: "0-9a-fA-F",
  r: "\\r",
  n: "\\n",
  t: "\\t",
  f: "\\f",
  v: "\\v",
  a: "\\x07",
  e: "\\x1B",
};
const assertions: Readonly<Record<string, string>> = {
  b: `(?:(?<![${wordClass}])(?=[${wordClass}])|(?<=[${wordClass}])(?![${wordClass}]))`,
  B: `(?:(?<![${wordClass}])(?![${wordClass}])|(?<=[${wordClass}])(?=[${wordClass}]))`,
  A: "(?<![\\s\\S])",
  z: "(?![\\s\\S])",
  Z: "(?=\\n?(?![\\s\\S]))",
};
/** Letters outside of ASCII that fold to one. */
const folds: Readonly<Record<string, string>> = { s: "\u017f", k: "\u212a" };

const MAX_DEPTH = 16;
const MAX_LENGTH = 16_384;
const MAX_COUNT = 1000;
/** Of one alternative: each one more lets a hostile pattern take the time of another power of the text's length. */
const MAX_UNBOUNDED = 4;

/** What a part of a pattern became. */
interface Part {
  readonly source: string;
  /** Always as many characters, without a choice. */
  readonly fixed: boolean;
}

/**
 * @param file for messages
 * @throws FormatError for what is no pattern, or one that is not supported here
 */
export function compilePattern(pattern: string, file: string): RegExp {
  const parser = new PatternParser(pattern, file);
  const source = parser.parse();
  try {
    return new RegExp(source, "gv");
  } catch (cause) {
    throw parser.fail("found one that cannot be read", cause);
  }
}

/** A text that matches itself. */
export const literalPattern = (text: string): RegExp => new RegExp(escapeLiteral(text), "gv");

/** Characters other than letters and digits by their number, which is right inside and outside of brackets. */
export const escapeLiteral = (text: string): string =>
  text.replace(/[^A-Za-z0-9]/gu, (character) => `\\u{${(character.codePointAt(0) as number).toString(16)}}`);

class PatternParser {
  private at = 0;
  private groups = 0;

  constructor(
    private readonly pattern: string,
    private readonly file: string,
  ) {}

  fail(problem: string, cause?: unknown): FormatError {
    const shown = this.pattern.length > 60 ? `${this.pattern.slice(0, 57)}...` : this.pattern;
    return new FormatError(`expected a pattern that is supported here, ${problem} in ${JSON.stringify(shown)}`, {
      file: this.file,
      hint: "patterns are those of Oniguruma, without backreferences, atomic groups and repeated groups of varying length",
      cause,
    });
  }

  parse(): string {
    if (this.pattern.length > MAX_LENGTH) throw this.fail(`found one of ${this.pattern.length} characters`);
    let fold = false;
    if (this.take("(?i)")) fold = true;
    const { source } = this.alternatives(fold, 0);
    if (this.at < this.pattern.length) throw this.fail('found ")" without "("');
    return source;
  }

  private take(text: string): boolean {
    if (!this.pattern.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  private get ended(): boolean {
    return this.at >= this.pattern.length;
  }

  private character(): string {
    const character = String.fromCodePoint(this.pattern.codePointAt(this.at) as number);
    this.at += character.length;
    return character;
  }

  private alternatives(fold: boolean, depth: number): Part {
    if (depth > MAX_DEPTH) throw this.fail(`found groups more than ${MAX_DEPTH} deep`);
    const parts = [this.sequence(fold, depth)];
    while (this.take("|")) parts.push(this.sequence(fold, depth));
    return { source: parts.map(({ source }) => source).join("|"), fixed: parts.length === 1 && (parts[0] as Part).fixed };
  }

  private sequence(fold: boolean, depth: number): Part {
    let source = "";
    let fixed = true;
    let unbounded = 0;
    while (!this.ended && this.pattern[this.at] !== "|" && this.pattern[this.at] !== ")") {
      const atom = this.atom(fold, depth);
      const { least, most, mode } = this.quantifier();
      fixed &&= atom.fixed && least === most;
      if (most > 1 && !atom.fixed) throw this.fail("found a repeated group of varying length");
      if (most === Number.POSITIVE_INFINITY && ++unbounded > MAX_UNBOUNDED) {
        throw this.fail(`found more than ${MAX_UNBOUNDED} repetitions without an end in one alternative`);
      }
      const count =
        least === 1 && most === 1 ? "" : `{${least}${most === least ? "" : `,${most === Number.POSITIVE_INFINITY ? "" : most}`}}`;
      if (mode !== "+") source += `${atom.source}${count}${mode}`;
      else {
        // What has matched inside of a look-ahead stays as it is.
        const name = `kept${this.groups++}`;
        source += `(?:(?=(?<${name}>${atom.source}${count}))\\k<${name}>)`;
      }
    }
    return { source, fixed };
  }

  private quantifier(): { least: number; most: number; mode: "" | "?" | "+" } {
    let [least, most] = [1, 1];
    let possessive = true;
    if (this.take("?")) least = 0;
    else if (this.take("*")) [least, most] = [0, Number.POSITIVE_INFINITY];
    else if (this.take("+")) most = Number.POSITIVE_INFINITY;
    else {
      const counts = /^\{(\d*)(,?)(\d*)\}/.exec(this.pattern.slice(this.at, this.at + 32));
      if (counts === null || (counts[1] === "" && counts[3] === "")) return { least, most, mode: "" };
      this.at += counts[0].length;
      least = Number(counts[1]);
      most = counts[2] === "" ? least : counts[3] === "" ? Number.POSITIVE_INFINITY : Number(counts[3]);
      if (least > MAX_COUNT || (most !== Number.POSITIVE_INFINITY && most > MAX_COUNT) || most < least) throw this.fail("found counts");
      possessive = false;
    }
    const mode = this.take("?") ? "?" : possessive && this.take("+") ? "+" : "";
    if (!this.ended && /[?*+]/.test(this.pattern[this.at] as string)) throw this.fail("found two quantifiers in a row");
    return { least, most, mode };
  }

  private atom(fold: boolean, depth: number): Part {
    const character = this.character();
    switch (character) {
      case "(": {
        const opened = ["?:", "?=", "?!", "?<=", "?<!", "?i:"].find((kind) => this.take(kind));
        if (opened === undefined && this.pattern[this.at] === "?") throw this.fail(`found "(${this.pattern.slice(this.at, this.at + 2)}"`);
        const body = this.alternatives(fold || opened === "?i:", depth + 1);
        if (!this.take(")")) throw this.fail('found "(" without ")"');
        const kind = opened === undefined || opened === "?i:" ? "?:" : opened;
        return { source: `(${kind}${body.source})`, fixed: body.fixed };
      }
      case "[":
        return { source: this.brackets(fold, depth), fixed: true };
      case "\\":
        return this.escape(fold);
      case ".":
        return { source: "[^\\n]", fixed: true };
      case "^":
        return { source: "(?<![^\\n])", fixed: true };
      case "$":
        return { source: "(?![^\\n])", fixed: true };
      case "?":
      case "*":
      case "+":
        throw this.fail(`found "${character}" after nothing`);
      default:
        return { source: foldedLiteral(character, fold, false), fixed: true };
    }
  }

  private escape(fold: boolean): Part {
    const next = this.pattern[this.at];
    if (next !== undefined && Object.hasOwn(assertions, next)) {
      this.at++;
      return { source: assertions[next] as string, fixed: true };
    }
    if (next !== undefined && Object.hasOwn(wordsOutside, next)) {
      this.at++;
      return { source: wordsOutside[next] as string, fixed: true };
    }
    return { source: `[${this.classEscape(fold)}]`, fixed: true };
  }

  /** What follows a backslash, for use inside of brackets. */
  private classEscape(fold: boolean): string {
    if (this.ended) throw this.fail("found a backslash at the end");
    const character = this.character();
    if (character === "p" || character === "P") {
      const named = /^\{(\^?)([A-Za-z_ ]+)\}/.exec(this.pattern.slice(this.at, this.at + 64));
      if (named === null) throw this.fail(`found "\\${character}" without a property`);
      this.at += named[0].length;
      return this.property(named[2] as string, (character === "P") !== (named[1] === "^"));
    }
    if (character === "x" || character === "u") {
      const code = (character === "x" ? /^(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2}))/ : /^([0-9A-Fa-f]{4})/).exec(
        this.pattern.slice(this.at, this.at + 8),
      );
      const value = Number.parseInt(code?.[1] ?? code?.[2] ?? "", 16);
      if (code === null || value > 0x10ffff) throw this.fail(`found "\\${character}" without a character`);
      this.at += code[0].length;
      return foldedLiteral(String.fromCodePoint(value), fold, true);
    }
    if (Object.hasOwn(classEscapes, character)) return classEscapes[character] as string;
    if (/[A-Za-z0-9]/.test(character)) throw this.fail(`found "\\${character}"`);
    return foldedLiteral(character, fold, true);
  }

  /** Oniguruma takes the names of scripts without "Script=". */
  private property(name: string, negated: boolean): string {
    for (const property of [name, `Script=${name}`]) {
      try {
        new RegExp(`\\p{${property}}`, "v");
        return `\\${negated ? "P" : "p"}{${property}}`;
      } catch {
        // The other spelling is tried, then the pattern refused.
      }
    }
    throw this.fail(`found the unknown property "${name}"`);
  }

  private brackets(fold: boolean, depth: number): string {
    if (depth > MAX_DEPTH) throw this.fail(`found brackets more than ${MAX_DEPTH} deep`);
    const negated = this.take("^") ? "^" : "";
    const operands: string[] = [""];
    const add = (text: string): void => {
      operands[operands.length - 1] += text;
    };
    for (let first = true; ; first = false) {
      if (this.ended) throw this.fail('found "[" without "]"');
      if (!first && this.take("]")) break;
      if (this.take("&&")) {
        operands.push("");
        continue;
      }
      if (this.pattern.startsWith("[:", this.at)) throw this.fail("found a class in the style of POSIX");
      if (this.take("[")) {
        add(this.brackets(fold, depth + 1));
        continue;
      }
      const from = this.member(fold);
      if (this.pattern[this.at] === "-" && this.pattern[this.at + 1] !== "]" && this.pattern[this.at + 1] !== undefined) {
        this.at++;
        const to = this.member(false);
        if (fold && /[A-Za-z]/.test(from.plain + to.plain)) {
          const range = `${from.plain}-${to.plain}`;
          if (range !== "a-z" && range !== "A-Z") throw this.fail("found a range of letters that is to be folded");
          add("a-zA-Z\\u{17f}\\u{212a}");
        } else add(`${from.plain}-${to.plain}`);
      } else add(from.source);
    }
    const [only] = operands;
    if (operands.some((operand) => operand === "")) throw this.fail("found empty brackets");
    return operands.length === 1 ? `[${negated}${only}]` : `[${negated}${operands.map((operand) => `[${operand}]`).join("&&")}]`;
  }

  /** A character or a class of them; `plain` without its other cases, for the ends of ranges. */
  private member(fold: boolean): { source: string; plain: string } {
    const begin = this.at;
    const character = this.character();
    if (character !== "\\") return { source: foldedLiteral(character, fold, true), plain: escapeLiteral(character) };
    const source = this.classEscape(fold);
    if (!fold) return { source, plain: source };
    const end = this.at;
    this.at = begin + 1;
    const plain = this.classEscape(false);
    this.at = end;
    return { source, plain };
  }
}

/** A character, with its other cases where they are folded. */
function foldedLiteral(character: string, fold: boolean, inBrackets: boolean): string {
  if (!fold || !/[A-Za-z]/.test(character)) return escapeLiteral(character);
  const lower = character.toLowerCase();
  const cases = escapeLiteral(`${lower}${lower.toUpperCase()}${folds[lower] ?? ""}`);
  return inBrackets ? cases : `[${cases}]`;
}

/** Fields of JSON that nobody vouches for, each checked as it is asked for. */
import { FormatError } from "../../errors.js";
import { isObject, showValue } from "../json.js";

const damaged = "the file is damaged, or of a kind that is not known here";

export class Fields {
  private constructor(
    private readonly values: Readonly<Record<string, unknown>>,
    readonly file: string,
    readonly path: string,
  ) {}

  /** Throws FormatError for what is no object. */
  static of(value: unknown, file: string, path = ""): Fields {
    if (!isObject(value))
      throw new FormatError(`expected ${path === "" ? "an object" : `${path} to be an object`}, found ${showValue(value)}`, {
        file,
        hint: damaged,
      });
    return new Fields(value, file, path);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.values, name) && this.values[name] !== null && this.values[name] !== undefined;
  }

  raw(name: string): unknown {
    return Object.hasOwn(this.values, name) ? (this.values[name] ?? undefined) : undefined;
  }

  keys(): string[] {
    return Object.keys(this.values);
  }

  fail(name: string, expected: string, hint = damaged): FormatError {
    const found = this.raw(name);
    const what = found === undefined ? "nothing" : showValue(found);
    return new FormatError(`expected ${this.nameOf(name)} to be ${expected}, found ${what}`, { file: this.file, hint });
  }

  nameOf(name: string): string {
    return this.path === "" ? name : `${this.path}.${name}`;
  }

  string(name: string): string {
    const value = this.raw(name);
    if (typeof value !== "string") throw this.fail(name, "a string");
    return value;
  }

  stringOr<D>(name: string, otherwise: D): string | D {
    return this.has(name) ? this.string(name) : otherwise;
  }

  flag(name: string, otherwise: boolean): boolean {
    const value = this.raw(name) ?? otherwise;
    if (typeof value !== "boolean") throw this.fail(name, "true or false");
    return value;
  }

  /** An integer from `least` to `most`. */
  integer(name: string, least: number, most: number): number {
    const value = this.raw(name);
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
      throw this.fail(name, `an integer from ${least} to ${most}`);
    return value as number;
  }

  integerOr(name: string, otherwise: number, least: number, most: number): number {
    return this.has(name) ? this.integer(name, least, most) : otherwise;
  }

  list(name: string): readonly unknown[] {
    const value = this.raw(name);
    if (!Array.isArray(value)) throw this.fail(name, "a list");
    return value;
  }

  object(name: string): Fields {
    return Fields.of(this.raw(name), this.file, this.nameOf(name));
  }

  objects(name: string): Fields[] {
    return this.list(name).map((value, i) => Fields.of(value, this.file, `${this.nameOf(name)}[${i}]`));
  }
}

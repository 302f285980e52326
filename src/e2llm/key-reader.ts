/** Typed access to the keys of a JSON object of Hugging Face, with errors that name the file. */
import { FormatError } from "../errors.js";

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** Typed access to the keys of a JSON object; null counts as absent, as in Hugging Face. */
export class KeyReader {
  constructor(
    private readonly object: Record<string, unknown>,
    private readonly file: string,
  ) {}

  number(key: string): number {
    const value = this.optionalNumber(key);
    if (value === undefined) throw new FormatError(`the key "${key}" is missing`, { file: this.file, hint: `add "${key}" as a number` });
    return value;
  }

  optionalNumber(key: string): number | undefined {
    const value = this.object[key];
    if (!isPresent(value)) return undefined;
    if (typeof value !== "number" || !Number.isFinite(value)) {
      throw new FormatError(`"${key}" must be a number, found ${JSON.stringify(value)}`, {
        file: this.file,
        hint: `write "${key}" as a number`,
      });
    }
    return value;
  }

  numbers(key: string): readonly number[] {
    const value = this.object[key];
    if (!Array.isArray(value) || !value.every((item) => Number.isFinite(item))) {
      throw new FormatError(`"${key}" must be a list of numbers, found ${JSON.stringify(value) ?? "no such key"}`, {
        file: this.file,
        hint: `write "${key}" as a list with one number for each pair of channels`,
      });
    }
    return value;
  }

  optionalBoolean(key: string): boolean | undefined {
    const value = this.object[key];
    if (!isPresent(value)) return undefined;
    if (typeof value !== "boolean") {
      throw new FormatError(`"${key}" must be true or false, found ${JSON.stringify(value)}`, {
        file: this.file,
        hint: `write "${key}" as true or false`,
      });
    }
    return value;
  }
}

/** Names and lengths that a definition gives, looked up. */
import { didYouMean } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { Length } from "./definition.js";

/** A length in tokens: the number itself, or a multiple of the window rounded to a whole number. */
export function tokensOf(length: Length, window: number): number {
  if (typeof length === "number") return length;
  const times = /^(\d+(?:\.\d+)?)?L$/.exec(length);
  if (times === null)
    throw new OptionError(`"${length}" is no length`, { hint: 'write a number of tokens, or a multiple of the window: "8L"' });
  return Math.round(Number(times[1] ?? 1) * window);
}

/** Throws OptionError, with the nearest name, unless `found` is one of them. */
export function needOne(what: string, found: string, names: readonly string[]): void {
  if (names.includes(found)) return;
  throw new OptionError(`there is no ${what} "${found}"`, {
    hint: didYouMean(found, names) ?? `there are ${names.map((name) => `"${name}"`).join(", ")}`,
  });
}

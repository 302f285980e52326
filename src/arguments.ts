import { OptionError } from "./errors.js";

/**
 * What callers may pass, stated once as data. TypeScript checks its own callers; these checks are for JavaScript and for values
 * that were cast: each names the function, the parameter, what fits and what was found.
 */
export interface Kind {
  /** What fits, to follow "must be": "an integer of at least 1". */
  readonly wanted: string;
  readonly fits: (value: unknown) => boolean;
  /** What to do about a value that does not fit. */
  readonly hint?: (value: unknown) => string | undefined;
}

const isNumber = (value: unknown): value is number => typeof value === "number";

/** Any number at all, for parameters whose range has words of its own. */
export const number: Kind = { wanted: "a number", fits: isNumber };
export const finiteNumber: Kind = { wanted: "a finite number", fits: (value) => Number.isFinite(value) };
export const positive: Kind = { wanted: "a number above 0", fits: (value) => isNumber(value) && value > 0 };
export const notNegative: Kind = {
  wanted: "a finite number of at least 0",
  fits: (value) => Number.isFinite(value) && (value as number) >= 0,
};
/** A decay rate or the like: 0 ≤ x < 1. */
export const fraction: Kind = { wanted: "a number with 0 ≤ x < 1", fits: (value) => isNumber(value) && value >= 0 && value < 1 };
export const share: Kind = { wanted: "a number with 0 ≤ x ≤ 1", fits: (value) => isNumber(value) && value >= 0 && value <= 1 };
export const text: Kind = { wanted: "a string", fits: (value) => typeof value === "string" };
export const flag: Kind = { wanted: "true or false", fits: (value) => typeof value === "boolean" };
export const callable: Kind = { wanted: "a function", fits: (value) => typeof value === "function" };
export const object: Kind = { wanted: "an object", fits: (value) => typeof value === "object" && value !== null };
/** Fields by name: neither a list nor a promise nor the like. */
export const plainObject: Kind = {
  wanted: "an object with fields",
  fits: (value) => object.fits(value) && !Array.isArray(value) && !(value instanceof Promise),
};
/** Anything that is there. */
export const given: Kind = { wanted: "given", fits: (value) => value !== undefined };

/** An integer in least … most. */
export const integer = (least = Number.MIN_SAFE_INTEGER, most = Number.MAX_SAFE_INTEGER): Kind => ({
  wanted:
    most < Number.MAX_SAFE_INTEGER
      ? `an integer from ${least} to ${most}`
      : least > Number.MIN_SAFE_INTEGER
        ? `an integer of at least ${least}`
        : "an integer",
  fits: (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
});

export const oneOf = (...names: readonly string[]): Kind => ({
  wanted: names.map((name) => `"${name}"`).join(" or "),
  fits: (value) => typeof value === "string" && names.includes(value),
  hint: (value) => (typeof value === "string" ? didYouMean(value, names) : undefined),
});

export const listOf = (item: Kind): Kind => ({
  wanted: `a list, each entry ${item.wanted}`,
  fits: (value) => Array.isArray(value) && value.every(item.fits),
});

/** Numbers by index: an array or a typed array. */
export const numbers: Kind = {
  wanted: "an array or a typed array of numbers",
  fits: (value) => (Array.isArray(value) && value.every(isNumber)) || (ArrayBuffer.isView(value) && !(value instanceof DataView)),
};

export const instanceOf = (what: string, type: abstract new (...args: never[]) => unknown): Kind => ({
  wanted: what,
  fits: (value) => value instanceof type,
});

/** An object that has fields of these names. `what` tells where such a thing comes from. */
export const objectWith = (what: string, ...fields: readonly string[]): Kind => ({
  wanted: what,
  fits: (value) =>
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    fields.every((field) => (value as Record<string, unknown>)[field] !== undefined),
});

export const either = (...kinds: readonly Kind[]): Kind => ({
  wanted: kinds.map((kind) => kind.wanted).join(" or "),
  fits: (value) => kinds.some((kind) => kind.fits(value)),
  hint: (value) => kinds.map((kind) => kind.hint?.(value)).find((hint) => hint !== undefined),
});

/** May be left out or undefined. */
export const optional = (kind: Kind): Kind => ({ ...kind, fits: (value) => value === undefined || kind.fits(value) });

/** May be null. */
export const orNull = (kind: Kind): Kind => ({
  ...kind,
  wanted: `${kind.wanted} or null`,
  fits: (value) => value === null || kind.fits(value),
});

/** Tensors are known by their look here, because this module stands below theirs. */
const isTensor = (value: unknown): boolean => typeof value === "object" && value !== null && "dtype" in value && "depth" in value;

/** A value in a few words, for a message. */
export function describe(value: unknown): string {
  if (typeof value === "string") return value.length > 40 ? `a string of ${value.length} characters` : JSON.stringify(value);
  if (typeof value === "function") return value.name === "" ? "a function" : `the function ${value.name}`;
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value))
    return value.length <= 8 && value.every((item) => isNumber(item)) ? `[${value.join(", ")}]` : `a list of ${value.length}`;
  const name = (Object.getPrototypeOf(value) as { constructor?: { name?: unknown } } | null)?.constructor?.name;
  if (isTensor(value)) return String(value);
  return typeof name === "string" && name !== "" && name !== "Object" ? `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}` : "an object";
}

const advice = (value: unknown): string | undefined => {
  if (isTensor(value)) {
    return "a number must be known here: name the argument in compile(f, { static: [position] }), or read it with await t.item()";
  }
  if (value instanceof Promise) return "await it first";
  if (typeof value === "string" && value.trim() !== "" && !Number.isNaN(Number(value))) return `write ${Number(value)} without quotes`;
  return undefined;
};

/** Throws OptionError unless `value` is of the kind. `where` is the function, `parameter` the name of what was passed. */
export function checkArgument(where: string, parameter: string, value: unknown, kind: Kind): void {
  if (kind.fits(value)) return;
  const problem =
    value === undefined
      ? `${parameter} is missing; it must be ${kind.wanted}`
      : `${parameter} must be ${kind.wanted}, found ${describe(value)}`;
  // Whatever a promise shall become, it is to be awaited.
  const hint = (value instanceof Promise ? undefined : kind.hint?.(value)) ?? advice(value);
  throw new OptionError(`${where}: ${problem}`, hint === undefined ? {} : { hint });
}

/** One kind for each option of an interface; leaving one out does not compile. */
export type OptionKinds<T> = { readonly [K in keyof Required<T>]: Kind };

/**
 * Throws OptionError unless `options` is an object whose fields are all known and of their kinds. `instead` tells where a name
 * that is not an option here belongs.
 */
export function checkOptions<T>(where: string, options: T, kinds: OptionKinds<T>, instead: Readonly<Record<string, string>> = {}): void {
  checkFields(where, "the options", options, kinds);
  for (const name of Object.keys(options as object)) {
    if (Object.hasOwn(kinds, name) || (options as Record<string, unknown>)[name] === undefined) continue;
    throw new OptionError(`${where}: there is no option "${name}"`, {
      hint: instead[name] ?? didYouMean(name, Object.keys(kinds)) ?? `options are ${Object.keys(kinds).join(", ")}`,
    });
  }
}

/** Throws OptionError unless `value` is an object with fields of these kinds; it may have others. */
export function checkFields<T>(where: string, parameter: string, value: T, kinds: OptionKinds<T>): void {
  if (typeof value !== "object" || value === null || Array.isArray(value) || ArrayBuffer.isView(value) || value instanceof Promise) {
    const names = Object.keys(kinds);
    throw new OptionError(`${where}: ${parameter} must be an object, found ${describe(value)}`, {
      hint: `write fields by name: { ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""} }`,
    });
  }
  for (const [name, kind] of Object.entries<Kind>(kinds)) checkArgument(where, name, (value as Record<string, unknown>)[name], kind);
}

/** "did you mean …?" for the nearest of `names`, where one is near. */
export function didYouMean(found: string, names: readonly string[]): string | undefined {
  const plain = (name: string): string => name.toLowerCase().replace(/[-_\s]/g, "");
  const ranked = names.map((name) => ({ name, distance: editDistance(plain(found), plain(name)) })).sort((a, b) => a.distance - b.distance);
  const [best] = ranked;
  return best !== undefined && best.distance < found.length && best.distance <= Math.max(1, Math.floor(found.length / 3))
    ? `did you mean "${best.name}"?`
    : undefined;
}

/** How many letters to insert, delete, replace or swap with their neighbour (optimal string alignment, by prefixes). */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] as number;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min(at(i - 1, j - 1) + same, at(i - 1, j) + 1, at(i, j - 1) + 1, swapped));
    }
  }
  return at(a.length, b.length);
}

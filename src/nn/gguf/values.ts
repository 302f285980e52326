/** Values of keys: numbers, booleans, strings and arrays of them, each with its type in the file. */

/** Types of values by their numbers, with the bytes that one takes at least. */
export const VALUE_TYPES = [
  ["u8", 1],
  ["i8", 1],
  ["u16", 2],
  ["i16", 2],
  ["u32", 4],
  ["i32", 4],
  ["f32", 4],
  ["bool", 1],
  ["string", 8],
  ["array", 12],
  ["u64", 8],
  ["i64", 8],
  ["f64", 8],
] as const;

/** "u8" … "f64", "bool", "string" and "array". */
export type GgufValueType = (typeof VALUE_TYPES)[number][0];
export type GgufScalarType = Exclude<GgufValueType, "array">;

/** Integers beyond ±2⁵³ are bigints. */
export type GgufScalar = string | number | bigint | boolean;

/** Bytes of a value of the type, at least. */
export const leastBytes = (type: GgufValueType): number => VALUE_TYPES.find(([name]) => name === type)?.[1] as number;

/** An array of a header, decoded when it is asked for. Arrays of arrays are refused, as llama.cpp does. */
export interface GgufList {
  readonly items: GgufScalarType;
  readonly length: number;
  /** Throws FormatError for strings that are not UTF-8 and booleans other than 0 and 1. */
  values(): GgufScalar[];
}

/** A key's value with its type in the file. */
export type GgufValue =
  | { readonly type: GgufScalarType; readonly value: GgufScalar }
  | { readonly type: "array"; readonly value: GgufList };

/** Keys by name with their values, in the order of a file. */
export type GgufKeys = ReadonlyMap<string, GgufValue>;

export const u32Value = (value: number): GgufValue => ({ type: "u32", value });
export const f32Value = (value: number): GgufValue => ({ type: "f32", value });
export const flagValue = (value: boolean): GgufValue => ({ type: "bool", value });
export const textValue = (value: string): GgufValue => ({ type: "string", value });
export const listValue = (items: GgufScalarType, values: readonly GgufScalar[]): GgufValue => ({
  type: "array",
  value: { items, length: values.length, values: () => [...values] },
});

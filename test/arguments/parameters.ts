import { type Tensor, tensor } from "../../src/index.js";

/** One parameter of a public function, or one field of its options. */
export interface Parameter {
  readonly name: string;
  readonly valid: () => unknown;
  readonly optional: boolean;
  /** Whether one of the values of `wrongValues` is none after all. */
  readonly accepts: (value: unknown) => boolean;
  /** The fields of an options object. */
  readonly fields: readonly Parameter[];
}

/** What a caller in JavaScript may pass by mistake. */
export const wrongValues: readonly (readonly [what: string, value: unknown])[] = [
  ["undefined", undefined],
  ["null", null],
  ["a string", "one"],
  ["NaN", Number.NaN],
  ["a negative fraction", -1.5],
  ["an object with an unknown field", { nonsense: 1 }],
  ["a list of objects", [{}]],
  ["a function", () => 1],
  ["a symbol", Symbol("wrong")],
  ["a promise", Promise.resolve(1)],
];

type Kind = Omit<Parameter, "name">;
const kind = (valid: () => unknown, accepts: (value: unknown) => boolean = () => false): Kind => ({
  valid,
  accepts,
  optional: false,
  fields: [],
});

const isFiniteNumber = (value: unknown): boolean => Number.isFinite(value);

export const matrix = (): Tensor =>
  tensor([
    [0.5, 0.25],
    [0.125, 0.75],
  ]);
export const aTensor = (make: () => unknown = matrix): Kind => kind(make);
export const aTensorLike = (make: () => unknown = matrix): Kind => kind(make, isNumber);
export const aNumber = (value = 1): Kind => kind(() => value, isFiniteNumber);
/** A number that may be NaN too. */
export const anyNumber = (value = 1): Kind => kind(() => value, isNumber);
/** A number within bounds that exclude −1.5. */
export const aBoundedNumber = (value = 1): Kind => kind(() => value);
export const anInteger = (value = 1): Kind => kind(() => value);
export const aFlag = (): Kind => kind(() => true);
export const aName = (value: string): Kind => kind(() => value);
export const aText = (value = "text"): Kind =>
  kind(
    () => value,
    (found) => typeof found === "string",
  );
export const aFunction = (make: () => unknown): Kind => kind(make, (value) => typeof value === "function");
export const aShape = (value: readonly number[] = [2, 2]): Kind => kind(() => value);
export const axes = (value: unknown = 0): Kind => kind(() => value);
export const aList = (make: () => unknown): Kind => kind(make);
export const anObject = (make: () => unknown): Kind => kind(make);
/** The same, and what else is no mistake. */
export const alsoFor = (of: Kind, accepts: (value: unknown) => boolean): Kind => ({ ...of, accepts });
export const isNumber = (value: unknown): boolean => typeof value === "number";
/** A tree: anything but what cannot be walked. */
export const aTree = (make: () => unknown): Kind => kind(make, () => true);
/** An options object, with a kind for each of its fields. */
export const options = (fields: Readonly<Record<string, Kind>>): Kind => ({
  ...kind(() => Object.fromEntries(Object.entries(fields).flatMap(([name, field]) => (field.optional ? [] : [[name, field.valid()]])))),
  fields: Object.entries(fields).map(([name, field]) => ({ name, ...field })),
});

export const optional = (of: Kind): Kind => ({ ...of, optional: true });
export const parameters = (named: Readonly<Record<string, Kind>>): Parameter[] =>
  Object.entries(named).map(([name, of]) => ({ name, ...of }));

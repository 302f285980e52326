import * as dawngrad from "../../src/index.js";
import * as autograd from "./functions/autograd.js";
import * as e2llm from "./functions/e2llm.js";
import * as evaluation from "./functions/evaluation.js";
import * as linalg from "./functions/linalg.js";
import * as nn from "./functions/nn.js";
import * as tasks from "./functions/tasks.js";
import { x } from "./functions/values.js";
import { aList, anInteger, matrix, optional, type Parameter, parameters } from "./parameters.js";

/** A public function or class with the parameters it takes, each with a value that fits. */
export interface PublicFunction {
  readonly name: string;
  readonly call: (...args: never[]) => unknown;
  readonly parameters: readonly Parameter[];
}

/** What `index.ts` exports, by name: functions, and classes that a user constructs; errors are made by the library. */
const functions = {
  ...autograd.functions,
  ...linalg.functions,
  ...nn.functions,
  ...e2llm.functions,
  ...evaluation.functions,
  ...tasks.functions,
};
const classes = { ...nn.classes, ...e2llm.classes };

/** Exports that are no functions for users to call. */
export const others = [
  "positionSourceTypes",
  "checkpointFiles",
  "noTarget",
  "taskTypes",
  "readingSchedules",
  "primitives",
  "byteTokenizer",
  "maskedScore",
  "loraTrainable",
  "Tensor",
  "Block",
  "SelfAttention",
  "SwiGLU",
];

/** What there is by name, with what a namespace holds as "namespace.name". */
export const exported: Readonly<Record<string, (...args: never[]) => unknown>> = Object.fromEntries(
  Object.entries(dawngrad).flatMap(([name, value]): [string, never][] =>
    name === "linalg" ? Object.entries(value).map(([inner, f]) => [`linalg.${inner}`, f as never]) : [[name, value as never]],
  ),
);

/** Methods whose parameters are others than those of the function of their name. */
const ofMethods: Readonly<Record<string, Readonly<Record<string, Omit<Parameter, "name">>>>> = {
  split: { x, extents: aList(() => [1, 1]), axis: optional(anInteger(0)) },
};

/** Methods of a tensor that take what the function of that name takes after its first argument. */
const methods = Object.entries(functions).filter(
  ([name, taken]) => typeof (matrix() as unknown as Record<string, unknown>)[name] === "function" && Object.keys(taken).length > 1,
);

export const publicFunctions: readonly PublicFunction[] = [
  ...Object.entries(functions).map(([name, taken]) => ({
    name,
    call: (...args: never[]) => (exported[name] as (...args: never[]) => unknown)(...args),
    parameters: parameters(taken),
  })),
  ...methods.map(([name, taken]) => ({
    name: `Tensor.${name}`,
    call: (self: never, ...rest: never[]) => (self as Record<string, (...rest: never[]) => unknown>)[name]?.(...rest),
    parameters: parameters(ofMethods[name] ?? taken).map((parameter, i) => (i === 0 ? { ...parameter, accepts: () => true } : parameter)),
  })),
  ...Object.entries(classes).map(([name, taken]) => ({
    name,
    call: (...args: never[]) => new (exported[name] as unknown as new (...args: never[]) => unknown)(...args),
    parameters: parameters(taken),
  })),
];

import { describe, expect, it } from "vitest";
import {
  checkArgument,
  checkOptions,
  didYouMean,
  fraction,
  integer,
  type OptionKinds,
  oneOf,
  optional,
  positive,
  text,
} from "../../src/arguments.js";
import { OptionError } from "../../src/errors.js";

interface Example {
  readonly rate: number;
  readonly backend?: string;
  readonly steps?: number;
}
const kinds: OptionKinds<Example> = { rate: fraction, backend: optional(text), steps: optional(integer(1)) };

function refusal(call: () => void): OptionError {
  try {
    call();
  } catch (error) {
    if (error instanceof OptionError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("options", () => {
  it("pass when each is of its kind, and may be left out or undefined where that is said", () => {
    checkOptions("f", { rate: 0 }, kinds);
    checkOptions("f", { rate: 0.5, backend: "wasm", steps: 1 }, kinds);
    checkOptions<unknown>("f", { rate: 0.5, backend: undefined }, kinds as OptionKinds<unknown>);
  });

  it.each([
    ["an unknown name", { rate: 0.1, backends: "wasm" }, 'f: there is no option "backends"', 'did you mean "backend"?'],
    ["a name far from all", { rate: 0.1, zebra: 1 }, 'f: there is no option "zebra"', "options are rate, backend, steps"],
    ["a name that belongs elsewhere", { rate: 0.1, lr: 1 }, 'f: there is no option "lr"', "give lr to update"],
    ["a missing one", {}, "f: rate is missing; it must be a number with 0 ≤ x < 1", ""],
    ["a string for a number", { rate: "0.5" }, 'f: rate must be a number with 0 ≤ x < 1, found "0.5"', "write 0.5 without quotes"],
    ["a promise", { rate: Promise.resolve(1) }, "f: rate must be a number with 0 ≤ x < 1, found a Promise", "await it first"],
    ["a fraction for a count", { rate: 0, steps: 1.5 }, "f: steps must be an integer of at least 1, found 1.5", ""],
    ["null", null, "f: the options must be an object, found null", "write fields by name: { rate, backend, steps }"],
    ["a number", 3, "f: the options must be an object, found 3", "write fields by name: { rate, backend, steps }"],
  ])("%s is refused in words", (_, options, message, hint) => {
    const error = refusal(() => checkOptions("f", options as unknown as Example, kinds, { lr: "give lr to update" }));
    expect(error.message).toBe(message);
    expect(error.hint).toBe(hint);
  });
});

describe("suggestions", () => {
  it.each([
    ["donated", ["donate", "static", "name"], 'did you mean "donate"?'],
    ["ignore_index", ["ignoreIndex", "reduction"], 'did you mean "ignoreIndex"?'],
    ["Float32", ["f32", "i32"], undefined],
    ["x", ["y"], undefined],
    ["", ["name"], undefined],
  ])("%s", (found, names, hint) => expect(didYouMean(found, names)).toBe(hint));

  it("come with a wrong choice", () => {
    const error = refusal(() => checkArgument("init", "backend", "wsam", oneOf("webgpu", "wasm")));
    expect(error.message).toBe('init: backend must be "webgpu" or "wasm", found "wsam"');
    expect(error.hint).toBe('did you mean "wasm"?');
    expect(() => checkArgument("f", "x", Number.NaN, positive)).toThrow(OptionError);
  });
});

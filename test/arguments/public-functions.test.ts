import { beforeEach, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { DawngradError, useBackend } from "../../src/index.js";
import type { Parameter } from "./parameters.js";
import { wrongValues } from "./parameters.js";
import { exported, others, type PublicFunction, publicFunctions } from "./public-functions.js";

beforeEach(() => {
  useBackend(createReferenceBackend());
});

/** What a call ends in: an error, or undefined. A promise is waited for. */
async function failure(call: () => unknown): Promise<unknown> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return error ?? new Error("undefined was thrown");
  }
}

const validArguments = (parameters: readonly Parameter[]): unknown[] => parameters.map(({ valid }) => valid());

/** A call that is wrong at one place. */
interface Mistake {
  readonly parameter: string;
  readonly found: string;
  readonly args: () => unknown[];
}

function mistakes({ parameters }: PublicFunction): Mistake[] {
  const wrongFor = (parameter: Parameter): (readonly [what: string, value: unknown])[] =>
    wrongValues.filter(([, value]) => !parameter.accepts(value) && !(parameter.optional && value === undefined));
  return parameters.flatMap((parameter, position) => {
    const replaced = (make: () => unknown) => () => parameters.map((other, i) => (i === position ? make() : other.valid()));
    const whole = wrongFor(parameter).map(([found, value]) => ({ parameter: parameter.name, found, args: replaced(() => value) }));
    const byField = parameter.fields.flatMap((field) =>
      wrongFor(field).map(([found, value]) => ({
        parameter: field.name,
        found,
        args: replaced(() => ({ ...(parameter.valid() as object), [field.name]: value })),
      })),
    );
    return [...whole, ...byField];
  });
}

describe("every public function", () => {
  it("is listed here", () => {
    const errors = Object.keys(exported).filter((name) => /Error$/.test(name));
    const listed = new Set([...publicFunctions.map(({ name }) => name), ...others, ...errors]);
    expect(Object.keys(exported).filter((name) => !listed.has(name))).toEqual([]);
    expect([...listed].filter((name) => !name.startsWith("Tensor.") && !Object.hasOwn(exported, name))).toEqual([]);
  });

  it.each(publicFunctions)("$name takes what fits, with each option", async ({ name, call, parameters }) => {
    // Folders do not exist.
    const expected = /^(load|save|openModel|convert)/.test(name);
    const error = await failure(() => call(...(validArguments(parameters) as never[])));
    if (expected) expect(error).toBeInstanceOf(DawngradError);
    else expect(error).toBeUndefined();
    for (const [position, parameter] of parameters.entries()) {
      for (const field of parameter.fields) {
        const args = parameters.map((other, i) =>
          i === position ? { ...(other.valid() as object), [field.name]: field.valid() } : other.valid(),
        );
        const found = await failure(() => call(...(args as never[])));
        if (!(expected && found instanceof DawngradError)) expect(found, field.name).toBeUndefined();
      }
    }
  });

  it.each(publicFunctions.filter(({ parameters }) => parameters.length > 0))(
    "$name answers each argument that does not fit with a typed error that names it",
    async (fn) => {
      const complaints: string[] = [];
      for (const { parameter, found, args } of mistakes(fn)) {
        const error = await failure(() => fn.call(...(args() as never[])));
        const where = `${parameter} = ${found}`;
        if (error === undefined) complaints.push(`${where}: accepted`);
        else if (!(error instanceof DawngradError)) complaints.push(`${where}: ${String(error)}`);
        else if (!new RegExp(`\\b(${fn.name.replace("Tensor.", "")}|${parameter})\\b`).test(error.message)) {
          complaints.push(`${where}: names neither ${fn.name} nor ${parameter}: ${error.message}`);
        }
      }
      expect(complaints).toEqual([]);
    },
  );
});

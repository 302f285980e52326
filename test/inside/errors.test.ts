import { beforeEach, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { DawngradError, GradientError, grad, hessian, Tensor, tensor, useBackend, valueAndGrad, vmap, zeros } from "../../src/index.js";
import { show } from "../../src/ir/shape.js";
import { functions } from "../arguments/functions/autograd.js";
import { type PublicFunction, publicFunctions } from "../arguments/public-functions.js";

beforeEach(() => {
  useBackend(createReferenceBackend());
});

const operations = publicFunctions.filter(({ name }) => name.replace("Tensor.", "") in functions);
/** Functions that say it in the name of the one that they belong to. */
const namesakes: Readonly<Record<string, string>> = { attentionWithLogSumExp: "attention" };

const takesFunction = ({ parameters }: PublicFunction): boolean => parameters.some(({ valid }) => typeof valid() === "function");

/** What a call ends in. */
async function failure(call: () => unknown): Promise<unknown> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return error;
  }
}

/** A function with something else for one of its tensors. */
function withOther({ parameters, call }: PublicFunction, position: number, other: (valid: Tensor) => unknown): () => unknown {
  return () => {
    const args = parameters.map(({ valid }) => valid());
    args[position] = other(args[position] as Tensor);
    return call(...(args as never[]));
  };
}

const tensorPlaces = ({ parameters }: PublicFunction): number[] =>
  parameters.flatMap(({ valid }, i) => (valid() instanceof Tensor ? [i] : []));

describe("every operation with tensors", () => {
  it("answers a shape that does not fit with its name, the shape, and what would fit", async () => {
    const shapes = [[], [0], [3], [5, 7], [3, 1, 5], [2, 3, 4, 5]];
    const complaints: string[] = [];
    let refused = 0;
    for (const fn of operations) {
      const name = fn.name.replace("Tensor.", "");
      // What users' functions do is told in their own operations' names.
      if (takesFunction(fn)) continue;
      for (const position of tensorPlaces(fn)) {
        for (const shape of shapes) {
          const error = await failure(withOther(fn, position, ({ dtype }) => zeros(shape, { dtype: dtype as "f32" })));
          if (error === undefined) continue;
          refused++;
          const where = `${name}(${fn.parameters[position]?.name} = ${show(shape)})`;
          if (!(error instanceof DawngradError)) {
            complaints.push(`${where}: ${String(error)}`);
            continue;
          }
          const { message, hint } = error;
          if (!new RegExp(`\\b${namesakes[name] ?? name}\\b`).test(message)) complaints.push(`${where} does not say its name: ${message}`);
          const says =
            message.includes(show(shape)) || message.includes(`rank ${shape.length}`) || (shape.length === 0 && message.includes("scalar"));
          if (!says) complaints.push(`${where} does not say the shape: ${message}`);
          if (hint === "") complaints.push(`${where} says nothing of what to do: ${message}`);
        }
      }
    }
    expect(complaints).toEqual([]);
    expect(refused).toBeGreaterThan(500);
  });

  it("answers a promise with the advice to await it", async () => {
    const complaints: string[] = [];
    for (const fn of operations) {
      if (takesFunction(fn)) continue;
      // A promise has no methods of tensors.
      for (const position of tensorPlaces(fn).slice(fn.name.startsWith("Tensor.") ? 1 : 0)) {
        const error = await failure(withOther(fn, position, (valid) => Promise.resolve(valid)));
        if (!(error instanceof DawngradError) || !/\bawait/.test(error.hint)) {
          complaints.push(`${fn.name}(${fn.parameters[position]?.name}): ${String(error)} | ${(error as DawngradError | undefined)?.hint}`);
        }
      }
    }
    expect(complaints).toEqual([]);
    expect(() => tensor(Promise.resolve([1]) as never)).toThrow(expect.objectContaining({ hint: "await it first" }));
  });
});

describe("a gradient that there is not", () => {
  /** What is thrown, and that it is thrown at the line of the caller. */
  function thrown(f: () => unknown): DawngradError {
    try {
      f();
    } catch (error) {
      if (error instanceof GradientError && error.stack?.includes("errors.test.ts")) return error;
      throw error;
    }
    throw new Error("nothing was thrown");
  }
  const x = tensor([1, 3, 2]);

  it("of integers: by one, and of a function that returns one", () => {
    expect(thrown(() => grad((n: Tensor) => n.sum())(tensor([1], { dtype: "i32" })))).toMatchObject({
      message: "grad: cannot differentiate by argument 0, which is i32",
      hint: expect.stringContaining("float"),
    });
    expect(thrown(() => grad((y: Tensor) => y.argmax())(x))).toMatchObject({
      message: "grad: the function returned i32, which has no derivative",
      hint: "argmax does not change with its operand but jumps: return floats, such as the value and not its place",
    });
    expect(thrown(() => valueAndGrad((y: Tensor) => y.sum().greater(0))(x)).message).toContain("bool");
  });

  it("of what is no scalar", () => {
    expect(thrown(() => grad((y: Tensor) => y.mul(2))(x))).toMatchObject({
      message: "grad: the function returned [3], not a scalar",
      hint: expect.stringContaining("sum or average"),
    });
  });

  it("through argmax and argmin alone, however far behind", () => {
    const functions: ((y: Tensor) => Tensor)[] = [
      (y) => y.argmax().cast("f32"),
      (y) => y.mul(2).argmin().cast("f32").mul(3).exp(),
      (y) => tensor([5, 6, 7]).gather(y.argmax()),
    ];
    for (const f of functions) {
      for (const call of [() => grad(f)(x), () => valueAndGrad(f)(x), () => vmap(grad(f))(tensor([[1, 3, 2]]))]) {
        const { message, hint } = thrown(call);
        expect(message).toMatch(/depends on its argument only through arg(max|min), which has no derivative/);
        expect(hint).toContain("softmax");
      }
    }
  });

  it("but zeros where the value does not depend on the argument, jumps by comparisons, or is a derivative itself", async () => {
    expect(await grad((_: Tensor) => tensor(1))(x).array()).toEqual([0, 0, 0]);
    expect(await grad((y: Tensor) => y.greater(2).cast("f32").sum())(x).array()).toEqual([0, 0, 0]);
    const best = (y: Tensor): Tensor => y.gather(y.argmax());
    expect(await grad(best)(x).array()).toEqual([0, 1, 0]);
    expect(
      await grad((y: Tensor) =>
        grad(best)(y)
          .mul(tensor([1, 2, 3]))
          .sum(),
      )(x).array(),
    ).toEqual([0, 0, 0]);
    expect(await hessian(best)(x).array()).toEqual([
      [0, 0, 0],
      [0, 0, 0],
      [0, 0, 0],
    ]);
  });
});

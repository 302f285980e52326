import { fileURLToPath } from "node:url";
import { beforeEach, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  compile,
  concat,
  DawngradError,
  DtypeError,
  einsum,
  grad,
  matmul,
  realize,
  ShapeError,
  type Tensor,
  tensor,
  UsageError,
  useBackend,
  vjp,
  withBackend,
  zeros,
} from "../../src/index.js";

const here = fileURLToPath(import.meta.url);

/** What f throws. */
function thrown(f: () => unknown): DawngradError {
  try {
    f();
  } catch (error) {
    if (error instanceof DawngradError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** What a promise rejects with. */
async function rejection(promise: Promise<unknown>): Promise<DawngradError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof DawngradError)) throw new Error(`rejected with ${String(error)}`);
  return error;
}

beforeEach(() => {
  useBackend(createReferenceBackend());
});

describe("operands that do not fit are an error at the line that brings them together", () => {
  const a = zeros([2, 3]);
  const calls: readonly (readonly [name: string, error: typeof DawngradError, call: () => unknown])[] = [
    ["adding", ShapeError, () => a.add(zeros([2]))],
    ["multiplying matrices", ShapeError, () => matmul(a, a)],
    ["reshaping", ShapeError, () => a.reshape([4])],
    ["summing over an axis that is not there", ShapeError, () => a.sum(2)],
    ["slicing too far", ShapeError, () => a.slice([[0, 5]])],
    ["joining", ShapeError, () => concat([a, zeros([3, 2])])],
    ["contracting", ShapeError, () => einsum("ij,jk->ik", a, a)],
    ["nested arrays that are ragged", ShapeError, () => tensor([[1], [1, 2]])],
    ["mixing signed and unsigned", DtypeError, () => tensor([1], { dtype: "i32" }).add(tensor([1], { dtype: "u32" }))],
    ["a fraction for an integer", DtypeError, () => tensor([0.5], { dtype: "i32" })],
  ];

  it.each(calls)("%s", (_, error, call) => {
    const found = thrown(call);
    expect(found).toBeInstanceOf(error);
    expect(found.name).toBe(error.name);
    expect(found.stack).toContain(here);
  });

  it("also inside of a function that is compiled or differentiated", () => {
    const f = (x: Tensor): Tensor => x.add(zeros([7])).sum();
    for (const call of [() => grad(f)(a), () => compile(f)(a), () => compile(grad(f))(a)]) {
      expect(thrown(call).stack).toContain(here);
    }
    // The failed trace leaves nothing behind.
    expect(() => a.add(1).data()).not.toThrow();
  });

  it("and it says both shapes and what to do", () => {
    const error = thrown(() => a.add(zeros([4])));
    expect(error.message).toBe("add: shapes [2, 3] and [4] do not broadcast: 3 meets 4");
    expect(error.hint).toContain("must be equal or 1");
  });
});

describe("a tensor that was donated", () => {
  const update = compile((w: Tensor, lr: Tensor) => w.mul(lr), { donate: [0], name: "update" });

  it("names the call that took it, whatever it is then used for", async () => {
    const w = tensor([1, 2]).add(1);
    await realize(w);
    const next = update(w, 0.5);
    for (const use of [() => w.data(), () => realize(w.add(1)), async () => update(w, 1).data()]) {
      const error = await rejection((async (): Promise<unknown> => use())());
      expect(error).toBeInstanceOf(UsageError);
      expect(error.message).toBe("this tensor was donated to update(), which reused its memory");
      expect(error.hint).toContain("use the tensor that the call returned");
    }
    expect([...(await next.data())]).toEqual([1, 1.5]);
  });

  it("names that call wherever it lived, read by the call or not", async () => {
    const ignore = compile((_w: Tensor, lr: Tensor) => lr.add(1), { donate: [0], name: "ignore" });
    const onHost = (): Tensor => tensor([1, 2]);
    const copied = onHost();
    await realize(copied.add(1));
    await realize(copied.add(2));
    const read = tensor([1, 2]).add(1);
    await read.data();
    const onDevice = tensor([1, 2]).add(1);
    await realize(onDevice);
    for (const w of [onHost(), tensor(3), tensor([]), copied, read, onDevice]) {
      expect(await ignore(w, 1).item()).toBe(2);
      for (const use of [() => w.data(), () => w.array(), () => realize(w.add(1)), async () => update(w, 1).data(), () => w.print()]) {
        await expect((async (): Promise<unknown> => use())()).rejects.toThrow(
          "this tensor was donated to ignore(), which reused its memory",
        );
      }
    }
    for (const w of [onHost(), tensor(3)]) {
      update(w, 1);
      await expect(w.data()).rejects.toThrow("this tensor was donated to update()");
      expect(() => JSON.stringify(w)).not.toThrow();
    }
  });

  it("may not be given twice, nor be an argument or a captured tensor at the same time", async () => {
    const w = tensor([1, 2]).add(1);
    await realize(w);
    const both = compile((a: Tensor, b: Tensor) => a.add(b), { donate: [0, 1] });
    expect(thrown(() => both(w, w)).message).toContain("one tensor is donated twice");
    const one = compile((a: Tensor, b: Tensor) => a.add(b), { donate: [0] });
    expect(thrown(() => one(w, w)).message).toContain("also another argument");
    const captures = compile((a: Tensor) => a.add(w), { donate: [0] });
    expect(thrown(() => captures(w)).message).toContain("also captured");
    expect([...(await w.data())]).toEqual([2, 3]);
  });

  it("comes back as a new tensor where the function returns it as it is", async () => {
    const w = tensor([1, 2]).add(1);
    await realize(w);
    const [same, twice] = compile((x: Tensor) => [x, x.mul(2)] as const, { donate: [0] })(w);
    expect([[...(await same.data())], [...(await twice.data())]]).toEqual([
      [2, 3],
      [4, 6],
    ]);
    await expect(w.data()).rejects.toThrow(UsageError);
  });
});

describe("wrong use is a UsageError that says what to do:", () => {
  it("a tensor that was disposed", async () => {
    const x = tensor(new Array<number>(100).fill(1)).add(1);
    await realize(x);
    x.dispose();
    const error = await rejection(x.add(1).data());
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toBe("this tensor was disposed");
  });

  it("asking for numbers while a function is traced, at once and not in a promise that nobody hears", () => {
    const constant = tensor([2]);
    const readers: [name: string, read: (x: Tensor) => unknown][] = [
      ["data", (x) => x.data()],
      ["item", (x) => x.item()],
      ["array", (x) => x.array()],
      ["realize", (x) => realize({ x })],
      ["item", () => constant.item()],
    ];
    for (const [name, read] of readers) {
      const f = (x: Tensor): Tensor => {
        read(x.add(1));
        return x.sum();
      };
      const inner = compile(f);
      const nested = compile((x: Tensor) => inner(x));
      for (const call of [inner, grad(f), nested, (x: Tensor) => vjp(f, x)]) {
        const error = thrown(() => call(tensor([1])));
        expect(error).toBeInstanceOf(UsageError);
        expect(error.message).toBe(`${name}(): a tensor cannot be realised while a function is compiled or differentiated`);
        expect(error.hint).toContain("static");
      }
    }
  });

  it("an argument that leaked out of the trace of its function", async () => {
    let leaked: Tensor | undefined;
    compile((x: Tensor) => {
      leaked = x.mul(2);
      return x;
    })(tensor([1, 2]));
    const error = await rejection((leaked as Tensor).data());
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain("stands for an argument of a function that was traced");
    expect(error.hint).toContain("return it from the function");
    const other = thrown(() => compile((x: Tensor) => x.add(leaked as Tensor))(tensor([1, 2])));
    expect(other).toBeInstanceOf(UsageError);
  });

  it("a tensor of another backend", async () => {
    const x = tensor([1, 2]).add(1);
    await realize(x);
    const error = await rejection(withBackend(createReferenceBackend(), () => x.add(1).data()));
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain("meets another backend");
  });

  it("item() of several numbers", async () => {
    expect((await rejection(tensor([1, 2]).item())).message).toContain("needs one element");
  });

  it("computing before a backend was started", async () => {
    useBackend(undefined);
    const error = await rejection(tensor([1]).add(1).data());
    expect(error.message).toBe("no backend was started");
    expect(error.hint).toBe("call `await init()` first");
  });
});

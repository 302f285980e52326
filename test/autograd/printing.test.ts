import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { arange, compile, realize, type Tensor, tensor, useBackend } from "../../src/index.js";

beforeEach(() => {
  useBackend(createReferenceBackend());
});
afterEach(() => {
  vi.restoreAllMocks();
});

async function printed(t: Tensor): Promise<string> {
  const log = vi.spyOn(console, "log").mockImplementation(() => undefined);
  await t.print();
  const [[text]] = log.mock.calls as [[string]];
  log.mockRestore();
  return text;
}

describe("a tensor shows its dtype, its shape and, where it has them, its values", () => {
  const small = (): Tensor => tensor([[1, 2.5, -0.1]]);

  it("to console.log", () => {
    expect(inspect(small())).toBe("Tensor f32[1, 3] [[1, 2.5, -0.1]]");
    expect(inspect({ w: tensor([true, false]) })).toBe("{ w: Tensor bool[2] [true, false] }");
    expect(inspect(tensor(7, { dtype: "i32" }))).toBe("Tensor i32[] 7");
    expect(inspect(small().add(1))).toBe("Tensor f32[1, 3] = add(…)");
  });

  it("to JSON.stringify", () => {
    expect(JSON.parse(JSON.stringify({ w: tensor([[1, 2]]) }))).toEqual({ w: { dtype: "f32", shape: [1, 2], values: [1, 2] } });
    expect(JSON.parse(JSON.stringify(small().add(1)))).toEqual({ dtype: "f32", shape: [1, 3] });
  });

  it("by print(), which computes what has no numbers yet", async () => {
    expect(await printed(small())).toBe("Tensor f32[1, 3] [[1, 2.5, -0.1]]");
    expect(await printed(small().add(1))).toBe("Tensor f32[1, 3] [[2, 3.5, 0.9]]");
    const far = arange(1000).add(0);
    await realize(far);
    expect(inspect(far)).toBe("Tensor i32[1000] (on the device: await t.print() shows it)");
    expect(await printed(far)).toBe("Tensor i32[1000] [0, 1, 2, …, 997, 998, 999]");
    expect(await printed(arange(64).reshape(8, 8))).toMatch(
      /^Tensor i32\[8, 8\] \[\[0, 1, 2, …, 5, 6, 7\], .*, …, .*, \[56, 57, 58, …, 61, 62, 63\]\]$/,
    );
    expect(await printed(tensor([], { shape: [0, 2] }))).toBe("Tensor f32[0, 2] []");
  });

  it("inside of a compiled function without values", () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => undefined);
    compile((x: Tensor) => {
      const y = x.add(1);
      void y.print();
      return y;
    })(tensor([1]));
    expect(log.mock.calls).toEqual([["Tensor f32[1] = add(…)"]]);
  });
});

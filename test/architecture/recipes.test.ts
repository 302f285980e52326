import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CompiledSources, compileSources, runModule, translate } from "../support/compiled.js";
import { apply, type Edit, recipesOf, root, TypeCheck } from "./recipes.js";

describe("the recipes of docs/extending.md", () => {
  let recipes: ReadonlyMap<string, readonly Edit[]>;
  let sources: CompiledSources;
  const all = (): Edit[] => [...recipes.values()].flat();
  beforeAll(async () => {
    recipes = recipesOf(await readFile(join(root, "docs/extending.md"), "utf8"));
    sources = await compileSources();
    for (const [path, text] of apply(all())) {
      if (path.startsWith("src/")) await writeFile(join(sources.folder, path.slice(4).replace(/\.ts$/, ".js")), await translate(text));
    }
  });
  afterAll(() => sources.remove());

  it("name every place at which the compiler misses something, and leave nothing that it does not take", { timeout: 240_000 }, () => {
    const [primitive, kernel] = [...recipes.values()] as [Edit[], Edit[]];
    const tables = all().flatMap(({ path }) => (path.startsWith("test/") && !path.startsWith("test/arguments/") ? [path] : []));
    const types = new TypeCheck(["src/init.ts", "src/index.ts", "src/backend/webgpu/index.ts", ...new Set(tables)]);

    const parts = /^(test|src\/(ir|autograd|compiler|backend))\//;
    // The name and the record of the primitive, and the kind of the kernel: the compiler says what is missing then.
    const missing = types.errors(apply([...primitive.slice(0, 2), ...kernel.slice(0, 1)]), (path) => parts.test(path));
    const listed = new Set(all().map(({ path }) => path));
    expect(
      [...missing.keys()].filter((path) => !listed.has(path)),
      "places that docs/extending.md does not name",
    ).toEqual([]);
    expect(missing.size).toBeGreaterThan(10);
    expect(Object.fromEntries(types.errors(apply(all()), (path) => listed.has(path)))).toEqual({});
  });

  it("give a primitive with its derivatives, a kernel that copies and a transformation, on every backend", {
    timeout: 240_000,
  }, async () => {
    const program = `
      import { checkGrads, clipCotangents, compile, grad, init, inverseSqrt, scan, tensor } from "./index.js";
      for (const name of ["reference", "wasm", "webgpu"]) {
        const backend = await init({ backend: name });
        const x = tensor([0.25, 1, 4, 16]);
        await checkGrads(inverseSqrt, [x], { order: 2 });
        const reshaped = compile((x) => x.reshape([2, 2]));
        const rows = tensor([[1, 2], [3, 4], [5, 6]]);
        const stacked = compile((rows) => scan((last, row) => [row, row.reshape([2, 1])], tensor([0, 0]), rows, { reverse: true })[1]);
        const clipped = grad((x) => clipCotangents((x) => x.mul(x), 0.5)(x).mul(tensor([-4, 0.25, 1, 0.5])).sum());
        console.log(JSON.stringify({
          name,
          inverse: await inverseSqrt(x).array(),
          slope: await grad((x) => inverseSqrt(x).sum())(x).array(),
          copied: await reshaped(x).array(),
          copies: reshaped.explain(x).includes("copy"),
          stacked: await stacked(rows).array(),
          stackedCopies: stacked.explain(rows).includes("copy"),
          clipped: await clipped(x).array(),
          compiled: await compile(clipped)(x).array(),
          twice: await grad((x) => clipped(x).sum())(x).array(),
        }));
        await backend.close();
      }
    `;
    const { code, stdout, stderr } = await runModule(sources, program, { seconds: 100 });
    expect(stderr.split("\n").filter((line) => /Error: /.test(line))).toEqual([]);
    expect(code).toBe(0);
    const results = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(results.map(({ name }) => name)).toEqual(["reference", "wasm", "webgpu"]);
    for (const { name, ...result } of results) {
      // The reference runs graphs as they stand.
      expect(result, String(name)).toEqual({
        inverse: [2, 1, 0.5, 0.25],
        slope: [-4, -0.5, -0.0625, -0.0078125],
        copied: [
          [0.25, 1],
          [4, 16],
        ],
        copies: name !== "reference",
        stacked: [
          [[1], [2]],
          [[3], [4]],
          [[5], [6]],
        ],
        stackedCopies: name !== "reference",
        clipped: [-0.25, 0.5, 4, 16],
        compiled: [-0.25, 0.5, 4, 16],
        twice: [-1, 0.5, 1, 1],
      });
    }
  });
});

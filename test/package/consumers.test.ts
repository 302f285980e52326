import { execFile } from "node:child_process";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { beforeAll, describe, expect, inject, it } from "vitest";

const { folder } = inject("installation");

/** Uses values, types and classes, as types and as values; the two mistakes show that nothing has become `any`. */
const program = `
import { compile, grad, init, Llama, OptionError, tensor, type InitOptions, type Tensor } from "dawngrad";

const options: InitOptions = { backend: "wasm", threads: 1 };
// @ts-expect-error there is no such backend
const wrong: InitOptions = { backend: "cuda" };
// @ts-expect-error a tensor is no number
const number: number = tensor([1, 2]);

export class Doubled extends OptionError {}
export const heads = (model: Llama): number => model.config.num_attention_heads;
export const isLlama = (value: unknown): value is Llama => value instanceof Llama;
export async function main(): Promise<number> {
  const backend = await init(options);
  const f = (x: Tensor): Tensor => x.mul(x).sum();
  const step = compile((x: Tensor) => grad(f)(x).sum());
  const found: number = await step(tensor([1, 2])).item();
  await backend.close();
  return found;
}
export { number, wrong };
`;

/** Uses the second entry, which resolution by exports alone finds. */
const testing = `
import { checkLaws, LawError, shapes, tensors } from "dawngrad/testing";

export const proof: Promise<void> = checkLaws((x: Tensor) => x.tanh(), [tensors(shapes())], { laws: ["adjoint"] });
// @ts-expect-error there is no such law
export const wrongLaw = checkLaws((x: Tensor) => x.tanh(), [tensors([2])], { laws: ["beauty"] });
export const isLawError = (error: unknown): error is LawError => error instanceof LawError;
`;

const { ESNext, Node16, NodeNext, CommonJS } = ts.ModuleKind;
const { Bundler, Node16: ByNode16, NodeNext: ByNodeNext, Node10 } = ts.ModuleResolutionKind;

const compilers = [
  { name: "Node16 in a CommonJS package", type: "commonjs", module: Node16, moduleResolution: ByNode16 },
  { name: "Node16 in an ESM package", type: "module", module: Node16, moduleResolution: ByNode16 },
  { name: "NodeNext in a CommonJS package", type: "commonjs", module: NodeNext, moduleResolution: ByNodeNext },
  { name: "a bundler", type: "module", module: ESNext, moduleResolution: Bundler },
  { name: "CommonJS with the oldest resolution", type: "commonjs", module: CommonJS, moduleResolution: Node10, ignoreDeprecations: "6.0" },
] as const;

/** What the compiler says against the program, every declaration file included, in a place where no types but the library's exist. */
function complaints(file: string, options: ts.CompilerOptions): string[] {
  const built = ts.createProgram([file], { strict: true, skipLibCheck: false, types: [], target: ts.ScriptTarget.ES2022, ...options });
  const host = { getCanonicalFileName: (name: string) => name, getCurrentDirectory: () => folder, getNewLine: () => "\n" };
  return ts.getPreEmitDiagnostics(built).map((diagnostic) => ts.formatDiagnostic(diagnostic, host));
}

/** What `dawngrad/testing` needs beside the library. */
beforeAll(async () => {
  for (const name of ["fast-check", "pure-rand"]) {
    const from = new URL(`../../node_modules/${name}`, import.meta.url);
    await cp(from, join(folder, "node_modules", name), { recursive: true });
  }
});

async function consumer(name: string, type: "commonjs" | "module", file: string, text: string): Promise<string> {
  const home = join(folder, name.replaceAll(" ", "-"));
  await mkdir(home, { recursive: true });
  await writeFile(join(home, "package.json"), JSON.stringify({ type }));
  await writeFile(join(home, file), text);
  return join(home, file);
}

describe("a program in TypeScript compiles with nothing but ES2022", () => {
  it.each(compilers)("under $name", async ({ name, type, ...options }) => {
    const file = await consumer(name, type, "main.ts", options.moduleResolution === Node10 ? program : program + testing);
    expect(complaints(file, { ...options, lib: ["lib.es2022.d.ts"], noEmit: true })).toEqual([]);
  });

  it("and beside the types of a browser, with the options that look closest", async () => {
    const file = await consumer("strictest", "module", "main.ts", program);
    const strictest = {
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      isolatedModules: true,
      verbatimModuleSyntax: true,
    };
    const lib = ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"];
    expect(complaints(file, { ...strictest, module: ESNext, moduleResolution: Bundler, lib, noEmit: true })).toEqual([]);
  });
});

describe("a program in Node", () => {
  const run = async (file: string): Promise<string> => {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [file]);
    return stdout + stderr;
  };
  const body = `
    const backend = await init({ backend: "wasm", threads: 1 });
    console.log(await tensor([1, 2]).mul(2).sum().item());
    await backend.close();`;

  it("imports the library", async () => {
    const file = await consumer("importing", "module", "main.js", `import { init, tensor } from "dawngrad";${body}`);
    expect(await run(file)).toBe("6\n");
  });

  it("requires it, and gets the very classes that import gives", async () => {
    const same = 'console.log((await import("dawngrad")).Tensor === require("dawngrad").Tensor);';
    const text = `const { init, tensor } = require("dawngrad"); (async () => {${body} ${same} })();`;
    expect(await run(await consumer("requiring", "commonjs", "main.js", text))).toBe("6\ntrue\n");
  });

  it("tests an operation of its own with dawngrad/testing, imported and required", async () => {
    const proof = `
    const backend = await init({ backend: "reference" });
    await checkLaws((x) => x.mul(x.sigmoid()), [tensors(shapes({ maxRank: 2 }))], { runs: 2 });
    const error = await checkLaws((x) => x.mul(stopGradient(x)), [tensors([2])]).catch((error) => error);
    console.log(error instanceof LawError && error instanceof DawngradError);
    await backend.close();`;
    const [own, library] = ["{ checkLaws, LawError, shapes, tensors }", "{ DawngradError, init, stopGradient }"];
    const imported = `import ${library} from "dawngrad"; import ${own} from "dawngrad/testing";${proof}`;
    expect(await run(await consumer("testing by import", "module", "main.js", imported))).toBe("true\n");
    const required = `const ${library} = require("dawngrad"); const ${own} = require("dawngrad/testing"); (async () => {${proof}})();`;
    expect(await run(await consumer("testing by require", "commonjs", "main.js", required))).toBe("true\n");
  });

  it("is told what to do by a Node that cannot require ES modules", async () => {
    const file = await consumer("requiring in an old Node", "commonjs", "main.js", 'require("dawngrad");');
    const old = promisify(execFile)(process.execPath, ["--no-experimental-require-module", file]);
    await expect(old).rejects.toThrow('use await import("dawngrad")');
  });
});

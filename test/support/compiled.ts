import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** `src` as JavaScript, for tests that need a process of their own. */
export interface CompiledSources {
  /** Where `src/` lies, as JavaScript. */
  readonly folder: string;
  remove(): Promise<void>;
}

/** A TypeScript file as JavaScript, without a look at its types. The compiler fails on some files that have no name. */
export const translate = (text: string, fileName: string): string =>
  ts.transpileModule(text, {
    fileName,
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true },
  }).outputText;

/** Translates a folder of `src` file by file, without looking at types, into a fresh folder from where packages resolve. */
export async function compileSources(under = "."): Promise<CompiledSources> {
  const cache = join(root, "node_modules", ".cache");
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, "dawngrad-sources-"));
  const source = join(root, "src");
  const files = (await readdir(join(source, under), { recursive: true }))
    .filter((file) => file.endsWith(".ts"))
    .map((file) => join(under, file));
  for (const file of [...files, "errors.ts"]) {
    const outputText = translate(await readFile(join(source, file), "utf8"), join(source, file));
    const target = join(folder, file.replace(/\.ts$/, ".js"));
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, outputText);
  }
  await writeFile(join(folder, "package.json"), '{ "type": "module" }');
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** How a child process ended. */
export interface ChildResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a module given as text, which may import from `./` of the compiled sources; it is killed after `seconds`. */
export async function runModule(
  sources: CompiledSources,
  text: string,
  options: { readonly env?: Readonly<Record<string, string>>; readonly seconds?: number } = {},
): Promise<ChildResult> {
  const script = await mkdtemp(join(sources.folder, "script-"));
  const up = `${relative(script, sources.folder)}/`;
  const file = join(script, "main.js");
  await writeFile(file, text.replaceAll('"./', `"${up}`));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [file], {
      env: { ...process.env, ...options.env },
      timeout: (options.seconds ?? 30) * 1000,
      killSignal: "SIGKILL",
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

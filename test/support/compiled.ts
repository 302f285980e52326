import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** `src` as JavaScript, for tests that need a process of their own. */
export interface CompiledSources {
  /** Where `src/` lies, as JavaScript. */
  readonly folder: string;
  remove(): Promise<void>;
}

const target = "es2022";
const tsconfigRaw = { compilerOptions: { verbatimModuleSyntax: true } };

/** A TypeScript file as JavaScript, without a look at its types. */
export async function translate(text: string): Promise<string> {
  return (await transform(text, { loader: "ts", target, tsconfigRaw })).code;
}

/** Translates `src` file by file, without looking at types, into a fresh folder from where packages resolve. */
export async function compileSources(): Promise<CompiledSources> {
  const cache = join(root, "node_modules", ".cache");
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, "dawngrad-sources-"));
  const source = join(root, "src");
  const entryPoints = (await readdir(source, { recursive: true })).filter((file) => file.endsWith(".ts")).map((file) => join(source, file));
  await build({ entryPoints, outbase: source, outdir: folder, format: "esm", target, tsconfigRaw, logLevel: "silent" });
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

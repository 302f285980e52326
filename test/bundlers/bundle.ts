import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** A page of its own in the folder of an installation: index.html and the module main.js. */
export async function writePage(folder: string, name: string, main: string): Promise<string> {
  const page = join(folder, name);
  await mkdir(page, { recursive: true });
  await writeFile(join(page, "main.js"), main);
  await writeFile(join(page, "index.html"), html("main.js"));
  return page;
}

const html = (script: string): string =>
  `<!doctype html><title>page</title><link rel="icon" href="data:,"><script type="module" src="./${script}"></script>`;

/** What a bundler made of a page. */
export interface Bundled {
  /** The folder with index.html. */
  readonly folder: string;
  /** What it complained about. */
  readonly warnings: readonly string[];
}

/** Bundles a page for browsers, minified, each bundler as its manual's first example sets it up. */
export type Bundle = (page: string) => Promise<Bundled>;

const withEsbuild: Bundle = async (page) => {
  const { build } = await import("esbuild");
  const folder = join(page, "esbuild");
  const { warnings } = await build({
    entryPoints: [join(page, "main.js")],
    absWorkingDir: page,
    outdir: folder,
    bundle: true,
    minify: true,
    splitting: true,
    format: "esm",
    logLevel: "silent",
  });
  await writeFile(join(folder, "index.html"), html("main.js"));
  return { folder, warnings: warnings.map(({ text }) => text) };
};

const withVite: Bundle = async (page) => {
  const { build } = await import("vite");
  const folder = join(page, "vite");
  const { warnings, settings } = await viteListener();
  await build({ ...settings, root: page, base: "./", build: { outDir: folder } });
  return { folder, warnings };
};

/** Settings under which Vite prints nothing and every complaint is written down. */
async function viteListener() {
  const { createLogger } = await import("vite");
  const warnings: string[] = [];
  const note = (text: string): void => {
    warnings.push(text);
  };
  const customLogger = { ...createLogger("silent"), warn: note, warnOnce: note, error: note };
  return { warnings, settings: { configFile: false, logLevel: "silent", customLogger } as const };
}

/** Vite as it serves a page while one writes it. */
export async function serveWithVite(page: string) {
  const { createServer } = await import("vite");
  const { warnings, settings } = await viteListener();
  const headers = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
  const server = await createServer({ ...settings, root: page, server: { host: "127.0.0.1", port: 0, headers, hmr: false } });
  await server.listen();
  const [origin = ""] = server.resolvedUrls?.local ?? [];
  return { origin, warnings, close: () => server.close() };
}

const withWebpack: Bundle = async (page) => {
  const { default: webpack } = await import("webpack");
  const folder = join(page, "webpack");
  const compiler = webpack({ context: page, mode: "production", entry: "./main.js", output: { path: folder, filename: "main.js" } });
  const found = await new Promise<readonly string[]>((resolve, reject) => {
    compiler.run((error, stats) => {
      const { errors = [], warnings = [] } = stats?.toJson({ all: false, errors: true, warnings: true }) ?? {};
      compiler.close(() => (error ? reject(error) : resolve([...errors, ...warnings].map(({ message }) => message))));
    });
  });
  await writeFile(join(folder, "index.html"), html("main.js"));
  return { folder, warnings: found };
};

export const bundlers: readonly { readonly name: string; readonly bundle: Bundle }[] = [
  { name: "esbuild", bundle: withEsbuild },
  { name: "Vite", bundle: withVite },
  { name: "webpack", bundle: withWebpack },
];

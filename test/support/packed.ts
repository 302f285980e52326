import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { readTar } from "../../src/backend/webgpu/software-driver.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A folder, outside of this repository, into which the library was installed: it and what it requires, nothing optional. */
export interface Installation {
  readonly folder: string;
  /** The files of the package, by their paths in it. */
  readonly files: readonly string[];
}

/** What the manifest says and the tests look at. */
export interface Manifest {
  readonly name: string;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>;
  readonly keywords: readonly string[];
  readonly files: readonly string[];
}

export const readManifest = async (): Promise<Manifest> => JSON.parse(await readFile(join(root, "package.json"), "utf8")) as Manifest;

/** Builds and packs the sources as they are now, away from `dist`, and installs the archive as npm would, without a network. */
export async function installPacked(): Promise<Installation & { remove(): Promise<void> }> {
  const manifest = await readManifest();
  const cache = join(root, "node_modules", ".cache");
  await mkdir(cache, { recursive: true });
  const staged = await mkdtemp(join(cache, "dawngrad-staged-"));
  const folder = await mkdtemp(join(tmpdir(), "dawngrad-installed-"));
  try {
    const parts = ["package.json", "tsconfig.json", "tsconfig.build.json", "scripts", ...manifest.files.filter((name) => name !== "dist")];
    for (const part of parts) await cp(join(root, part), join(staged, part), { recursive: true });
    const run = promisify(execFile);
    await run(process.execPath, ["scripts/build.mjs"], { cwd: staged });
    await run("npm", ["pack", "--ignore-scripts", "--pack-destination", staged], { cwd: staged, shell: process.platform === "win32" });
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
    const archive = readTar(gunzipSync(await readFile(join(staged, `${manifest.name}-${version}.tgz`))));
    const files: string[] = [];
    for (const [name, content] of archive) {
      const path = name.replace(/^package\//, "");
      const target = join(folder, "node_modules", manifest.name, path);
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, content);
      files.push(path);
    }
    for (const name of Object.keys(manifest.dependencies)) {
      await cp(join(root, "node_modules", name), join(folder, "node_modules", name), { recursive: true });
    }
    return { folder, files, remove: () => rm(folder, { recursive: true, force: true }) };
  } finally {
    await rm(staged, { recursive: true, force: true });
  }
}

import { createReadStream, createWriteStream } from "node:fs";
import { access, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { brotliDecompressSync, createBrotliDecompress } from "node:zlib";
import { type Browser, chromium } from "playwright-core";
import { readTar } from "../../src/backend/webgpu/software-driver.js";

/** The package's own function reuses whatever lies in the folder for temporary files, half-written files of a neighbour included. */
async function unpack(): Promise<string> {
  const root = dirname(dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium")));
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
  const target = join(tmpdir(), `dawngrad-${process.getuid?.() ?? 0}-chromium-${version}`);
  const complete = (): Promise<boolean> =>
    access(target).then(
      () => true,
      () => false,
    );
  if (await complete()) return target;
  const fresh = await mkdtemp(`${target}-`);
  const program = pipeline(
    createReadStream(join(root, "bin", "chromium.br")),
    createBrotliDecompress(),
    createWriteStream(join(fresh, "chromium"), { mode: 0o700 }),
  );
  for (const archive of ["swiftshader", "al2023", "fonts"]) {
    for (const [name, content] of readTar(brotliDecompressSync(await readFile(join(root, "bin", `${archive}.tar.br`))))) {
      await mkdir(dirname(join(fresh, name)), { recursive: true });
      await writeFile(join(fresh, name), content, { mode: 0o700 });
    }
  }
  await program;
  try {
    await rename(fresh, target);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    if (!(await complete())) throw error;
  }
  return target;
}

/**
 * The headless Chromium of @sparticuz/chromium with WebGPU on its own SwiftShader. The shared libraries and fonts that it
 * needs come with it, and no name but the local host's resolves.
 */
export async function launchChromium(): Promise<Browser> {
  const folder = await unpack();
  const home = join(folder, "home");
  await mkdir(home, { recursive: true });
  // Chromium brings its own driver, and variables that point Vulkan's loader elsewhere would hide it.
  const { VK_DRIVER_FILES: _files, VK_ICD_FILENAMES: _manifests, ...inherited } = process.env;
  return chromium.launch({
    executablePath: join(folder, "chromium"),
    env: { ...inherited, LD_LIBRARY_PATH: join(folder, "lib"), FONTCONFIG_PATH: folder, HOME: home } as Record<string, string>,
    args: [
      "--no-sandbox",
      "--enable-unsafe-webgpu",
      "--enable-features=Vulkan,WebGPUService",
      "--use-webgpu-adapter=swiftshader",
      "--use-vulkan=swiftshader",
      "--disable-vulkan-surface",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-pings",
      "--no-proxy-server",
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ],
  });
}

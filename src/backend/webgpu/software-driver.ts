import { BackendUnavailableError } from "../../errors.js";
import { nodeModule, nodePackageEntry, nodeProcess } from "../../platform/node.js";
import { importOptional, MissingPackageError } from "../../platform/optional-packages.js";

/** Where the unpacked driver lies. */
export interface SoftwareDriver {
  /** Path of the driver's manifest, for the Vulkan loader. */
  readonly icd: string;
  readonly folder: string;
}

const MANIFEST = "vk_swiftshader_icd.json";
const LOADER = "libvulkan.so.1";
const PARTS = [MANIFEST, LOADER, "libvk_swiftshader.so"] as const;

/** Libraries that were opened here stay open: their handles are never given back. */
const libraries: unknown[] = [];
let prepared: Promise<SoftwareDriver> | undefined;

/**
 * Makes SwiftShader usable without any system package: unpacks it (once per user and version) from the package
 * `@sparticuz/chromium` into the folder for temporary files and, where the system has no Vulkan loader, opens the one that
 * comes with it, so that Dawn finds it already loaded. Throws BackendUnavailableError when a package is missing or the
 * platform is another than Linux on x64, which is what the package holds.
 */
export function prepareSwiftShader(): Promise<SoftwareDriver> {
  prepared ??= prepare().catch((error: unknown) => {
    prepared = undefined;
    throw error;
  });
  return prepared;
}

async function prepare(): Promise<SoftwareDriver> {
  const { platform, arch } = nodeProcess();
  if (platform !== "linux" || arch !== "x64") {
    throw new BackendUnavailableError(`the SwiftShader of @sparticuz/chromium is for linux-x64, this is ${platform}-${arch}`);
  }
  const path = await nodeModule("path");
  const folder = await unpackOnce(await locateArchive());
  await openLoader(path.join(folder, LOADER));
  return { icd: path.join(folder, MANIFEST), folder };
}

async function locateArchive(): Promise<{ file: string; version: string }> {
  const path = await nodeModule("path");
  const fs = await nodeModule("fs/promises");
  let root: string;
  try {
    root = path.dirname(path.dirname(await nodePackageEntry("@sparticuz/chromium")));
  } catch (cause) {
    throw new MissingPackageError("@sparticuz/chromium", "which carries SwiftShader", cause);
  }
  const { version } = JSON.parse(await fs.readFile(path.join(root, "package.json"), "utf8")) as { version: string };
  return { file: path.join(root, "bin", "swiftshader.tar.br"), version };
}

/**
 * Unpacks into a folder of its own and renames that: any number of processes may do so at once, and none sees half a driver.
 * Only a folder that belongs to this user and that nobody else may write is trusted, for code is loaded from it.
 */
async function unpackOnce(archive: { file: string; version: string }): Promise<string> {
  const fs = await nodeModule("fs/promises");
  const path = await nodeModule("path");
  const os = await nodeModule("os");
  const { brotliDecompressSync } = await nodeModule("zlib");

  const user = nodeProcess().getuid?.() ?? 0;
  const target = path.join(os.tmpdir(), `dawngrad-${user}-swiftshader-${archive.version}`);
  const complete = async (): Promise<boolean> => {
    try {
      const folder = await fs.lstat(target);
      if (!folder.isDirectory() || folder.uid !== user || (folder.mode & 0o022) !== 0) return false;
      const parts = await Promise.all(PARTS.map((part) => fs.lstat(path.join(target, part))));
      return parts.every((part) => part.isFile() && part.size > 0);
    } catch {
      return false;
    }
  };
  if (await complete()) return target;

  const fresh = await fs.mkdtemp(`${target}-`);
  const files = readTar(brotliDecompressSync(await fs.readFile(archive.file)));
  for (const part of PARTS) {
    const content = files.get(part);
    if (!content) throw new BackendUnavailableError(`${archive.file} does not hold ${part}`);
    await fs.writeFile(path.join(fresh, part), content, { mode: 0o700 });
  }
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      await fs.rename(fresh, target);
      return target;
    } catch {
      if (await complete()) {
        await fs.rm(fresh, { recursive: true, force: true });
        return target;
      }
      // What is there is incomplete: out of the way with it, under a name that no other process picks.
      await fs.rename(target, `${fresh}-stale`).catch(() => undefined);
      await fs.rm(`${fresh}-stale`, { recursive: true, force: true }).catch(() => undefined);
    }
  }
  return fresh;
}

/** The plain files of a ustar archive by name. */
export function readTar(archive: Uint8Array): Map<string, Uint8Array> {
  const BLOCK = 512;
  const text = (start: number, length: number): string => {
    const bytes = archive.subarray(start, start + length);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  };
  const files = new Map<string, Uint8Array>();
  for (let at = 0; at + BLOCK <= archive.length && archive[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12).trim() || "0", 8);
    const start = at + BLOCK;
    if (!Number.isSafeInteger(size) || size < 0 || start + size > archive.length) {
      throw new BackendUnavailableError(`the archive is damaged at byte ${at}`);
    }
    const type = text(at + 156, 1);
    if (type === "" || type === "0") files.set(text(at, 100).replace(/^\.\//, ""), archive.subarray(start, start + size));
    at = start + Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}

/** Opens the system's Vulkan loader, or else ours; Dawn then finds it by its name. */
async function openLoader(ours: string): Promise<void> {
  type Koffi = { load(path: string): unknown };
  let failure: unknown;
  const module = await importOptional<Koffi & { default?: Koffi }>("koffi").catch((cause: unknown) => {
    failure = cause;
    return undefined;
  });
  if (module === undefined) {
    // Without koffi the driver still works wherever the system has a loader of its own.
    const { constants, accessSync } = await nodeModule("fs");
    const places = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib64", "/lib"];
    const readable = (file: string): boolean => {
      try {
        accessSync(file, constants.R_OK);
        return true;
      } catch {
        return false;
      }
    };
    if (places.some((place) => readable(`${place}/${LOADER}`))) return;
    throw new MissingPackageError("koffi", "which loads SwiftShader where the system has no libvulkan.so.1", failure);
  }
  const koffi = module.default ?? module;
  try {
    libraries.push(koffi.load(LOADER));
  } catch {
    try {
      libraries.push(koffi.load(ours));
    } catch (cause) {
      throw new BackendUnavailableError(`${ours} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }
}

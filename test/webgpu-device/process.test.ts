import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CompiledSources, compileSources, runModule } from "../support/compiled.js";

const NO_DRIVER = { VK_DRIVER_FILES: "/nonexistent", VK_ICD_FILENAMES: "/nonexistent" };
const OPEN = 'import { openDevice } from "./backend/webgpu/adapter.js";\n';
const ROUND_TRIP = `
  const buffer = device.acquire(8, "value");
  device.write(buffer, new Uint32Array([3, 4]));
  console.log(device.info.source, device.info.architecture, [...new Uint32Array(await device.read(buffer, 8))].join());
`;

let sources: CompiledSources;
let temporary: string;
beforeAll(async () => {
  sources = await compileSources();
  temporary = await mkdtemp(join(tmpdir(), "dawngrad-test-"));
});
afterAll(async () => {
  await sources.remove();
  await rm(temporary, { recursive: true, force: true });
});

const freshTmp = async (): Promise<string> => mkdtemp(join(temporary, "tmp-"));

describe("a machine without a driver", () => {
  it("computes on the SwiftShader of a package, and leaves the environment as it was", async () => {
    const script = `${OPEN} const device = await openDevice(); ${ROUND_TRIP} await device.destroy(); console.log(process.env.VK_DRIVER_FILES);`;
    const { code, stdout, stderr } = await runModule(sources, script, { env: { ...NO_DRIVER, TMPDIR: await freshTmp() } });
    expect(stdout, stderr).toBe("swiftshader swiftshader 3,4\n/nonexistent\n");
    expect(code).toBe(0);
  });

  it("needs no Vulkan loader of the system either", async () => {
    // A file that is no library stands in the way of the system's.
    const folder = join(temporary, "no-loader");
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "libvulkan.so.1"), "");
    const script = `${OPEN} const device = await openDevice(); ${ROUND_TRIP} await device.destroy();`;
    const { code, stdout, stderr } = await runModule(sources, script, { env: { LD_LIBRARY_PATH: folder } });
    expect(stdout, stderr).toBe("swiftshader swiftshader 3,4\n");
    expect(code).toBe(0);
  });

  it("has no hardware adapter, and is told why and what to do", async () => {
    const script = `${OPEN} await openDevice({ adapter: "hardware" }).catch((error) => console.log(error.name, error.message, "|", error.hint));`;
    const { code, stdout } = await runModule(sources, script, { env: NO_DRIVER });
    expect(stdout).toMatch(
      /^BackendUnavailableError (this machine shows no GPU|there is no WebGPU adapter that fits "hardware"; system: Dawn finds no).*\| .*apt-get install/,
    );
    expect(code).toBe(0);
  });
});

describe("unpacking SwiftShader", () => {
  it("by many processes at once gives each a whole driver, and leaves one folder", async () => {
    const TMPDIR = await freshTmp();
    const script = `${OPEN} const device = await openDevice({ adapter: "swiftshader" }); ${ROUND_TRIP} await device.destroy();`;
    const results = await Promise.all([1, 2, 3, 4].map(() => runModule(sources, script, { env: { ...NO_DRIVER, TMPDIR } })));
    for (const { stdout, stderr } of results) expect(stdout, stderr).toBe("swiftshader swiftshader 3,4\n");
    expect((await readdir(TMPDIR)).filter((name) => name.startsWith("dawngrad-"))).toHaveLength(1);
  });

  it("mends a folder that lost a file", async () => {
    const TMPDIR = await freshTmp();
    const script = `import { prepareSwiftShader } from "./backend/webgpu/software-driver.js";
      const { folder } = await prepareSwiftShader(); console.log(folder);`;
    const first = await runModule(sources, script, { env: { TMPDIR } });
    const folder = first.stdout.trim();
    await rm(join(folder, "libvk_swiftshader.so"));
    const second = await runModule(sources, script, { env: { TMPDIR } });
    expect(second.stdout.trim()).toBe(folder);
    expect((await readdir(folder)).sort()).toEqual(["libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json"]);
    expect(await readdir(TMPDIR)).toHaveLength(1);
  });
});

describe("a process", () => {
  it("ends by itself after destroy", async () => {
    const { code, signal } = await runModule(sources, `${OPEN} const device = await openDevice(); ${ROUND_TRIP} await device.destroy();`);
    expect({ code, signal }).toEqual({ code: 0, signal: null });
  });

  it("ends by itself when destroy is forgotten", async () => {
    const { code, signal, stdout } = await runModule(sources, `${OPEN} const device = await openDevice(); ${ROUND_TRIP}`);
    expect({ code, signal }).toEqual({ code: 0, signal: null });
    expect(stdout).toContain("3,4");
  });

  it("keeps standard output free of what Dawn has to say", async () => {
    const script = `${OPEN} const device = await openDevice();
      device.gpu.createBuffer({ size: 16, usage: 0x1 | 0x80 });
      device.compile("broken", "fn main() { return 1; }");
      const failure = await device.drain().catch((error) => error);
      console.log(JSON.stringify({ name: failure.name, count: device.errorCount }));
      await device.destroy();`;
    const { code, stdout } = await runModule(sources, script);
    expect(stdout).toBe('{"name":"DeviceError","count":1}\n');
    expect(code).toBe(0);
  });

  it("can collect garbage while a device lives", async () => {
    const script = `${OPEN} import { setFlagsFromString } from "node:v8"; import { runInNewContext } from "node:vm";
      setFlagsFromString("--expose-gc"); const gc = runInNewContext("gc");
      const device = await openDevice();
      for (let i = 0; i < 5; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
      ${ROUND_TRIP} await device.destroy(); gc();`;
    const { code, stdout } = await runModule(sources, script);
    expect(stdout).toContain("3,4");
    expect(code).toBe(0);
  });
});

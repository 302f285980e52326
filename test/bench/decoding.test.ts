import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { load, runBench } from "./load.js";

interface Size {
  readonly dtype: string;
  readonly label: string;
  readonly argumentsFor: () => readonly string[];
}
interface Round {
  readonly cases: Readonly<Record<string, readonly number[]>>;
  readonly texts: Readonly<Record<string, readonly number[]>>;
  readonly peakBytes: number;
  readonly weightBytes?: number;
  readonly copies?: readonly number[];
  readonly copiedBytes?: number;
}
interface Row {
  readonly memcpy: number;
  readonly agree: boolean;
  readonly libraries: readonly {
    readonly name: string;
    readonly equal: readonly number[];
    readonly cases: readonly { readonly kind: string; readonly timeOfDawngrad: number }[];
  }[];
}
interface Decoding {
  readonly decodingSizes: (options: { weights?: string; fillings?: string; backend: string }, folder: string) => Size[];
  readonly modelFolder: (options: { models?: string }) => {
    folder: string;
    make: (sizes: readonly Size[]) => Promise<void>;
    remove: () => void;
  };
  readonly decodingReport: (
    measured: readonly { size: Size; outcomes: readonly { name: string; results: readonly Round[]; failure?: string }[] }[],
  ) => { readonly results: { readonly rows: readonly Row[]; readonly agree: boolean }; readonly text: string };
}
const decoding = await load<Decoding>("compare/decoding.mjs");

const round = (prefill: number, step: number, text: readonly number[]): Round => ({
  cases: { "prefill 64": [prefill], "decoding 64": [step, step, 9 * step] },
  texts: { 64: text },
  peakBytes: 2 ** 20,
});

describe("the comparison of decoding", () => {
  it("has a size for each dtype of the weights that a backend has", () => {
    expect(decoding.decodingSizes({ backend: "wasm" }, "m").map(({ dtype }) => dtype)).toEqual(["f32", "bf16"]);
    expect(decoding.decodingSizes({ backend: "webgpu" }, "m").map(({ dtype }) => dtype)).toEqual(["f32"]);
    const [size] = decoding.decodingSizes({ backend: "wasm", weights: "f16", fillings: "8" }, "m");
    expect(size?.argumentsFor()).toEqual(["--model", join("m", "f16.gguf"), "--fillings", "8"]);
    expect(() => decoding.decodingSizes({ backend: "wasm", weights: "q4" }, "m")).toThrow("--weights q4");
  });

  it("counts tokens and bytes per second, and how far texts are the same", () => {
    const [size] = decoding.decodingSizes({ backend: "wasm", weights: "f32" }, "m") as [Size];
    const own = { ...round(64, 10, [1, 2, 3]), weightBytes: 4e8, copies: [10], copiedBytes: 5e8 };
    const outcomes = [
      { name: "dawngrad", results: [own] },
      { name: "llama.cpp", results: [round(32, 8, [1, 2, 4])] },
    ];
    const { results, text } = decoding.decodingReport([{ size, outcomes }]);
    expect(results.rows[0]?.memcpy).toBe(50);
    expect(results.rows[0]?.libraries[1]?.equal).toEqual([2]);
    expect(results.rows[0]?.libraries[1]?.cases.map(({ timeOfDawngrad }) => timeOfDawngrad)).toEqual([0.5, 0.8]);
    expect(text).toMatch(/decoding 64, dawngrad +10\.0 \(10\.0–10\.0\) +10\.0 +100 +1\.00 +40\.0/);
    expect(text).toMatch(/prefill 64, llama\.cpp .* 2000 +0\.50/);
    expect(results.agree).toBe(true);
    const other = decoding.decodingReport([
      { size, outcomes: [outcomes[0] as never, { name: "llama.cpp", results: [round(32, 8, [7])] }] },
    ]);
    expect(other.results.agree).toBe(false);
  });

  it("takes models that are there, and leaves a folder that was named", async () => {
    const folder = mkdtempSync(join(tmpdir(), "dawngrad-bench-"));
    try {
      writeFileSync(join(folder, "f32.gguf"), "");
      const models = decoding.modelFolder({ models: folder });
      await models.make(decoding.decodingSizes({ backend: "wasm", weights: "f32" }, folder));
      models.remove();
      expect(readdirSync(folder)).toEqual(["f32.gguf"]);
      const own = decoding.modelFolder({});
      own.remove();
      expect(existsSync(own.folder)).toBe(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("refuses weights that there are none of", async () => {
    const { code, stderr } = await runBench("compare.mjs", "--only", "decoding", "--weights", "q4", "--peers", "dawngrad");
    expect(code).toBe(2);
    expect(stderr).toContain("--weights q4: there are f32, f16, bf16");
  });
});

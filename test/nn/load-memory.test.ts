import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { llamaShapes } from "../../src/nn/config.js";
import { toHfConfig } from "../../src/nn/config-json.js";
import { type CompiledSources, compileSources, runModule } from "../support/compiled.js";
import { tinyConfig } from "./tiny.js";

/** 104 MB in bf16. */
const config = {
  ...tinyConfig,
  ...{ vocab_size: 40_000, hidden_size: 512, intermediate_size: 2048, num_hidden_layers: 2 },
  ...{ num_attention_heads: 8, num_key_value_heads: 4, head_dim: 64, max_position_embeddings: 1024 },
};

let sources: CompiledSources;
let folder: string;
let bytes = 0;

beforeAll(async () => {
  sources = await compileSources();
  folder = await mkdtemp(join(tmpdir(), "dawngrad-load-"));
  await writeFile(join(folder, "config.json"), JSON.stringify(toHfConfig(config)));
  const header: Record<string, object> = {};
  for (const [name, shape] of llamaShapes(config)) {
    const begin = bytes;
    bytes += shape.reduce((product, extent) => product * extent, 2);
    header[name] = { dtype: "BF16", shape, data_offsets: [begin, bytes] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  const file = await open(join(folder, "model.safetensors"), "w");
  await file.write(length);
  await file.write(text);
  // Zeros, which file systems need not store.
  await file.truncate(8 + text.length + bytes);
  await file.close();
}, 120_000);
afterAll(async () => {
  await sources.remove();
  await rm(folder, { recursive: true, force: true });
});

describe("a process that loads a model", { timeout: 120_000 }, () => {
  it.each([
    ["stored", 1],
    ["f32", 2],
    ["f16", 1],
  ] as const)("as %s takes a tenth more than the weights on the device and 64 MiB at most", async (dtype, factor) => {
    expect(bytes).toBeGreaterThan(90e6);
    const { code, stdout, stderr } = await runModule(
      sources,
      `import { init, loadModel, memory } from "./index.js";
       await init({ backend: "wasm", threads: 2 });
       const before = process.memoryUsage().rss;
       const model = await loadModel(${JSON.stringify(folder)}, { dtype: ${JSON.stringify(dtype)} });
       console.log(JSON.stringify({ grown: 1024 * process.resourceUsage().maxRSS - before, live: memory().liveBytes, layers: model.model.layers.length }));
       process.exit(0);`,
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { grown, live } = JSON.parse(stdout) as { grown: number; live: number };
    expect(live).toBe(factor * bytes);
    expect(grown).toBeGreaterThan(0.9 * live);
    expect(grown).toBeLessThanOrEqual(1.1 * live + 64 * 2 ** 20);
  });
});

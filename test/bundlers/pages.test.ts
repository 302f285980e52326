import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { launchChromium } from "../support/chromium.js";
import { serveFolder } from "../support/file-server.js";
import { type Bundled, bundlers, serveWithVite, writePage } from "./bundle.js";

const { folder } = inject("installation");

/** Fits y = 2x + 1 by one compiled step, and computes a loss of a Llama, on whatever backend it is told. */
const training = `
import { adamw, compile, grad, init, key, Llama, llamaConfig, realize, tensor } from "dawngrad";

globalThis.train = async (options) => {
  const backend = await init(options);
  const x = tensor([[0], [1], [2], [3]]);
  const y = tensor([[1], [3], [5], [7]]);
  const optimizer = adamw({ weightDecay: 0 });
  const loss = ({ w, b }) => x.matmul(w).add(b).sub(y).square().mean();
  const step = compile((params, state, lr) => optimizer.update(params, grad(loss)(params), state, { lr }));
  let params = { w: tensor([[0]]), b: tensor([0]) };
  let state = optimizer.init(params);
  const first = await loss(params).item();
  for (let i = 0; i < 20; i++) [params, state] = step(params, state, 0.1);
  await realize(params);
  const last = await loss(params).item();
  const { name, adapter } = backend.info;
  await backend.close();
  return { name, adapter, first, last };
};
globalThis.modelOf = (width) =>
  new Llama(llamaConfig({ vocab_size: 16, hidden_size: width, intermediate_size: width, num_hidden_layers: 1, num_attention_heads: 2 }), { key: key(0) });
`;

interface Trained {
  readonly name: string;
  readonly adapter: string;
  readonly first: number;
  readonly last: number;
}

let browser: Browser;
beforeAll(async () => {
  browser = await launchChromium();
}, 120_000);
afterAll(async () => browser?.close());

/** Trains on every backend in a page of this address, which must complain of nothing. */
async function expectTraining(origin: string): Promise<void> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  try {
    await page.goto(origin);
    await page.waitForFunction("globalThis.train !== undefined");
    const train = (options: object): Promise<Trained> => page.evaluate<Trained>(`train(${JSON.stringify(options)})`);
    const losses = { first: 21, last: expect.closeTo(0.2211, 3) };
    for (const threads of [1, 2]) {
      const adapter = expect.stringContaining(threads === 1 ? "1 thread" : "2 threads");
      expect(await train({ backend: "wasm", threads })).toMatchObject({ name: "wasm", adapter, ...losses });
    }
    for (const backend of ["webgpu", "reference"]) expect(await train({ backend })).toMatchObject({ name: backend, ...losses });
    expect(complaints).toEqual([]);
  } finally {
    await page.close();
  }
}

describe.each(bundlers)("a page that $name bundled", { timeout: 120_000 }, ({ name, bundle }) => {
  let bundled: Bundled;
  beforeAll(async () => {
    bundled = await bundle(await writePage(folder, `page-${name}`, training));
  }, 120_000);

  it("was bundled without a word of warning", () => expect(bundled.warnings).toEqual([]));

  it("trains on threads of the processor and on WebGPU, and complains of nothing", async () => {
    const server = await serveFolder(bundled.folder);
    await expectTraining(server.origin).finally(() => server.close());
  });
});

it("a page that Vite serves while it is written trains as well", { timeout: 120_000 }, async () => {
  const server = await serveWithVite(await writePage(folder, "page-served", training));
  await expectTraining(server.origin).finally(() => server.close());
  expect(server.warnings).toEqual([]);
});

// webpack keeps the same, but its minifier takes ten times as long as the others.
const quick = bundlers.filter(({ name }) => name !== "webpack");

describe.each(quick)("what $name keeps of the library", { timeout: 120_000 }, ({ name, bundle }) => {
  /** Bytes under gzip of all that a page may load, every backend included, and the text of it. */
  async function weigh(main: string, of: string): Promise<{ bytes: number; text: string }> {
    const { folder: output } = await bundle(await writePage(folder, `weight-${name}-${of}`, main));
    const files = (await readdir(output, { recursive: true })).filter((file) => file.endsWith(".js"));
    const texts = await Promise.all(files.map((file) => readFile(join(output, file), "utf8")));
    return { bytes: texts.reduce((sum, text) => sum + gzipSync(text).length, 0), text: texts.join("\n") };
  }

  it("is less where less is used", async () => {
    const little = await weigh('import { init, tensor } from "dawngrad"; globalThis.use = [init, tensor];', "little");
    const everything = await weigh('import * as all from "dawngrad"; globalThis.use = Object.values(all);', "everything");
    expect(little.bytes).toBeLessThan(0.85 * everything.bytes);
    for (const word of ["safetensors", "original_max_position_embeddings"]) {
      expect(everything.text).toContain(word);
      expect(little.text).not.toContain(word);
    }
  });
});

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launchChromium } from "../support/chromium.js";
import { type ModuleServer, serveModules } from "../support/module-server.js";

const base = "default-src 'none'; connect-src 'self'; script-src 'self'";
const settings = {
  isolated: { isolated: true },
  plain: { isolated: false },
  withoutWasm: { isolated: true, policy: `${base}; worker-src blob:` },
  withoutWorkers: { isolated: true, policy: `${base} 'wasm-unsafe-eval'; worker-src 'self'` },
  withBoth: { isolated: true, policy: `${base} 'wasm-unsafe-eval'; worker-src blob:` },
} as const;

/** How an `init` ended. */
interface Started {
  readonly name?: string;
  readonly threads?: number;
  readonly adapter?: string;
  readonly passedOver?: readonly string[];
  readonly sum?: number;
  readonly error?: string;
  readonly hint?: string;
}

describe("a page", { timeout: 120_000 }, () => {
  let browser: Browser;
  const open: (Page | ModuleServer)[] = [];
  beforeAll(async () => {
    browser = await launchChromium();
  }, 120_000);
  afterAll(async () => {
    for (const one of open) await one.close();
    await browser?.close();
  });

  async function pageOf(name: keyof typeof settings): Promise<Page> {
    const server = await serveModules(settings[name]);
    const page = await browser.newPage();
    open.push(page, server);
    await page.goto(server.origin);
    return page;
  }
  /** Starts a backend and computes with it. */
  const start = (page: Page, options: string): Promise<Started> =>
    page.evaluate(`(async () => {
      const { init, tensor } = await import("/src/index.js");
      try {
        const { info, close } = await init(${options});
        const { name, threads, adapter, passedOver } = info;
        return { name, threads, adapter, passedOver, sum: await tensor([1, 2, 3]).mul(2).sum().item() };
      } catch (error) {
        return { error: error.name + ": " + error.message, hint: error.hint };
      }
    })()`);

  it("that shares memory has as many threads as it asks for, and info says how many", async () => {
    for (const name of ["isolated", "withBoth"] as const) {
      const page = await pageOf(name);
      expect(await start(page, "{ threads: 3 }")).toMatchObject({ name: "wasm", threads: 3, sum: 12 });
      expect(await start(page, '{ backend: "wasm", threads: 1 }')).toMatchObject({ threads: 1, sum: 12 });
      expect(await start(page, '{ backend: "webgpu", threads: 2 }')).toMatchObject({ error: expect.stringMatching(/^OptionError/) });
    }
  });

  it("that is not isolated has one thread and says why, and is refused more", async () => {
    const page = await pageOf("plain");
    const found = await start(page, '{ backend: "wasm" }');
    expect(found).toMatchObject({ name: "wasm", threads: 1, sum: 12 });
    expect(found.adapter).toMatch(/1 thread \(.*isolated from other origins/);
    expect(await start(page, "{ threads: 2 }")).toMatchObject({
      error: expect.stringMatching(/^BackendUnavailableError: 2 threads cannot be had/),
      hint: expect.stringMatching(/Cross-Origin-Opener-Policy/),
    });
    expect(await start(page, "{ threads: 1 }")).toMatchObject({ threads: 1, sum: 12 });
  });

  it("whose policy forbids workers from blobs has one thread and says why, and is refused more", async () => {
    const page = await pageOf("withoutWorkers");
    const found = await start(page, '{ backend: "wasm" }');
    expect(found).toMatchObject({ name: "wasm", threads: 1, sum: 12 });
    expect(found.adapter).toMatch(/1 thread \(.*content security policy/);
    expect(await start(page, "{ threads: 2 }")).toMatchObject({
      error: expect.stringMatching(/^BackendUnavailableError: 2 threads cannot be had/),
      hint: expect.stringMatching(/worker-src blob:/),
    });
  });

  it("whose policy forbids WebAssembly is told so, and init() passes it over with a word", async () => {
    const page = await pageOf("withoutWasm");
    expect(await start(page, '{ backend: "wasm" }')).toMatchObject({
      error: expect.stringMatching(/^BackendUnavailableError: WebAssembly may not be compiled here/),
      hint: expect.stringMatching(/wasm-unsafe-eval/),
    });
    const found = await start(page, "");
    expect(found).toMatchObject({ name: "reference", threads: 1, sum: 12 });
    expect(found.passedOver?.join()).toMatch(/wasm: WebAssembly may not be compiled/);
  });

  it("loads a model from an address, from chosen files and from Blobs, and saves what it loaded", async () => {
    const page = await pageOf("plain");
    const found = await page.evaluate<{ same: boolean[]; names: string[]; refused: string[] }>(`(async () => {
      const { init, loadModel, modelBlobs, tensorsOf } = await import("/src/index.js");
      await init({ backend: "wasm" });
      const valuesOf = async (model) => JSON.stringify(await Promise.all(tensorsOf(model).map(async ({ path, tensor }) => [path, [...(await tensor.data())]])));
      const model = await loadModel("/test/golden/llama");
      const expected = await valuesOf(model);
      const blobs = await modelBlobs(model);
      const chosen = new DataTransfer();
      for (const [name, blob] of Object.entries(blobs)) chosen.items.add(new File([blob], name));
      const models = [
        await loadModel(new URL("/test/golden/llama/", location.href)),
        await loadModel("test/golden/llama"),
        await loadModel(blobs),
        await loadModel(chosen.files),
        await loadModel([...chosen.files]),
        await loadModel({ "config.json": await blobs["config.json"].text(), "model.safetensors": new Uint8Array(await blobs["model.safetensors"].arrayBuffer()) }),
      ];
      const same = [];
      for (const one of models) same.push((await valuesOf(one)) === expected);
      const failure = (promise) => promise.then(() => "nothing", (error) => error.name + ": " + error.message);
      const { saveModel } = await import("/src/index.js");
      const refused = [await failure(loadModel("/nowhere")), await failure(saveModel("folder", model)), await failure(loadModel(chosen.files[0]))];
      return { same, names: Object.keys(blobs).sort(), refused };
    })()`);
    expect(found.same).toEqual([true, true, true, true, true, true]);
    expect(found.names).toEqual(["config.json", "model.safetensors"]);
    expect(found.refused[0]).toMatch(/^FormatError: .*\/nowhere\/config.json: there is no such file/);
    expect(found.refused[1]).toMatch(/^UsageError/);
    expect(found.refused[2]).toMatch(/^OptionError/);
  });
});

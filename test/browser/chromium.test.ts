import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { useBackend } from "../../src/index.js";
import { launchChromium } from "../support/chromium.js";
import { type ModuleServer, serveModules } from "../support/module-server.js";
import { browserGradient } from "../support/tolerances.js";
import { type DonatingRun, lossAndGradients, type TinyRun } from "./tiny-run.js";

const norm = (values: readonly number[]): number => Math.hypot(...values);

describe("in a page of headless Chromium", { timeout: 120_000 }, () => {
  let server: ModuleServer;
  let browser: Browser;
  let page: Page;
  const requested: string[] = [];
  const complaints: string[] = [];
  beforeAll(async () => {
    server = await serveModules();
    browser = await launchChromium();
    page = await browser.newPage();
    page.on("request", (request) => requested.push(request.url()));
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
    });
    await page.goto(server.origin);
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  /** Runs a module's text in the page; it may import what the server has. */
  const inPage = <T>(body: string): Promise<T> => page.evaluate<T>(`(async () => { ${body} })()`);

  it("init() takes wasm where the adapter is software, and WebGPU when asked, from modules that no bundler touched", async () => {
    const found = await inPage(`
      const { init } = await import("/src/index.js");
      const best = await init();
      await best.close();
      const { info } = await init({ backend: "webgpu" });
      return [best.info.name, { name: info.name, adapter: info.adapter, software: info.software }];`);
    expect(found).toEqual(["wasm", { name: "webgpu", adapter: expect.stringMatching(/swiftshader/i), software: true }]);
  });

  it("the loss of a tiny Llama and every gradient agree with the reference in Node", async () => {
    const found = await inPage<TinyRun>(`
      const { lossAndGradients } = await import("/test/browser/tiny-run.js");
      return lossAndGradients();`);
    useBackend(createReferenceBackend());
    const expected = await lossAndGradients();
    useBackend(undefined);
    expect(Math.abs(found.loss / expected.loss - 1)).toBeLessThan(browserGradient);
    expect(Object.keys(found.gradients)).toEqual(Object.keys(expected.gradients));
    expect(Object.keys(found.gradients).length).toBeGreaterThan(20);
    for (const [path, wanted] of Object.entries(expected.gradients)) {
      const got = found.gradients[path] as readonly number[];
      expect(got.length, path).toBe(wanted.length);
      expect(norm(wanted), path).toBeGreaterThan(0);
      expect(norm(wanted.map((value, i) => value - (got[i] as number))) / norm(wanted), path).toBeLessThan(browserGradient);
    }
  });

  it("donation works in place, refuses what was given away, and takes flat memory", async () => {
    const { last, refusal, early, late } = await inPage<DonatingRun>(`
      const { countByDonation } = await import("/test/browser/tiny-run.js");
      return countByDonation();`);
    expect(last).toEqual([11.5, 11.5]);
    expect(refusal).toMatch(/^UsageError: .*countUp\(\)/);
    expect(early.bytes).toBeGreaterThanOrEqual(4000);
    expect(late).toEqual(early);
  });

  it("a backend that is not there is refused by name, and a wrong adapter with a hint for browsers", async () => {
    const found = await inPage<string[]>(`
      const { init } = await import("/src/index.js");
      const failure = (promise) => promise.then(() => "nothing", (error) => error.name + ": " + error.hint);
      return [await failure(init({ backend: "cuda" })), await failure(init({ adapter: "no such adapter" }))];`);
    expect(found[0]).toMatch(/^OptionError/);
    expect(found[1]).toMatch(/^BackendUnavailableError: use a browser with WebGPU/);
  });

  it("nothing was asked of any other machine, and nothing complained", () => {
    expect(requested.length).toBeGreaterThan(20);
    expect(requested.filter((url) => !url.startsWith(`${server.origin}/`))).toEqual([]);
    expect(complaints).toEqual([]);
  });
});

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launchChromium } from "../support/chromium.js";
import { type ModuleServer, serveModules } from "../support/module-server.js";
import { browserGradient } from "../support/tolerances.js";
import { type WasmRun, wasmRun } from "./wasm-run.js";

const norm = (values: readonly number[]): number => Math.hypot(...values);

describe("the wasm backend in headless Chromium", { timeout: 60_000 }, () => {
  let browser: Browser;
  let expected: WasmRun;
  beforeAll(async () => {
    browser = await launchChromium();
    expected = await wasmRun({ threads: 1 });
  }, 120_000);
  afterAll(async () => browser?.close());

  const pages = [
    { name: "on a page that is isolated from other origins", isolated: true, threads: 3, adapter: "3 threads" },
    { name: "on a page that is not isolated", isolated: false, threads: 1, adapter: "1 thread" },
  ] as const;
  describe.each(pages)("$name", ({ isolated, threads, adapter }) => {
    let server: ModuleServer;
    let page: Page;
    const complaints: string[] = [];
    beforeAll(async () => {
      server = await serveModules({ isolated });
      page = await browser.newPage();
      page.on("pageerror", (error) => complaints.push(error.message));
      page.on("console", (message) => {
        if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
      });
      await page.goto(server.origin);
    });
    afterAll(async () => {
      await page?.close();
      await server?.close();
    });

    function check(found: WasmRun): void {
      expect(found.adapter).toContain(adapter);
      expect({ isolated: found.isolated, canShare: found.canShare, met: found.met }).toEqual({
        isolated,
        canShare: isolated,
        met: threads,
      });
      expect(Math.abs(found.loss / expected.loss - 1)).toBeLessThan(browserGradient);
      expect(Object.keys(found.gradients)).toEqual(Object.keys(expected.gradients));
      expect(Object.keys(found.gradients).length).toBeGreaterThan(20);
      for (const [path, wanted] of Object.entries(expected.gradients)) {
        const got = found.gradients[path] as readonly number[];
        expect(got.length, path).toBe(wanted.length);
        expect(norm(wanted), path).toBeGreaterThan(0);
        expect(norm(wanted.map((value, i) => value - (got[i] as number))) / norm(wanted), path).toBeLessThan(browserGradient);
      }
      expect(found.sums).toEqual(Array.from({ length: 20 }, (_, i) => 65_536 * (i + 1)));
      expect(found.waited > 100).toBe(isolated);
      expect(found.refusal).toBe("UsageError");
    }

    /** More threads than one cannot be had everywhere, and are asked for only where they can. */
    const asked = isolated ? { threads, chunks: "finest" } : { chunks: "finest" };

    it(`has the loss and the gradients of Node, though the thread of a page may not sleep`, async () => {
      const found = await page.evaluate<WasmRun>(`
        import("/test/browser/wasm-run.js").then(({ wasmRun }) => wasmRun(${JSON.stringify(asked)}))`);
      check(found);
      expect(found.maySleep).toBe(false);
    });

    // Where there are threads, as pages have them that compute in a worker.
    if (isolated)
      it("has them in a worker of the page as well", async () => {
        const answer = await page.evaluate<{ run?: WasmRun; error?: string }>(`new Promise((resolve) => {
        const worker = new Worker("/test/browser/wasm-worker.js", { type: "module" });
        worker.onerror = (event) => resolve({ error: event.message ?? "the worker did not start" });
        worker.onmessage = ({ data }) => { worker.terminate(); resolve(data); };
        worker.postMessage(${JSON.stringify(asked)});
      })`);
        expect(answer.error).toBeUndefined();
        check(answer.run as WasmRun);
        expect(answer.run?.maySleep).toBe(isolated);
      });

    it("starts and ends many times without a complaint of the page", async () => {
      const adapters = await page.evaluate<string[]>(`(async () => {
        const { init, tensor } = await import("/src/index.js");
        const found = [];
        for (let i = 0; i < 5; i++) {
          const backend = await init(${JSON.stringify(isolated ? { threads } : { backend: "wasm" })});
          found.push(backend.info.adapter + ": " + (await tensor([1, 2, 3]).mul(2).sum().item()));
          await backend.close();
        }
        return found;
      })()`);
      expect(new Set(adapters).size).toBe(1);
      expect(adapters[0]).toContain(adapter);
      expect(adapters[0]).toMatch(/: 12$/);
      expect(complaints).toEqual([]);
    });
  });
});

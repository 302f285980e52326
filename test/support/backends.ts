import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { createRoundingBackend } from "./rounding-backend.js";

/** A backend, or a way of setting one up, that the conformance suite holds against the reference. */
export interface BackendVariant {
  readonly name: string;
  /** Makes a backend of its own; it throws, and the suite fails, where the backend cannot run. */
  readonly create: () => Promise<Backend>;
  /** Run one of every n generated cases only, for variants that are slow. 1 runs all. */
  readonly stride: number;
  /** Random graphs to run. */
  readonly graphs: number;
}

const main: readonly BackendVariant[] = [
  { name: "reference", create: async () => createReferenceBackend(), stride: 1, graphs: 100 },
  { name: "reference rounded to f32", create: async () => createRoundingBackend(), stride: 1, graphs: 100 },
  { name: "wasm", create: () => createWasmBackend({ threads: 2, poison: true }), stride: 1, graphs: 100 },
  { name: "webgpu", create: () => createWebGpuBackend(), stride: 6, graphs: 16 },
];

const others: readonly BackendVariant[] = [
  {
    name: "wasm on three threads, in the smallest chunks",
    create: () => createWasmBackend({ threads: 3, chunks: "finest", poison: true }),
    stride: 2,
    graphs: 100,
  },
  { name: "wasm on one thread", create: () => createWasmBackend({ threads: 1 }), stride: 1, graphs: 100 },
  {
    name: "wasm by definition",
    create: () => createWasmBackend({ threads: 2, kernels: "definitions", poison: true }),
    stride: 1,
    graphs: 100,
  },
  { name: "webgpu with GPU kernels", create: () => createWebGpuBackend({ kernelClass: "gpu" }), stride: 24, graphs: 6 },
  { name: "webgpu with software kernels", create: () => createWebGpuBackend({ kernelClass: "software" }), stride: 48, graphs: 4 },
  { name: "webgpu by definition", create: () => createWebGpuBackend({ kernels: "definitions" }), stride: 48, graphs: 8 },
  {
    name: "webgpu at default limits, in poisoned memory",
    create: () => createWebGpuBackend({ defaultLimits: true, poison: true }),
    stride: 24,
    graphs: 6,
  },
];

/** Every backend that this machine must pass. */
export const backends = (): readonly BackendVariant[] => main;

/** The backends that users have. */
export const usedBackends = (): readonly BackendVariant[] => main.filter(({ name }) => name !== "reference rounded to f32");

/** Every backend, and WebGPU set up in every way: both classes of kernels, fused and not, at limits that all devices have. */
export const backendVariants = (): readonly BackendVariant[] => [...main, ...others];

/** One of every `stride` entries, at a place that moves from group to group, so that no regular pattern is missed. */
export const thinned = <T>(list: readonly T[], stride: number): T[] => list.filter((_, i) => (i + Math.floor(i / stride)) % stride === 0);

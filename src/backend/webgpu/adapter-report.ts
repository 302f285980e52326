import type { DawnAdapter, DawnSource } from "./dawn.js";

/** Where an adapter comes from: the system's drivers, the SwiftShader of a package, the browser, or Dawn's null backend. */
export type AdapterSource = DawnSource | "browser";

/** A shape of matrix product C[M, N] += A[M, K]·B[K, N] that the hardware has an instruction for. */
export interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** What is known of an adapter. */
export interface AdapterReport {
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** The native interface: "vulkan", "metal", "d3d12", "null"; "browser" where the browser does not tell. */
  readonly backend: string;
  /** True where a processor does the work. */
  readonly software: boolean;
  readonly features: readonly string[];
  /** The limits that matter for compute. */
  readonly limits: Readonly<Record<string, number>>;
  /** Smallest and largest subgroup, where the adapter tells. */
  readonly subgroupSizes: readonly [min: number, max: number] | undefined;
  readonly subgroupMatrixConfigs: readonly SubgroupMatrixConfig[];
  readonly source: AdapterSource;
}

const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxUniformBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxUniformBuffersPerShaderStage",
  "maxBindingsPerBindGroup",
  "maxBindGroups",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
  "minStorageBufferOffsetAlignment",
  "minUniformBufferOffsetAlignment",
] as const;

/** What an adapter tells of itself, and whether a processor does its work. */
export function describeAdapter({ backend, name, adapter }: DawnAdapter, source: AdapterSource): AdapterReport {
  const info = adapter.info as GPUAdapterInfo & { readonly subgroupMatrixConfigs?: Iterable<SubgroupMatrixConfig> };
  const limits: Record<string, number> = {};
  for (const limit of LIMITS) limits[limit] = adapter.limits[limit];
  const { vendor, architecture, device, description, subgroupMinSize, subgroupMaxSize } = info;
  return {
    name,
    vendor,
    architecture,
    device,
    description,
    backend,
    software: info.isFallbackAdapter === true || /^(software|swiftshader)$/.test(architecture) || /llvmpipe|swiftshader/i.test(name),
    features: [...adapter.features].sort(),
    limits,
    subgroupSizes: subgroupMaxSize > 0 ? [subgroupMinSize, subgroupMaxSize] : undefined,
    subgroupMatrixConfigs: [...(info.subgroupMatrixConfigs ?? [])].map(({ componentType, resultComponentType, M, N, K }) => ({
      componentType,
      resultComponentType,
      M,
      N,
      K,
    })),
    source,
  };
}

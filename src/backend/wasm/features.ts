import { isNode, nodeModule } from "../../platform/node.js";

/** What WebAssembly can do in this process. */
export interface WasmSurvey {
  /** 128-bit vectors, without which there is no wasm backend. */
  readonly simd: boolean;
  /** Relaxed SIMD: multiply and add in one rounding. */
  readonly relaxedSimd: boolean;
  /** Whether threads can share memory; without, there is one thread. */
  readonly sharedMemory: boolean;
  readonly processors: number;
  /** Threads that the backend takes when it is not told how many. */
  readonly threads: number;
}

/** Looks at the engine and the machine; compiles and starts nothing. */
export async function surveyWasm(): Promise<WasmSurvey> {
  return {
    simd: hasSimd(),
    relaxedSimd: hasRelaxedSimd(),
    sharedMemory: canShare(),
    processors: await processorCount(),
    threads: await threadCount(),
  };
}

const mostThreads = 16;

/** Threads for a backend that was asked for so many: by default one for each processor, sixteen at most; one where memory is not shared. */
export async function threadCount(wanted?: number): Promise<number> {
  return canShare() ? (wanted ?? Math.min(await processorCount(), mostThreads)) : 1;
}

/** Validates a module with one function of this body, which an engine accepts only if it has the feature that the body uses. */
const probe = (body: readonly number[]): boolean =>
  typeof WebAssembly === "object" &&
  WebAssembly.validate(
    Uint8Array.of(
      ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic and version
      ...[1, 5, 1, 0x60, 0, 1, 0x7b], // one type: () → v128
      ...[3, 2, 1, 0], // one function of it
      ...[10, body.length + 4, 1, body.length + 2, 0, ...body, 0x0b],
    ),
  );
/** i32.const 0, i32x4.splat: a vector of zeros. */
const zeros = [0x41, 0, 0xfd, 0x11];

export const hasSimd = (): boolean => probe(zeros);
export const hasRelaxedSimd = (): boolean => probe([...zeros, ...zeros, ...zeros, 0xfd, 0x85, 0x02]); // f32x4.relaxed_madd

/** Whether threads can share memory: always in Node, in browsers on pages that are cross-origin isolated. */
const canShare = (): boolean =>
  typeof SharedArrayBuffer !== "undefined" && (isNode || (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === true);

async function processorCount(): Promise<number> {
  if (!isNode) return globalThis.navigator?.hardwareConcurrency ?? 1;
  const { availableParallelism } = await nodeModule("os");
  return availableParallelism();
}

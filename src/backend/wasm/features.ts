import { BackendUnavailableError } from "../../errors.js";
import { isNode, nodeModule } from "../../platform/node.js";

/** What WebAssembly can do in this process. */
export interface WasmSurvey {
  /** 128-bit vectors, without which there is no wasm backend. */
  readonly simd: boolean;
  /** Relaxed SIMD: multiply and add in one rounding. */
  readonly relaxedSimd: boolean;
  /** Whether threads can share memory; without, there is one thread. */
  readonly sharedMemory: boolean;
  /** Whether a program can use several memories, each of 4 GiB. */
  readonly severalMemories: boolean;
  /** Bytes that the backend holds at most; the machine may have less. */
  readonly memoryBytes: number;
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
    severalMemories: hasSeveralMemories(),
    memoryBytes: await mostBytes(),
    processors: await processorCount(),
    threads: canShare() ? Math.min(await processorCount(), mostThreads) : 1,
  };
}

const mostThreads = 16;

/** What a memory with addresses of 32 bits can hold. */
export const memoryBytes = 2 ** 32;
/** Memories of one backend: for each of them addresses are reserved. */
const mostMemories = 16;
/** Memories where it is not known how much the machine has. */
const someMemories = 4;

/** What all memories of a backend can hold: as much as the machine has, where the engine has several memories. */
export async function mostBytes(): Promise<number> {
  if (!hasSeveralMemories()) return memoryBytes;
  if (!isNode) return someMemories * memoryBytes;
  const { totalmem } = await nodeModule("os");
  return memoryBytes * Math.min(mostMemories, Math.ceil(totalmem() / memoryBytes));
}

/** How to have more than one memory, where the engine has one only. */
export const moreMemory = "Node 22, Chrome 120 and Firefox 125 have WebAssembly with several memories, which hold more than 4 GiB";

/** How many threads a backend gets. */
export interface ThreadPlan {
  readonly count: number;
  /** Why there is but one, where more would have been taken. */
  readonly limit?: string;
}

/**
 * Threads for a backend that was asked for `wanted`: by default one for each processor, sixteen at most, and one where there can be no
 * more. Throws BackendUnavailableError where more than one were asked for and cannot be had.
 */
export async function planThreads(wanted?: number): Promise<ThreadPlan> {
  const count = wanted ?? Math.min(await processorCount(), mostThreads);
  if (count === 1) return { count };
  const obstacle = canShare() ? await workerObstacle() : unshared;
  if (obstacle === undefined) return { count };
  if (wanted === undefined) return { count: 1, limit: obstacle.what };
  throw new BackendUnavailableError(`${wanted} threads cannot be had: ${obstacle.what}`, {
    hint: `${obstacle.hint}, or leave threads out`,
  });
}

interface Obstacle {
  readonly what: string;
  readonly hint: string;
}

const unshared: Obstacle = {
  what: "threads share memory on pages alone that are isolated from other origins",
  hint: "serve the page with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp",
};

/** Milliseconds within which a worker answers, on any machine. */
const answerTime = 20_000;

/** What keeps a page from starting the workers of the thread pool, found out by starting one; undefined where nothing does. */
async function workerObstacle(): Promise<Obstacle | undefined> {
  if (isNode) return undefined;
  const forbidden: Obstacle = {
    what: "this page may start no workers from blobs, which its content security policy must allow",
    hint: 'add "worker-src blob:" to the content security policy',
  };
  const url = URL.createObjectURL(new Blob(["postMessage(0)"], { type: "text/javascript" }));
  let worker: Worker | undefined;
  try {
    const probe = new Worker(url);
    worker = probe;
    const answered = await new Promise<boolean>((resolve) => {
      probe.onmessage = () => resolve(true);
      probe.onerror = (event) => {
        event.preventDefault();
        resolve(false);
      };
      setTimeout(() => resolve(false), answerTime);
    });
    return answered ? undefined : forbidden;
  } catch {
    return forbidden;
  } finally {
    worker?.terminate();
    URL.revokeObjectURL(url);
  }
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
/** Whether a module may have two memories. */
export const hasSeveralMemories = (): boolean =>
  typeof WebAssembly === "object" &&
  WebAssembly.validate(
    Uint8Array.of(
      ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic and version
      ...[5, 5, 2, 0, 1, 0, 1], // two memories of one page
    ),
  );

/** Whether threads can share memory: always in Node, in browsers on pages that are cross-origin isolated. */
const canShare = (): boolean =>
  typeof SharedArrayBuffer !== "undefined" && (isNode || (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === true);

async function processorCount(): Promise<number> {
  if (!isNode) return globalThis.navigator?.hardwareConcurrency ?? 1;
  const { availableParallelism } = await nodeModule("os");
  return availableParallelism();
}

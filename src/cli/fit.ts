/** Refuses sizes that no machine here can hold, in the words of the command and before anything is allocated. */
import { freemem, totalmem } from "node:os";
import type { BackendInfo } from "../backend/backend.js";
import { hasSeveralMemories } from "../backend/wasm/features.js";
import { OptionError } from "../errors.js";
import { countParameters, type LlamaConfig, type LlamaSizes } from "../nn/config.js";
import { formatBytes } from "./machine.js";
import { formatCount } from "./progress.js";
import type { Unit } from "./units.js";

/** What GPUs have is not told; none has so much. */
const gpuBytes = 2 ** 40;

/** Where numbers are held, and how much of them. */
export interface Room {
  /** "the wasm backend", "this machine" */
  readonly name: string;
  readonly bytes: number;
  /** Bytes of a number: the reference backend computes in f64. */
  readonly numberBytes: number;
  /** Whether `bytes` is what there is: what a GPU has is not told, and none has so much as is taken for it. */
  readonly known: boolean;
  /** The part of the machine's memory that nobody uses at the moment; null where a GPU computes. */
  readonly free: number | null;
  /** What the same machine has with Node 22 or newer; undefined where it is no more. */
  readonly moreBytes?: number;
  /** Bytes that a single tensor may take. */
  readonly tensorBytes: number;
  /** Where tensors are held. */
  readonly holder: string;
}

/** Memory of this process: the machine's, or less where the system limits it. */
export function hostMemory(): number {
  const constrained = process.constrainedMemory?.() ?? 0;
  return constrained > 0 ? Math.min(totalmem(), constrained) : totalmem();
}

/** The part of it that nobody uses at the moment. */
export const freeMemory = (): number => Math.min(process.availableMemory?.() ?? freemem(), hostMemory());

/** The room that a backend has. */
export function roomOf(
  info: Pick<BackendInfo, "name" | "adapter" | "software" | "maxTensorBytes" | "maxBytes">,
  host = hostMemory(),
  severalMemories = hasSeveralMemories(),
): Room {
  const { name, adapter, software, maxTensorBytes: tensorBytes, maxBytes = Number.POSITIVE_INFINITY } = info;
  const numberBytes = name === "reference" ? 8 : 4;
  const common = { numberBytes, tensorBytes, free: freeMemory(), holder: name === "webgpu" ? adapter : `the ${name} backend` };
  if (name === "webgpu" && !software) return { ...common, name: "a GPU", bytes: gpuBytes, known: false, free: null };
  const more = name === "wasm" && !severalMemories ? { moreBytes: host } : {};
  if (maxBytes < host) return { ...common, ...more, name: `the ${name} backend`, bytes: maxBytes, known: true };
  return { ...common, name: "this machine", bytes: host, known: true };
}

/** What there is in a room, in words, with the way to what is needed if a newer engine is one. */
export const has = ({ bytes, moreBytes = 0 }: Room, needed: number): string =>
  `${formatBytes(bytes)}${moreBytes < needed ? "" : ` (with Node 22 or newer it has ${formatBytes(moreBytes)})`}`;

/** Something that takes memory: how much of it at the very least, and which options decide that. */
export interface Need {
  /** "a batch of 1000000 sequences of 128 bytes" */
  readonly what: string;
  /** Numbers on the backend. */
  readonly numbers: number;
  /** Bytes of them where they are not what the backend computes in. */
  readonly bytes?: number;
  /** "a smaller --batch or --length" */
  readonly advice: string;
}

/** Throws OptionError for the first need that, with those before it, is larger than the room. */
export function needRoom(room: Room, needs: readonly Need[]): void {
  let bytes = 0;
  for (const { what, numbers, advice, ...need } of needs) {
    bytes += need.bytes ?? numbers * room.numberBytes;
    if (bytes <= room.bytes) continue;
    throw new OptionError(`${what} needs at least ${formatBytes(bytes)} of memory, and ${room.name} has ${has(room, bytes)}`, {
      hint: `take ${advice}`,
    });
  }
}

/** A model while it is trained: parameters, gradients and the two moments of AdamW. */
export const trainedModel = (config: LlamaSizes, advice = "a smaller --hidden, --intermediate or --layers"): Need => ({
  what: `training a model of ${formatCount(countParameters(config))} parameters`,
  numbers: 4 * countParameters(config),
  advice,
});

/**
 * What no way of computing a batch does without: its tokens and their targets, and for one sequence what each layer begins with and the tables
 * of RoPE.
 */
export const trainedBatch = (config: LlamaSizes, { batch, length, unit }: { batch: number; length: number; unit: Unit }): Need => ({
  what: `a batch of ${batch} ${batch === 1 ? "sequence" : "sequences"} of ${length} ${unit}`,
  numbers: 2 * batch * length + length * (config.num_hidden_layers * config.hidden_size + config.head_dim),
  advice: "a smaller --batch or --length",
});

/** A model that is only read. */
export const readModel = (config: LlamaConfig, bytes: number): Need => ({
  what: `a model of ${formatCount(countParameters(config))} parameters`,
  numbers: countParameters(config),
  bytes,
  advice: "a smaller model, or weights of two bytes: --dtype bf16 or --dtype f16",
});

/** Keys and values of texts that are generated side by side, and their tables of RoPE. */
export const generatedTexts = (
  config: LlamaConfig,
  { rows, length, unit }: { readonly rows: number; readonly length: number; readonly unit: Unit },
): Need => ({
  what: rows === 1 ? `a text of ${length} ${unit}` : `${rows} texts of ${length} ${unit} side by side`,
  numbers: length * config.head_dim * (2 * rows * config.num_hidden_layers * config.num_key_value_heads + 1),
  advice: rows === 1 ? "fewer --tokens" : "a smaller --batch, or fewer --tokens",
});

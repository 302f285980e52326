/** What an evaluation needs of memory, said before its first pass, and which options would make it fit. */
import type { BackendInfo } from "../backend/backend.js";
import { planScoring, type ScoringMemory, type ScoringPlan, scoringMemory } from "../e2llm/scoring.js";
import type { HostTables } from "../nn/batch.js";
import { bytesPerRow } from "../nn/block-reader.js";
import { KeyValueCache } from "../nn/kv-cache.js";
import type { Llama } from "../nn/llama.js";
import { tensorBytes } from "../nn/tensor-bytes.js";
import { type Room, roomOf } from "./fit.js";
import type { CommandIo } from "./io.js";
import {
  alternative,
  alternativesInWords,
  fits,
  MemoryNeedError,
  mildest,
  type ReadingFigures,
  refusal,
  roomFigures,
  sayNeed,
} from "./memory-need.js";
import type { Unit } from "./units.js";

/** What decides the memory of an evaluation and may be chosen. */
export interface ReadingSizes {
  /** Ascending. */
  readonly contexts: readonly number[];
  /** Sequences that are read together; as many as is good when absent. */
  readonly batch?: number;
}

export interface ReadingNeedOptions {
  readonly info: BackendInfo;
  readonly model: Llama;
  readonly sizes: ReadingSizes;
  readonly unit: Unit;
  /** All that is read with such sizes. */
  readonly plansOf: (sizes: ReadingSizes) => readonly ScoringPlan[];
  /** The tables by which W tokens are read, whose form the memory follows. Default: those of positions divided or not. */
  readonly tables?: (length: number) => HostTables;
  /** Default: that of the backend. */
  readonly room?: Room;
}

/**
 * Says what an evaluation will need, and warns where that is more than is free. Throws MemoryNeedError for one that cannot fit, which names
 * fewer rows and shorter contexts with which it would: each was planned as the evaluation itself is.
 */
export function sayReadingNeed(io: Pick<CommandIo, "note" | "warn">, options: ReadingNeedOptions): ReadingFigures {
  const { model, sizes, plansOf, tables, room = roomOf(options.info) } = options;
  const memoryOf = (which: ReadingSizes): ScoringMemory => {
    const plan = largest(model, plansOf(which));
    return scoringMemory(model, plan, tables?.(plan.blocks.context));
  };
  const memory = memoryOf(sizes);
  const { parameterBytes: parameters, keptBytes: keysAndValues, scratchBytes: scratch } = memory;
  const figures = { ...roomFigures(memory, room), parameters, keysAndValues, scratch };
  if (!fits(memory, room)) {
    const { rows, blocks } = largest(model, plansOf(sizes));
    const alternatives = [];
    const single = { ...sizes, batch: 1 };
    const alone = rows > 1 ? memoryOf(single) : undefined;
    if (alone !== undefined && fits(alone, room)) alternatives.push(alternative("--batch 1", alone));
    // The longest contexts are left out, one after another.
    const fewer = sizes.contexts.map((_, i) => sizes.contexts.slice(0, sizes.contexts.length - i)).slice(1);
    const shorter = mildest(fewer.length, (i) => memoryOf({ ...sizes, contexts: fewer[i] as number[] }), room);
    if (shorter !== undefined) alternatives.push(alternative(`--contexts ${fewer[shorter.index]?.join()}`, shorter.needed));
    const hint = alternatives.length === 0 ? "take shorter --contexts, or a smaller model" : alternativesInWords(alternatives);
    const what = `reading ${rows} ${rows === 1 ? "sequence" : "sequences"} of ${blocks.context} ${options.unit} at a time`;
    throw new MemoryNeedError(refusal(what, memory, room), { ...figures, alternatives }, hint);
  }
  sayNeed(io, memory, {
    room,
    parts: [
      ["parameters", parameters],
      ["keys and values", keysAndValues],
      ["a block", scratch],
    ],
    less: "shorter --contexts and --batch 1 need",
  });
  return figures;
}

export interface GenerationNeedOptions {
  readonly info: BackendInfo;
  readonly model: Llama;
  /** Texts that are continued side by side. */
  readonly rows: number;
  /** Tokens that one of them sees, at most. */
  readonly length: number;
  readonly unit: Unit;
  /** The tables by which they are read. */
  readonly tables: HostTables;
}

/** Says what generating will need, as far as a reading of the whole text is like it. Throws MemoryNeedError for one that cannot fit. */
export function sayGenerationNeed(io: Pick<CommandIo, "note" | "warn">, options: GenerationNeedOptions): ReadingFigures {
  const { info, model, rows, length, unit, tables } = options;
  const room = roomOf(info);
  const memoryOf = (count: number): ScoringMemory => {
    const plan = planScoring(model.config, { context: length, targetLength: 1, count, batch: count });
    const read = scoringMemory(model, plan, tables);
    if (read.keptBytes > 0) return read;
    // What is read at once is kept too, for the tokens that follow.
    const keptBytes = tensorBytes(new KeyValueCache(model.config, { capacity: length, batch: count }));
    return { ...read, keptBytes, peakBytes: read.peakBytes + keptBytes };
  };
  const memory = memoryOf(rows);
  const { parameterBytes: parameters, keptBytes: keysAndValues, scratchBytes: scratch } = memory;
  const figures = { ...roomFigures(memory, room), parameters, keysAndValues, scratch };
  if (!fits(memory, room)) {
    const alone = rows > 1 ? memoryOf(1) : undefined;
    const alternatives = alone !== undefined && fits(alone, room) ? [alternative("--batch 1", alone)] : [];
    const hint = alternatives.length === 0 ? "take fewer --tokens, --dtype bf16, or a smaller model" : alternativesInWords(alternatives);
    const what = rows === 1 ? `a text of ${length} ${unit}` : `${rows} texts of ${length} ${unit} side by side`;
    throw new MemoryNeedError(refusal(what, memory, room), { ...figures, alternatives }, hint);
  }
  sayNeed(io, memory, {
    room,
    parts: [
      ["parameters", parameters],
      ["keys and values", keysAndValues],
      ["a block", scratch],
    ],
    less: "fewer --tokens and --batch 1 need",
  });
  return figures;
}

/** The plan that needs most: bytes of a row tell which, and its programs tell how much. */
const largest = ({ config }: Llama, plans: readonly ScoringPlan[]): ScoringPlan => {
  const bytes = ({ rows, blocks }: ScoringPlan): number => rows * bytesPerRow(config, blocks);
  return plans.reduce((most, plan) => (bytes(plan) > bytes(most) ? plan : most));
};

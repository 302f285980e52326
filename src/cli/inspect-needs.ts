/** What reading and training a model would need on a backend, from plans of the programs themselves. */

import { tensorsOf } from "../autograd/tree.js";
import type { BackendInfo } from "../backend/backend.js";
import { planScoring, scoringMemory } from "../e2llm/scoring.js";
import type { Llama } from "../nn/llama.js";
import { hasAdapters, loraTrainable } from "../nn/lora.js";
import { adamw } from "../nn/optimizers.js";
import { trainablePart } from "../nn/trainable.js";
import { trainingMemory } from "../nn/training-memory.js";
import type { InspectedLora, InspectOptions } from "./commands/inspect.js";
import { blockLength } from "./corpus.js";
import { roomOf } from "./fit.js";
import { loraInWords, withLora } from "./lora.js";
import { fits, type Needed } from "./memory-need.js";
import { type OpenedModel, readingDtype, shapeOf } from "./opened-model.js";
import type { CheckpointName } from "./options.js";
import { maxNormOf } from "./training-run.js";

/** One use of a model. */
export interface NeedRow {
  readonly use: "eval" | "extend";
  /** The options that make it this one. */
  readonly options: string;
  readonly needed: number;
  readonly largestTensor: number;
  readonly fits: boolean;
}

export interface InspectedNeeds {
  readonly backend: string;
  /** Bytes of memory; null where the device does not tell. */
  readonly available: number | null;
  /** What weights that are only read are kept in. */
  readonly dtype: string;
  /** Numbers that `extend --lora` trains, and that an adapter holds. */
  readonly adapterParameters: number;
  readonly rows: readonly NeedRow[];
}

/** Targets of `eval` where nobody says how many. */
const targets = 1024;

/** Nothing is read and nothing allocated. Throws OptionError for targets of adapters that the model does not have. */
export function needsOf(
  stored: OpenedModel,
  options: Pick<InspectOptions, "contexts" | "length" | "dtype"> & InspectedLora,
  info: BackendInfo,
): InspectedNeeds {
  const { config } = stored;
  const { max_position_embeddings: window } = config;
  const room = roomOf(info);
  const dtype = readingDtype(stored, options.dtype, info);
  const row = (use: NeedRow["use"], flags: string, needed: Needed): NeedRow => ({
    use,
    options: flags,
    needed: needed.peakBytes,
    largestTensor: needed.largestTensorBytes,
    fits: fits(needed, room),
  });
  const contexts = options.contexts ?? [window, 4 * window];
  const read = shapeOf(stored, dtype);
  const reading = contexts.map((context) => {
    const plan = planScoring(config, { context, targetLength: blockLength(targets, Math.min(window, context)), count: 1, batch: 1 });
    return row("eval", `--contexts ${context} --batch 1`, scoringMemory(read, plan));
  });
  const length = options.length ?? window;
  const training = (model: Llama, flags: string): NeedRow[] =>
    (["none", "blocks"] as const).map((checkpoint: CheckpointName) => {
      const needed = trainingMemory({
        model,
        optimizer: adamw(),
        maxNorm: maxNormOf({ clip: 1 }),
        checkpoint: checkpoint === "blocks",
        ...(hasAdapters(model) && { trainable: loraTrainable }),
        ...{ batch: 1, length, saves: true },
      });
      return row("extend", `${flags}--length ${length} --batch 1${checkpoint === "none" ? "" : ` --checkpoint ${checkpoint}`}`, needed);
    });
  // As `extend` keeps the base of adapters, whose own are trained further where there are some.
  const base = shapeOf(stored, readingDtype(stored, undefined, info));
  const adapted = stored.adapter === undefined ? withLora(base, options, 0) : base;
  const whole = stored.adapter === undefined ? training(shapeOf(stored, "f32"), "") : [];
  const flags = stored.adapter === undefined ? loraInWords(options) : `--lora ${stored.adapter.config.r}`;
  return {
    backend: info.name,
    available: room.known ? room.bytes : null,
    dtype,
    adapterParameters: parametersOf(trainablePart(adapted, loraTrainable)[0]),
    rows: [...reading, ...whole, ...training(adapted, `${flags} `)],
  };
}

const parametersOf = (tree: unknown): number => tensorsOf(tree).reduce((sum, { tensor }) => sum + tensor.size, 0);

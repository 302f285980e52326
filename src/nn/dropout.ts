/** Dropout by keys: what is dropped in a step is a function of a seed and the step, and nothing is dropped where no keys are handed in. */
import { checkOptions, integer, type OptionKinds, optional } from "../arguments.js";
import { reshape, slice } from "../autograd/operations.js";
import { foldIn } from "../autograd/random.js";
import { type Tensor, tensor } from "../autograd/tensor.js";
import { copyBranch } from "../autograd/tree.js";
import { seedKey, threefry2x32 } from "../ir/threefry.js";
import type { LanguageBatch } from "./batch.js";
import { LoraLinear } from "./lora.js";
import { type Batches, isMicroBatches } from "./micro-batches.js";
import { modulesOf, replaceModules } from "./surgery.js";

const drops = (module: object): module is LoraLinear => module instanceof LoraLinear && module._dropout > 0;

/** Whether something in a model drops elements in training. */
export const hasDropout = (model: object): boolean => modulesOf(model).some(({ module }) => drops(module));

/** The model as a step of training reads it: each place that drops elements has a key of its own. keys: u32 [B, 2]; the first one counts. */
export function withDropout<T extends object>(model: T, keys: Tensor): T {
  const first = reshape(slice(keys, [[0, 1]]), [2]);
  let place = 0;
  return replaceModules(model, (module) =>
    drops(module) ? Object.assign(copyBranch(module), { dropout_key: foldIn(first, place++) }) : undefined,
  );
}

export interface DropoutKeysOptions {
  /** Default 0. */
  readonly seed?: number;
  /** The step, from 0 on. */
  readonly step: number;
  /** B: rows of the batch. */
  readonly rows: number;
  /** Rows of the step that come before these, in other micro-batches. Default 0. */
  readonly from?: number;
}

const keysKinds: OptionKinds<DropoutKeysOptions> = {
  seed: optional(integer(0)),
  step: integer(0, 2 ** 32 - 1),
  rows: integer(1),
  from: optional(integer(0)),
};

/** Keeps these keys from those that other parts draw from the same seed ("drop" in ASCII). */
const domain = 0x64726f70;

/**
 * The field `dropoutKeys` of a batch, u32 [B, 2]: a key for each row, a function of seed, step and row. A batch, or each micro-batch of it, drops
 * what the key of its first row says.
 */
export function dropoutKeys(options: DropoutKeysOptions): Tensor {
  checkOptions("dropoutKeys", options, keysKinds);
  const { seed = 0, step, rows, from = 0 } = options;
  const [k0, k1] = threefry2x32(...seedKey(seed), domain, 0);
  const words = Array.from({ length: rows }, (_, row) => threefry2x32(k0, k1, step, from + row));
  return tensor(Uint32Array.from(words.flat()), { shape: [rows, 2] });
}

/** The batch of a step, or its micro-batches, with keys; those that a batch has already stay. */
export function withDropoutKeys(
  batches: Batches<LanguageBatch>,
  { seed, step }: { readonly seed: number; readonly step: number },
): Batches<LanguageBatch> {
  let from = 0;
  const keyed = (batch: LanguageBatch): LanguageBatch => {
    const rows = batch.inputs.shape[0] as number;
    const keys = batch.dropoutKeys ?? dropoutKeys({ seed, step, rows, from });
    from += rows;
    return { ...batch, dropoutKeys: keys };
  };
  return isMicroBatches(batches) ? batches.map(keyed) : keyed(batches as LanguageBatch);
}

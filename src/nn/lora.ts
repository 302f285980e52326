/** Low-rank adaptation (LoRA; Hu et al. 2021, arXiv 2106.09685) as surgery of a tree: matrices are replaced by themselves with adapters beside. */
import {
  checkArgument,
  checkOptions,
  either,
  flag,
  fraction,
  instanceOf,
  integer,
  type OptionKinds,
  object,
  oneOf,
  optional,
  positive,
} from "../arguments.js";
import { keyKind, tensorKind } from "../autograd/kinds.js";
import { add, cast, matmul, mul, zeros } from "../autograd/operations.js";
import { dropout, key as seedKey, split, uniform } from "../autograd/random.js";
import { apply, type Tensor } from "../autograd/tensor.js";
import { flattenTree, mapTensors, zipTensors } from "../autograd/tree.js";
import { OptionError, ShapeError, UsageError } from "../errors.js";
import { summableDtype } from "../ir/dtype.js";
import { show } from "../ir/shape.js";
import { Llama } from "./llama.js";
import { Embedding, Linear, RMSNorm } from "./module.js";
import { choosePaths, type ModulePattern, patternsKind } from "./module-patterns.js";
import { modulesOf, replaceModules } from "./surgery.js";

/** What the adapter of one matrix is made from. */
export interface LoraSettings {
  /** α: the update is scaled by α/r. Default: r. */
  readonly alpha?: number;
  /** The update is scaled by α/√r (rsLoRA; Kalajdzievski 2023, arXiv 2312.03732). Default false. */
  readonly rslora?: boolean;
  /** Probability with which an element of the adapter's input is dropped in training. Default 0. */
  readonly dropout?: number;
}

const settingKinds: OptionKinds<LoraSettings> = { alpha: optional(positive), rslora: optional(flag), dropout: optional(fraction) };

const linearKind = instanceOf("a Linear", Linear);

/**
 * A matrix W with a low-rank update beside it:
 *
 *   y = W·x + s·B·(A·x)    W [out, in]    A [r, in]    B [out, r]    s = α/r, or α/√r with `rslora`
 *
 * B·A is never made: the update is two thin products. Fields are named as in PEFT's files. `weight` may be of halves; A and B are f32.
 */
export class LoraLinear extends Linear {
  lora_A: Linear;
  lora_B: Linear;
  /** u32 [2] while a step of training with dropout is traced, see `withDropout`; null otherwise: nothing is dropped. */
  dropout_key: Tensor | null = null;
  readonly _alpha: number;
  readonly _rslora: boolean;
  readonly _dropout: number;

  /** Throws ShapeError where A or B do not fit the matrix. */
  constructor(base: Linear, factors: { readonly A: Tensor; readonly B: Tensor }, settings: LoraSettings = {}) {
    checkArgument("LoraLinear", "base", base, linearKind);
    checkOptions("LoraLinear: factors", factors, { A: tensorKind, B: tensorKind });
    checkOptions("LoraLinear", settings, settingKinds);
    super(base.weight);
    Object.assign(this, base); // whatever else a Linear has
    const { A, B } = factors;
    const [out, into] = base.weight.shape as [number, number];
    const rank = A.shape[0];
    if (A.rank !== 2 || B.rank !== 2 || A.shape[1] !== into || B.shape[0] !== out || B.shape[1] !== rank)
      throw new ShapeError(`LoraLinear: A ${show(A.shape)} and B ${show(B.shape)} for a matrix ${show(base.weight.shape)}`, {
        hint: `A is [r, ${into}], B is [${out}, r]`,
      });
    this.lora_A = new Linear(A);
    this.lora_B = new Linear(B);
    const { alpha = rank as number, rslora = false, dropout: rate = 0 } = settings;
    this._alpha = alpha;
    this._rslora = rslora;
    this._dropout = rate;
  }

  /** r */
  get rank(): number {
    return this.lora_A.weight.shape[0] as number;
  }

  /** s */
  get scale(): number {
    return this._alpha / (this._rslora ? Math.sqrt(this.rank) : this.rank);
  }

  /** […, in] → […, out] */
  override forward(x: Tensor): Tensor {
    const { dropout_key: key, _dropout: rate } = this;
    const kept = key === null || rate === 0 ? x : dropout(key, x, rate);
    const update = this.lora_B.forward(mul(this.lora_A.forward(kept), this.scale)); // […, in] → […, r] → […, out]
    return add(super.forward(x), cast(update, x.dtype));
  }

  /** The matrix without its adapter: the very tensors that it was made from. */
  base(): Linear {
    const { lora_A: _A, lora_B: _B, dropout_key: _key, _alpha, _rslora, _dropout, ...fields } = this;
    return Object.assign(new Linear(this.weight), fields);
  }

  /** W + s·B·A as a matrix of its own, in the dtype of W. */
  merged(): Linear {
    const { weight } = this;
    const dtype = summableDtype(weight.dtype);
    const update = matmul(mul(cast(this.lora_B.weight, dtype), this.scale), cast(this.lora_A.weight, dtype));
    return Object.assign(this.base(), { weight: cast(add(cast(weight, dtype), update), weight.dtype) });
  }
}

/** Modules that can be trained whole beside adapters. */
type Whole = Embedding | RMSNorm | Linear;
export const wholeKind = either(instanceOf("an Embedding", Embedding), instanceOf("an RMSNorm", RMSNorm), linearKind);

/**
 * A module that is trained whole beside adapters (PEFT's `modules_to_save`): a copy in f32 that is read and trained, and the module that it was
 * copied from, which stays what it is.
 */
export class TrainedModule {
  modules_to_save: Whole;
  original_module: Whole;

  constructor(original: Whole) {
    checkArgument("TrainedModule", "original", original, wholeKind);
    this.original_module = original;
    // A tensor of its own, because training takes over what it trains.
    this.modules_to_save = mapTensors(original, (tensor) => apply("alias", [cast(tensor, summableDtype(tensor.dtype))], {}));
  }

  get weight(): Tensor {
    return this.modules_to_save.weight;
  }

  forward(x: Tensor): Tensor {
    return this.modules_to_save.forward(x);
  }

  /** What was trained, in the dtype of what it was copied from. */
  merged(): Whole {
    return zipTensors(
      ([trained, original]) => cast(trained as Tensor, (original as Tensor).dtype),
      this.modules_to_save,
      this.original_module,
    );
  }
}

export interface LoraOptions extends LoraSettings {
  /** r: the rank of the updates. */
  readonly rank: number;
  /**
   * Which matrices get adapters: names ("q_proj", or whole paths), expressions that are found in paths, or all of the layers (PEFT's
   * `target_modules`). Default "all-linear". The head and the embedding have none; they can be trained whole.
   */
  readonly targets?: "all-linear" | RegExp | readonly ModulePattern[];
  /** Embeddings, norms and matrices that are trained whole, by name (PEFT's `modules_to_save`). A matrix among them gets no adapter. Default: none. */
  readonly modulesToSave?: RegExp | readonly ModulePattern[];
  /** Whether all norms are trained, as LongLoRA does (Chen et al. 2023, arXiv 2309.12307). Default false. */
  readonly trainNorms?: boolean;
  /** Whether the embedding is trained, and with it a head that is tied to it. Default false. */
  readonly trainEmbeddings?: boolean;
  /** What A is drawn from. Default: key(0). */
  readonly key?: Tensor;
}

const loraKinds: OptionKinds<LoraOptions> = {
  ...settingKinds,
  rank: integer(1, 2 ** 16),
  targets: optional(either(oneOf("all-linear"), patternsKind)),
  modulesToSave: optional(patternsKind),
  trainNorms: optional(flag),
  trainEmbeddings: optional(flag),
  key: optional(keyKind),
};

/**
 * The model with adapters beside its matrices: the tree that was given stays as it is and shares its weights with the result. A is drawn from
 * U(−1/√in, 1/√in) (Kaiming with a = √5, as PEFT draws it) and B is 0, so that the result computes what the model does until it is trained:
 *
 *   const lora = applyLora(model, { rank: 8, targets: ["q_proj", "v_proj"] });
 *   await train({ model: lora, trainable: loraTrainable, … });
 *
 * Throws OptionError for a pattern that chooses nothing, which lists what there is; UsageError for a model that has adapters.
 */
export function applyLora<T extends object>(model: T, options: LoraOptions): T {
  const where = "applyLora";
  checkArgument(where, "model", model, object);
  checkOptions(where, options, loraKinds);
  flattenTree(model, `${where}: the model`);
  refuseAdapters(where, model);
  const { rank, alpha = rank, rslora = false, dropout: rate = 0, targets = "all-linear" } = options;
  const saved = savedPaths(where, model, options);
  const linear = linearPaths(model).filter((path) => !saved.has(path));
  const chosen = targets === "all-linear" ? linear : linear.filter(within(choosePaths(where, "matrix of the layers", targets, linear)));
  if (chosen.length === 0)
    throw new OptionError(`${where}: the model has no matrix that could get an adapter`, {
      hint: "adapters stand beside modules of the class Linear",
    });
  const keys = split(options.key ?? seedKey(0), chosen.length);
  const place = { rank, alpha, rslora, dropout: rate };
  return attachAdapters(model, new Map(chosen.map((path, i) => [path, { ...place, key: keys[i] as Tensor }])), saved);
}

/** Where an adapter stands. */
export interface AdapterPlace extends Required<LoraSettings> {
  readonly rank: number;
  /** What A is drawn from; zeros without one. */
  readonly key?: Tensor;
}

/** The model with adapters at some paths, and copies that are trained at others. */
export function attachAdapters<T extends object>(model: T, places: ReadonlyMap<string, AdapterPlace>, saved: ReadonlySet<string>): T {
  return replaceModules(model, (module, path) => {
    if (saved.has(path)) return new TrainedModule(module as Whole);
    const place = places.get(path);
    if (place === undefined) return undefined;
    const { rank, key, ...settings } = place;
    const [out, into] = (module as Linear).weight.shape as [number, number];
    const bound = 1 / Math.sqrt(into);
    const A = key === undefined ? zeros([rank, into]) : uniform(key, [rank, into], { low: -bound, high: bound });
    return new LoraLinear(module as Linear, { A, B: zeros([out, rank]) }, settings);
  });
}

const within =
  (set: ReadonlySet<string>) =>
  (path: string): boolean =>
    set.has(path);

/** Matrices that may get adapters: all but a Llama's head, whose logits are taken in pieces from its weight. */
export function linearPaths(model: object): string[] {
  const linear = modulesOf(model).filter(({ module }) => module instanceof Linear && !(module instanceof LoraLinear));
  return linear.filter(({ module }) => !(model instanceof Llama && module === model.lm_head)).map(({ path }) => path);
}

function savedPaths(where: string, model: object, options: LoraOptions): Set<string> {
  const { modulesToSave, trainNorms = false, trainEmbeddings = false } = options;
  const whole = modulesOf(model).filter(({ module }) => wholeKind.fits(module));
  const paths = whole.map(({ path }) => path);
  const ofClass = (name: string, type: typeof RMSNorm | typeof Embedding): string[] => {
    const found = whole.filter(({ module }) => module instanceof type).map(({ path }) => path);
    if (found.length === 0) throw new OptionError(`${where}: ${name} was given, and the model has no ${type.name}`);
    return found;
  };
  return new Set([
    ...(modulesToSave === undefined ? [] : choosePaths(where, "embedding, norm or matrix", modulesToSave, paths)),
    ...(trainNorms ? ofClass("trainNorms", RMSNorm) : []),
    ...(trainEmbeddings ? ofClass("trainEmbeddings", Embedding) : []),
  ]);
}

export const isAdapted = (module: object): module is LoraLinear | TrainedModule =>
  module instanceof LoraLinear || module instanceof TrainedModule;

/** Whether a tree has adapters, or modules that are trained beside some. */
export const hasAdapters = (tree: object): boolean => modulesOf(tree).some(({ module }) => isAdapted(module));

/** Throws UsageError for a model that has adapters. */
export function refuseAdapters(where: string, model: object): void {
  const found = modulesOf(model).find(({ module }) => isAdapted(module));
  if (found === undefined) return;
  throw new UsageError(`${where}: the model has a LoRA adapter at ${found.path}`, {
    hint: "mergeLora(model) puts it into the weights, unloadLora(model) leaves it out, saveAdapter(folder, model) writes it",
  });
}

/** Throws UsageError for a model without adapters. */
export function requireAdapters(where: string, model: object): void {
  checkArgument(where, "model", model, object);
  if (!hasAdapters(model))
    throw new UsageError(`${where}: the model has no LoRA adapter`, { hint: "applyLora(model, { rank: 8 }) makes one" });
}

/**
 * Which tensors of a model with adapters are trained: A, B, and modules that are trained whole. For `train`, `createTrainStep`, `trainablePart`
 * and `loadTraining`.
 */
export const loraTrainable = (_: Tensor, path: string): boolean => /(^|\.)(lora_[AB]|modules_to_save)\./.test(path);

/**
 * The model with its adapters in its weights, W + s·B·A in the dtype of W: it computes what the model with adapters does, but for rounding, at
 * the cost of the model alone. The tree that was given stays as it is, so going back is to use it again.
 */
export function mergeLora<T extends object>(model: T): T {
  requireAdapters("mergeLora", model);
  return replaceModules(model, (module) => {
    if (module instanceof LoraLinear) return module.merged();
    return module instanceof TrainedModule ? module.merged() : undefined;
  });
}

/** The model without its adapters: the very weights that {@link applyLora} was given. */
export function unloadLora<T extends object>(model: T): T {
  requireAdapters("unloadLora", model);
  return replaceModules(model, (module) => {
    if (module instanceof LoraLinear) return module.base();
    return module instanceof TrainedModule ? module.original_module : undefined;
  });
}

import { callable, checkArgument, checkOptions, either, flag, integer, type Kind, listOf, optional, orNull } from "../arguments.js";
import { type ConvolutionOptions, conv1d, conv2d } from "../autograd/convolution.js";
import { keyKind, tensorKind } from "../autograd/kinds.js";
import { split } from "../autograd/random.js";
import type { Tensor } from "../autograd/tensor.js";
import { ShapeError } from "../errors.js";
import { show, sizeOf } from "../ir/shape.js";
import type { Initializer } from "./initializers.js";
import { uniformByFan } from "./module.js";

/** How the window moves; see `conv2d`. */
export type WindowSettings = Omit<ConvolutionOptions, "bias">;

export interface CreateConvolutionOptions extends WindowSettings {
  /** Whether there is a bias. Default true. */
  readonly bias?: boolean;
  /** What makes the weight [O, C/groups, …kernel]. Default: uniform on ±1/√(C/groups·kernel), as PyTorch's are, and so is the bias. */
  readonly weight?: Initializer;
}

/** The functions check these when the layer is used, with the extents of what it is used on. */
const anySetting: Kind = { wanted: "a setting of conv2d", fits: () => true };
const settingKinds = {
  stride: anySetting,
  padding: anySetting,
  dilation: anySetting,
  groups: optional(integer(1)),
};

/** What convolutions over one axis and over two have in common. */
abstract class Convolution {
  weight: Tensor; // [O, C/groups, …kernel]
  bias: Tensor | null; // [O]
  readonly _settings: WindowSettings;

  constructor(where: string, axes: number, weight: Tensor, bias: Tensor | null, settings: WindowSettings) {
    checkArgument(where, "weight", weight, tensorKind);
    checkArgument(where, "bias", bias, orNull(tensorKind));
    checkOptions(where, settings, settingKinds);
    const { groups = 1 } = settings;
    const outputs = weight.shape[0] as number;
    if (weight.rank !== 2 + axes || outputs % groups !== 0 || (bias !== null && (bias.rank !== 1 || bias.shape[0] !== outputs))) {
      const also = bias === null ? "" : ` and a bias ${show(bias.shape)}`;
      throw new ShapeError(`${where}: a weight ${show(weight.shape)}${also} in ${groups} group${groups === 1 ? "" : "s"}`, {
        hint: `they are [O, C/groups, ${axes === 1 ? "K" : "K, L"}] and [O], O a multiple of groups`,
      });
    }
    this.weight = weight;
    this.bias = bias;
    this._settings = settings;
  }

  protected get options(): ConvolutionOptions {
    return this.bias === null ? this._settings : { ...this._settings, bias: this.bias };
  }
}

/** The parts of a layer of that many channels, with a kernel of these extents. */
function parts(
  where: string,
  k: Tensor,
  [inputs, outputs]: readonly [number, number],
  kernel: readonly number[],
  options: CreateConvolutionOptions,
): [weight: Tensor, bias: Tensor | null, settings: WindowSettings] {
  checkArgument(where, "key", k, keyKind);
  checkArgument(where, "inputs", inputs, integer(0));
  checkArgument(where, "outputs", outputs, integer(0));
  checkOptions(where, options, { ...settingKinds, bias: optional(flag), weight: optional(callable) });
  const { bias = true, weight: make, ...settings } = options;
  const { groups = 1 } = settings;
  if (inputs % groups !== 0)
    throw new ShapeError(`${where}: ${inputs} channels in ${groups} groups`, { hint: "groups divide the channels" });
  const [weightKey, biasKey] = split(k) as [Tensor, Tensor];
  const shape = [outputs, inputs / groups, ...kernel];
  const fan = sizeOf(shape.slice(1));
  const weight = make === undefined ? uniformByFan(weightKey, shape, fan) : make(weightKey, shape);
  return [weight, bias ? uniformByFan(biasKey, [outputs], fan) : null, settings];
}

/** Convolution along one axis; see `conv1d`. */
export class Conv1d extends Convolution {
  constructor(weight: Tensor, bias: Tensor | null = null, settings: WindowSettings = {}) {
    super("Conv1d", 1, weight, bias, settings);
  }

  /** From C channels to O, with a kernel of K. */
  static create(key: Tensor, inputs: number, outputs: number, kernel: number, options: CreateConvolutionOptions = {}): Conv1d {
    checkArgument("Conv1d.create", "kernel", kernel, integer(1));
    return new Conv1d(...parts("Conv1d.create", key, [inputs, outputs], [kernel], options));
  }

  /** [B, C, S] → [B, O, places] */
  forward(x: Tensor): Tensor {
    return conv1d(x, this.weight, this.options);
  }
}

/** Convolution over a plane; see `conv2d`. */
export class Conv2d extends Convolution {
  constructor(weight: Tensor, bias: Tensor | null = null, settings: WindowSettings = {}) {
    super("Conv2d", 2, weight, bias, settings);
  }

  /** From C channels to O, with a kernel of K by K or [K, L]. */
  static create(
    key: Tensor,
    inputs: number,
    outputs: number,
    kernel: number | readonly [number, number],
    options: CreateConvolutionOptions = {},
  ): Conv2d {
    const pair: Kind = {
      ...listOf(integer(1)),
      wanted: "[K, L]",
      fits: (value) => listOf(integer(1)).fits(value) && (value as number[]).length === 2,
    };
    checkArgument("Conv2d.create", "kernel", kernel, either(integer(1), pair));
    return new Conv2d(...parts("Conv2d.create", key, [inputs, outputs], typeof kernel === "number" ? [kernel, kernel] : kernel, options));
  }

  /** [B, C, H, W] → [B, O, places, places] */
  forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.options);
  }
}

import { checkArgument, checkOptions, optional } from "../arguments.js";
import { keyKind } from "../autograd/kinds.js";
import { key as seedKey, split } from "../autograd/random.js";
import type { Tensor } from "../autograd/tensor.js";
import { copyBranch } from "../autograd/tree.js";
import { OptionError, UsageError } from "../errors.js";
import type { PositionEncoding } from "./attention-context.js";
import type { LlamaConfig } from "./config.js";
import { checkEncodingConfig, createPositionEncoding } from "./encodings/create.js";
import type { PositionEncodingConfig } from "./encodings/encoding-config.js";
import { modelKind } from "./kinds.js";
import type { Llama } from "./llama.js";

/** Where an encoding is to stand. */
export interface EncodingPlace {
  readonly layer: number;
  /** H */
  readonly heads: number;
  /** For what it draws. */
  readonly key: Tensor;
}

/**
 * The model with fresh position encodings in place of what its layers have, and with the weights that it has, which both share. `make` is a
 * configuration (see {@link createPositionEncoding}), a function that makes the encoding of each layer, or null for RoPE.
 *
 *   withPositionEncoding(model, { type: "dape", bias: { type: "kerple" } }, { key: key(1) })
 *
 * The configuration of the result names the encoding, so that `saveModel` and `loadModel` bring it back. Default key: key(0).
 */
export function withPositionEncoding<M extends Llama>(
  model: M,
  make: PositionEncodingConfig | ((place: EncodingPlace) => PositionEncoding) | null,
  options: { readonly key?: Tensor } = {},
): M {
  const where = "withPositionEncoding";
  checkArgument(where, "model", model, modelKind);
  if (make !== null && typeof make !== "function") checkEncodingConfig(where, make);
  checkOptions(where, options, { key: optional(keyKind) });
  const { layers } = model.model;
  const heads = model.config.num_attention_heads;
  const keys = split(options.key ?? seedKey(0), layers.length);
  const encodings = layers.map((_, layer): PositionEncoding | null => {
    const place = { layer, heads, key: keys[layer] as Tensor };
    if (make === null) return null;
    return typeof make === "function" ? checkEncoding(make(place)) : createPositionEncoding(make, { heads, key: place.key });
  });
  const config = withEncoding(model.config, commonConfig(encodings));
  return changed(model, {
    _config: config,
    model: {
      ...model.model,
      layers: layers.map((block, layer) =>
        changed(block, {
          self_attn: changed(block.self_attn, { position_encoding: encodings[layer] as PositionEncoding | null, _config: config }),
        }),
      ),
    },
  });
}

/**
 * The configuration of a model as its layers are. Throws UsageError where their encodings differ, or one has no configuration: no file
 * could say what the model computes.
 */
export function configOfLayers(where: string, model: Llama): LlamaConfig {
  const encodings = model.model.layers.map(({ self_attn }) => self_attn.position_encoding);
  const common = commonConfig(encodings);
  if (common === undefined) {
    const without = encodings.findIndex((encoding) => encoding !== null && encoding.config === undefined);
    throw new UsageError(
      without >= 0
        ? `${where}: the position encoding of layer ${without} has no configuration that a file could hold`
        : `${where}: the layers have position encodings of different kinds, which no config.json can say`,
      { hint: "write the weights with writeSafetensors, and make the model by withPositionEncoding when you read them" },
    );
  }
  return withEncoding(model.config, common);
}

/** What all layers have: null for RoPE, undefined where there is no common configuration. */
function commonConfig(encodings: readonly (PositionEncoding | null)[]): PositionEncodingConfig | null | undefined {
  const configs = encodings.map((encoding) => (encoding === null ? null : encoding.config));
  const [first = null] = configs;
  const same = configs.every((config) => config !== undefined && JSON.stringify(config) === JSON.stringify(first));
  return same ? first : undefined;
}

function withEncoding(config: LlamaConfig, encoding: PositionEncodingConfig | null | undefined): LlamaConfig {
  const { position_encoding, ...others } = config;
  return position_encoding === (encoding ?? undefined) ? config : { ...others, ...(encoding ? { position_encoding: encoding } : {}) };
}

function checkEncoding(made: PositionEncoding): PositionEncoding {
  if (typeof (made as Partial<PositionEncoding> | null | undefined)?.attend === "function") return made;
  throw new OptionError("withPositionEncoding: make must return a position encoding", {
    hint: "a module with a method attend(queries, { keys, values, offset })",
  });
}

/** An object of the same class with other values in some fields. */
const changed = <T extends object>(object: T, fields: { readonly [name: string]: unknown }): T =>
  Object.assign(copyBranch(object), fields) as T;

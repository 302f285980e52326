/** Tensors of a file that follow from others or from the configuration: left out where they agree with them, and refused where they do not. */
import { FormatError } from "../errors.js";
import { fromHalves } from "../ir/halves.js";
import type { LlamaConfig } from "./config.js";
import { showValue } from "./json.js";
import type { SafetensorsPlace } from "./safetensors-header.js";
import type { StoredTensor } from "./stored-model.js";

export interface DerivedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Reads its values, some at a time, and throws FormatError where they are not what they should be. */
  check(tensors: ReadonlyMap<string, StoredTensor>): Promise<void>;
}

/**
 * Those among the tensors of a file:
 *
 * - stored RoPE frequencies of older exports (`rotary_emb.inv_freq`), which are rope_theta^(−2j/D) whatever scaling is put on them later;
 * - `lm_head.weight` beside a tied embedding.
 */
export function derivedTensors(config: LlamaConfig, places: ReadonlyMap<string, SafetensorsPlace>): DerivedTensor[] {
  const derived: DerivedTensor[] = [];
  for (let layer = -1; layer < config.num_hidden_layers; layer++) {
    const place = places.get(layer < 0 ? "model.rotary_emb.inv_freq" : `model.layers.${layer}.self_attn.rotary_emb.inv_freq`);
    if (place === undefined) continue;
    derived.push({
      name: place.name,
      shape: [config.head_dim / 2],
      check: async (tensors) => checkFrequencies(await valuesOf(tensors.get(place.name) as StoredTensor), place, config),
    });
  }
  const head = places.get("lm_head.weight");
  if (head !== undefined && config.tie_word_embeddings) {
    const shape = [config.vocab_size, config.hidden_size];
    derived.push({ name: head.name, shape, check: (tensors) => checkHead(tensors, head) });
  }
  return derived;
}

/** Elements that are compared at a time. */
const CHUNK = 2 ** 20;

async function valuesOf(
  tensor: StoredTensor,
  begin = 0,
  end = tensor.shape.reduce((size, extent) => size * extent, 1),
): Promise<Float32Array> {
  const found = await tensor.read(begin, end);
  return found instanceof Float32Array ? found : fromHalves(tensor.dtype === "f16" ? "f16" : "bf16", found);
}

function checkFrequencies(values: Float32Array, place: SafetensorsPlace, { head_dim: D, rope_theta: theta }: LlamaConfig): void {
  const { name, dtype, file, offset } = place;
  // What the rounding of the file can explain: half of the last place, and of the smallest half.
  const [relative, absolute] = dtype === "F16" ? [2 ** -10, 2 ** -24] : dtype === "BF16" ? [2 ** -7, 0] : [1e-5, 0];
  for (let j = 0; j < values.length; j++) {
    const expected = theta ** ((-2 * j) / D);
    const value = values[j] as number;
    if (Math.abs(value - expected) <= relative * expected + absolute) continue;
    throw new FormatError(
      `expected ${showValue(name)} to hold rope_theta^(-2j/head_dim), which is ${expected} at j = ${j}, found ${value}`,
      { file, offset, hint: "the weights were trained with other frequencies than config.json states; correct rope_theta there" },
    );
  }
}

async function checkHead(tensors: ReadonlyMap<string, StoredTensor>, { name, shape, file, offset }: SafetensorsPlace): Promise<void> {
  const [head, embedding] = [tensors.get(name), tensors.get("model.embed_tokens.weight")] as [StoredTensor, StoredTensor];
  const count = shape.reduce((size, extent) => size * extent, 1);
  for (let begin = 0; begin < count; begin += CHUNK) {
    const end = Math.min(count, begin + CHUNK);
    const found = await valuesOf(head, begin, end);
    const expected = await valuesOf(embedding, begin, end);
    const differs = found.findIndex((value, i) => value !== expected[i] && !(Number.isNaN(value) && Number.isNaN(expected[i])));
    if (differs < 0) continue;
    throw new FormatError(
      `expected ${showValue(name)} to equal the embedding that it is tied to, found ${found[differs]} beside ${expected[differs]} in element ${begin + differs}`,
      { file, offset, hint: "the head is not tied: set tie_word_embeddings to false in config.json" },
    );
  }
}

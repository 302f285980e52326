/** Weights of a file as f32: the header is checked first, then one tensor after another is read. */
import { FormatError } from "../errors.js";
import type { ByteSource } from "./byte-source.js";
import { type LlamaConfig, llamaShapes } from "./config.js";
import { showValue } from "./json.js";
import { checkTensors, toFloat32 } from "./safetensors.js";
import { readSafetensorsHeader, type SafetensorsHeader, type SafetensorsPlace, wrongLength } from "./safetensors-header.js";

/** The numbers of every tensor by name. Throws FormatError for what cannot be read as f32, and a file that is longer or shorter than its header says. */
export async function readTensors(source: ByteSource, header: SafetensorsHeader): Promise<Map<string, Float32Array>> {
  const found = new Map<string, Float32Array>();
  for (const { bytes, ...place } of header.tensors.values()) {
    found.set(place.name, toFloat32({ ...place, data: await source.read(place.offset, place.offset + bytes) }));
  }
  const length = await source.length(header.fileBytes);
  if (length !== header.fileBytes) throw wrongLength(source.name, length, header.fileBytes);
  return found;
}

/**
 * The parameters of a model by name. Names, shapes and dtypes are held against the configuration before anything but the header is read.
 *
 * Two kinds of tensors follow from others and are ignored where they agree with them: stored RoPE frequencies of older exports
 * (`rotary_emb.inv_freq`), which are rope_theta^(−2j/D) whatever scaling is put on them later, and `lm_head.weight` beside a tied
 * embedding.
 *
 * @throws FormatError for what does not fit the configuration
 */
export async function readModelWeights(source: ByteSource, config: LlamaConfig): Promise<Map<string, Float32Array>> {
  const header = await readSafetensorsHeader(source);
  const derived = derivedTensors(config, header);
  const derivedShapes = derived.map(({ place, shape }) => [place.name, shape] as const);
  checkTensors(header.tensors, new Map([...llamaShapes(config), ...derivedShapes]), { file: source.name });
  const weights = await readTensors(source, header);
  for (const { place, disagreement } of derived) {
    const found = disagreement(weights.get(place.name) as Float32Array, weights);
    if (found !== undefined) throw new FormatError(found.message, { file: place.file, offset: place.offset, hint: found.hint });
    weights.delete(place.name);
  }
  return weights;
}

interface Derived {
  readonly place: SafetensorsPlace;
  readonly shape: readonly number[];
  /** What is wrong with its values, or undefined. */
  disagreement(values: Float32Array, all: ReadonlyMap<string, Float32Array>): { message: string; hint: string } | undefined;
}

/** Tensors of a file that follow from others or from the configuration. */
function derivedTensors(config: LlamaConfig, { tensors }: SafetensorsHeader): Derived[] {
  const derived: Derived[] = [];
  const frequencies = (place: SafetensorsPlace): Derived => ({
    place,
    shape: [config.head_dim / 2],
    disagreement: (values) => wrongFrequency(values, place, config),
  });
  for (let layer = -1; layer < config.num_hidden_layers; layer++) {
    const place = tensors.get(layer < 0 ? "model.rotary_emb.inv_freq" : `model.layers.${layer}.self_attn.rotary_emb.inv_freq`);
    if (place !== undefined) derived.push(frequencies(place));
  }
  const head = tensors.get("lm_head.weight");
  if (head !== undefined && config.tie_word_embeddings) {
    derived.push({
      place: head,
      shape: [config.vocab_size, config.hidden_size],
      disagreement: (values, all) => wrongHead(values, all.get("model.embed_tokens.weight") as Float32Array),
    });
  }
  return derived;
}

function wrongFrequency(values: Float32Array, { name, dtype }: SafetensorsPlace, { head_dim: D, rope_theta: theta }: LlamaConfig) {
  // What the rounding of the file can explain: half of the last place, and of the smallest half.
  const [relative, absolute] = dtype === "F16" ? [2 ** -10, 2 ** -24] : dtype === "BF16" ? [2 ** -7, 0] : [1e-5, 0];
  for (let j = 0; j < values.length; j++) {
    const expected = theta ** ((-2 * j) / D);
    const value = values[j] as number;
    if (Math.abs(value - expected) <= relative * expected + absolute) continue;
    return {
      message: `expected ${showValue(name)} to hold rope_theta^(-2j/head_dim), which is ${expected} at j = ${j}, found ${value}`,
      hint: "the weights were trained with other frequencies than config.json states; correct rope_theta there",
    };
  }
  return undefined;
}

function wrongHead(values: Float32Array, embedding: Float32Array) {
  for (let i = 0; i < values.length; i++) {
    if (values[i] === embedding[i] || (Number.isNaN(values[i]) && Number.isNaN(embedding[i]))) continue;
    return {
      message: `expected "lm_head.weight" to equal the embedding that it is tied to, found ${values[i]} beside ${embedding[i]} in element ${i}`,
      hint: "the head is not tied: set tie_word_embeddings to false in config.json",
    };
  }
  return undefined;
}

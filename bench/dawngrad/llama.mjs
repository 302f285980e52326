// The small Llama of the benchmarks in dawngrad, with the weights that every library has.
import { key, Llama, llamaConfig, mapTensors, tensor } from "dawngrad";
import { config, initialWeights, ropeAngles } from "../shared/llama.mjs";

/** For texts of T tokens: the model, and its tables of cosines and sines [1, T, D/2] on the host. */
export function smallLlama(length) {
  const given = initialWeights();
  const place = ({ data, shape }) => tensor(data, { shape });
  const whole = llamaConfig({ ...config, max_position_embeddings: length });
  const model = mapTensors(new Llama(whole, { key: key(0) }), (_, path) => place(given.get(path)));
  const { cos, sin } = ropeAngles(length);
  return { model, tables: { cos, sin, rows: 1, length, half: config.head_dim / 2 } };
}

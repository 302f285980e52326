import { type LoraLinear, mapTensors, realize, type Tensor, tensor, tensorsOf } from "../../src/index.js";
import { integers, valuesOf } from "./tiny.js";

/** The model with numbers in its adapters that are no zeros: functions of path and place, the same on every backend. */
export function stirred<T>(model: T, size = 0.3): T {
  let seed = 0;
  return mapTensors(model, (t, path) => {
    if (!/lora_|modules_to_save/.test(path)) return t;
    const found = Float32Array.from(integers(t.size, 2001, ++seed), (n) => ((n - 1000) / 1000) * size);
    return tensor(/modules_to_save/.test(path) ? found.map((x) => 1 + x / 4) : found, { shape: t.shape });
  });
}

/** W + s·B·A on the host, and s. */
export async function denseWeight(module: LoraLinear): Promise<Float32Array> {
  const read = async (t: Tensor): Promise<number[]> => [...(await t.data())];
  const [W, A, B] = await Promise.all([module.weight, module.lora_A.weight, module.lora_B.weight].map(read));
  const [out, into] = module.weight.shape as [number, number];
  const { rank, scale } = module;
  return Float32Array.from({ length: out * into }, (_, at) => {
    const [row, column] = [Math.floor(at / into), at % into];
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += (B?.[row * rank + k] as number) * (A?.[k * into + column] as number);
    return (W?.[at] as number) + scale * sum;
  });
}

/** What is frozen of a tree, by path, as bits do not lie. */
export async function frozenValues(tree: unknown): Promise<Map<string, number[]>> {
  await realize(tree);
  const all = await valuesOf(tree);
  return new Map([...all].filter(([path]) => !/lora_|modules_to_save/.test(path)));
}

export const pathsOf = (tree: unknown): string[] => tensorsOf(tree).map(({ path }) => path);

import { data } from "../autograd/realize.js";
import { tensorsOf } from "../autograd/tree.js";
import type { Llama } from "../nn/llama.js";

/** Names of the weights that hold NaN or infinities. */
export async function nonFiniteTensors(model: Llama): Promise<string[]> {
  const names: string[] = [];
  for (const { path, tensor } of tensorsOf(model)) {
    const values = await data(tensor);
    if (!values.every((value) => Number.isFinite(value))) names.push(path);
  }
  return names;
}

import { compile, memory, type Tensor, tensor, tensorsOf, valueAndGrad } from "../../src/index.js";
import { type Llama, llamaLoss } from "../../src/nn/llama.js";
import { randomBatch, tinyConfig, tinyLlama } from "../nn/tiny.js";

/** What a run gives back: numbers alone, so that it can leave a page. */
export interface TinyRun {
  readonly loss: number;
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

/** Loss and all gradients of a tiny Llama on the current backend. */
export async function lossAndGradients(): Promise<TinyRun> {
  const { inputs, targets, tables } = randomBatch(tinyConfig, { batch: 2, time: 9, seed: 3 });
  const pass = compile((model: Llama) => valueAndGrad((at: Llama) => llamaLoss(at, { inputs, targets }, tables))(model));
  const [loss, grads] = pass(await tinyLlama());
  const gradients: Record<string, number[]> = {};
  for (const { path, tensor: gradient } of tensorsOf(grads)) gradients[path] = [...(await gradient.data())];
  return { loss: await loss.item(), gradients };
}

/** What a state that is donated from step to step looks like, and the memory that it takes. */
export interface DonatingRun {
  readonly last: readonly number[];
  /** How reading a state that was given away ended. */
  readonly refusal: string;
  readonly early: { readonly bytes: number; readonly buffers: number };
  readonly late: { readonly bytes: number; readonly buffers: number };
}

/** Counts a vector up by donation. */
export async function countByDonation(): Promise<DonatingRun> {
  const held = (): DonatingRun["early"] => ({ bytes: memory().liveBytes, buffers: memory().liveBuffers });
  const countUp = compile((state: Tensor, by: Tensor) => state.add(by), { donate: [0], name: "countUp" });
  const first = countUp(tensor(new Float32Array(1000)), 1);
  let state = countUp(first, 0.5);
  const early = held();
  for (let i = 0; i < 20; i++) state = countUp(state, 0.5);
  const refusal = await first.data().then(
    () => "nothing",
    (error: Error) => `${error.name}: ${error.message}`,
  );
  const late = held();
  return { last: [...(await state.data())].slice(-2), refusal, early, late };
}

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { add, mul, where } from "../../src/autograd/operations.js";
import { key } from "../../src/autograd/random.js";
import { realize } from "../../src/autograd/realize.js";
import { NonFiniteError } from "../../src/errors.js";
import { full, iota, type Tensor } from "../../src/index.js";
import { init } from "../../src/init.js";
import { loadTraining, saveModel, saveTraining } from "../../src/nn/checkpoint.js";
import { llamaConfig } from "../../src/nn/config-options.js";
import { Llama } from "../../src/nn/llama.js";
import { adamw } from "../../src/nn/optimizers.js";

const optimizer = adamw();
const newModel = (): Llama =>
  new Llama(llamaConfig({ vocab_size: 16, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2 }), { key: key(0) });

/** The tensor with one element replaced. */
const spoiled = (tensor: Tensor, value: number): Tensor =>
  where(iota(tensor.shape, 0).equal((tensor.shape[0] as number) - 1), full(tensor.shape, value), add(tensor, mul(tensor, 0)));

describe.each(["reference", "wasm"] as const)("a checkpoint (%s)", (name) => {
  let folder = "";
  let close = async (): Promise<void> => {};
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "dawngrad-sound-"));
    const backend = await init({ backend: name });
    close = () => backend.close();
  });
  afterAll(async () => {
    await close();
    await rm(folder, { recursive: true, force: true });
  });

  const contents = async (): Promise<unknown> =>
    Object.fromEntries(
      await Promise.all((await readdir(folder)).map(async (file) => [file, await readFile(join(folder, file), "base64")])),
    );

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "with a value that is %s is refused, and the one before stays",
    async (value) => {
      const model = newModel();
      await saveTraining(folder, { model, optimizerState: optimizer.init(model), step: 3 });
      const before = await contents();

      const broken = newModel();
      broken.model.norm.weight = spoiled(broken.model.norm.weight, value);
      await realize(broken);
      await expect(saveModel(folder, broken)).rejects.toThrow(NonFiniteError);
      await expect(saveModel(folder, broken)).rejects.toThrow(/model\.norm\.weight holds (NaN|-?Infinity) \(element 7 of 8\)/);
      await expect(saveTraining(folder, { model: broken, optimizerState: optimizer.init(broken), step: 4 })).rejects.toThrow(
        NonFiniteError,
      );

      const { m, ...state } = optimizer.init(model) as unknown as { m: Llama };
      m.model.norm.weight = spoiled(m.model.norm.weight, value);
      const brokenState = { ...state, m } as unknown as ReturnType<typeof optimizer.init>;
      await expect(saveTraining(folder, { model, optimizerState: brokenState, step: 4 })).rejects.toThrow(NonFiniteError);

      expect(await contents()).toEqual(before);
      expect((await loadTraining(folder, optimizer)).step).toBe(3);
    },
  );
});

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { linearAnswers } from "../../src/autograd/cross-entropy.js";
import {
  argmax,
  type Backend,
  compile,
  crossEntropy,
  key,
  Llama,
  llamaConfig,
  matmul,
  type Tensor,
  tensor,
  transpose,
  useBackend,
  zeros,
} from "../../src/index.js";
import { integers } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

describe.each(backends())("losses with answers on $name", ({ name, create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("are those of all logits at once, in blocks of any number of rows, the first of equal logits", async () => {
    const [B, T, C, V] = [3, 7, 2, 9];
    // Whole numbers: many logits are equal.
    const x = tensor(
      Float32Array.from(integers(B * T * C, 3, 1), (value) => value - 1),
      { shape: [B, T, C] },
    );
    const weight = tensor(
      Float32Array.from(integers(V * C, 3, 2), (value) => value - 1),
      { shape: [V, C] },
    );
    const targets = tensor(
      integers(B * T, V, 3).map((target, i) => (i % 4 === 3 ? -100 : target)),
      { shape: [B, T] },
    );
    const logits = matmul(x, transpose(weight));
    const expected = [...(await crossEntropy(logits, targets, { reduction: "none" }).data())];
    const most = [...(await argmax(logits, -1).data())];
    for (const rows of [8, 16, 64]) {
      const [losses, answers] = linearAnswers({ x, weight, targets }, rows);
      expect([losses.shape, answers.shape]).toEqual([targets.shape, targets.shape]);
      expect([...(await answers.data())]).toEqual(most);
      [...(await losses.data())].forEach((loss, i) => {
        expect(Math.abs(loss - (expected[i] as number))).toBeLessThan(1e-5);
      });
    }
  });

  // The reference keeps every value of a program until its end.
  if (name.startsWith("reference")) return;
  it("of 49,152 classes at 1,024 places take less than 64 MiB beside the weights", () => {
    const config = llamaConfig({ vocab_size: 49_152, hidden_size: 64, num_hidden_layers: 1, num_attention_heads: 2 });
    const model = new Llama(config, { key: key(0) });
    const answer = compile((given: Llama, hidden: Tensor, targets: Tensor) => given.headAnswers(hidden, targets));
    for (const batch of [1, 8]) {
      const found = answer.memory(model, zeros([batch, 1024, 64]), zeros([batch, 1024], { dtype: "i32" }));
      expect(found.scratchBytes).toBeLessThan(64 * 2 ** 20);
      expect(found.largestTensorBytes).toBeLessThan(64 * 2 ** 20);
    }
  });
});

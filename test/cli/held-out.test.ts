import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { planTargetsWithin } from "../../src/cli/corpus.js";
import { heldOutLoss } from "../../src/cli/held-out.js";
import type { CommandIo } from "../../src/cli/io.js";
import { byteTokenizer, useBackend } from "../../src/index.js";
import { integers, tinyConfig, tinyLlama } from "../nn/tiny.js";

const io = { note: () => undefined, print: () => undefined } as unknown as CommandIo;
const documents = [{ name: "tokens", tokens: integers(400, tinyConfig.vocab_size, 3) }];

describe("the held-out loss that a training reports", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  const scalings = [{}, { rope_scaling: { rope_type: "linear", factor: 4 } }] as const;
  it.each(scalings)("reads at the positions of the training, also beyond the window that the configuration states: %j", async (scaling) => {
    const lossAt = async (window: number): Promise<number | null> => {
      const model = await tinyLlama({ ...tinyConfig, ...scaling, max_position_embeddings: window });
      return (await heldOutLoss({ io, model, corpus: { heldOut: documents, tokenizer: byteTokenizer }, context: 16, interrupted: false }))
        .heldOut;
    };
    const stated = await lossAt(16);
    expect(stated).toBeGreaterThan(0);
    expect(await lossAt(8)).toBeCloseTo(stated as number, 12);
  });

  it("is measured at contexts that are longer than the text that is scored", async () => {
    const long = [{ name: "tokens", tokens: integers(6500, tinyConfig.vocab_size, 3) }];
    expect(planTargetsWithin({ documents: long, targets: 2048, context: 4400 })).toMatchObject({ targetLength: 2048, blocks: [{}] });
    expect(planTargetsWithin({ documents: long, targets: 100, context: 300 })).toMatchObject({ targetLength: 100, blocks: [{}] });
    expect(planTargetsWithin({ documents: long, targets: 2048, context: 6500 })).toBeUndefined();
  });
});

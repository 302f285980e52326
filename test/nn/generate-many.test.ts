import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Backend, byteTokenizer, generate, OptionError, tensor, UsageError, useBackend } from "../../src/index.js";
import { backends } from "../support/backends.js";
import { integers, plainTables, tablesAt, tinyConfig, tinyLlama } from "./tiny.js";

const D = tinyConfig.head_dim;
const V = tinyConfig.vocab_size;
const tables = (length: number) => plainTables(length, D);
/** One set of tables for as long as nothing changes, as callers give them. */
const steady = () => {
  const made = new Map<number, ReturnType<typeof tables>>();
  return (length: number) => {
    const found = made.get(length) ?? tables(length);
    made.set(length, found);
    return found;
  };
};
/** Letters as tokens, so that tokens are text. */
const letters = {
  ...byteTokenizer,
  vocabSize: V,
  decoder: () => ({ push: (tokens: ArrayLike<number>) => Array.from(tokens, (t) => String.fromCharCode(97 + t)).join(""), end: () => "" }),
};

describe.each(backends())("prompts side by side on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("are continued as each is alone, greedily and drawn with a seed of its own, at once or in blocks", async () => {
    const model = await tinyLlama(tinyConfig, { scale: 4 });
    const prompts = [3, 11, 1, 7].map((length) => integers(length, V, length));
    for (const options of [{ temperature: 0 }, { seed: 5, topK: 6, repetitionPenalty: 1.3 }]) {
      const alone: Int32Array[] = [];
      for (const [row, prompt] of prompts.entries()) {
        const seed = "seed" in options ? { seed: (options.seed as number) + row } : {};
        alone.push(await generate({ model, prompt, tokens: 6, tables: steady(), ...options, ...seed }));
      }
      for (const block of [1024, 4]) {
        expect(await generate({ model, prompts, tokens: 6, tables: steady(), block, ...options })).toEqual(alone);
      }
      // Tables that change with every token: keys are turned when they are read.
      expect(await generate({ model, prompts, tokens: 6, tables, ...options })).toEqual(alone);
    }
  });

  it("see the last keys alone where the model has a window, with padding and without", async () => {
    const model = await tinyLlama({ ...tinyConfig, sliding_window: 3 }, { scale: 4 });
    const prompts = [integers(6, V, 1), integers(2, V, 2)];
    const alone: Int32Array[] = [];
    for (const prompt of prompts) {
      const text = [...prompt];
      while (text.length < prompt.length + 5) {
        const tokens = tensor(Int32Array.from(text), { shape: [1, text.length] });
        const logits = await model.forward(tokens, tables(text.length)).data();
        const last = [...logits.subarray(logits.length - V)];
        text.push(last.indexOf(Math.max(...last)));
      }
      alone.push(Int32Array.from(text.slice(prompt.length)));
      expect(await generate({ model, prompt, tokens: 5, tables: steady(), temperature: 0 })).toEqual(alone.at(-1));
    }
    expect(await generate({ model, prompts, tokens: 5, tables: steady(), temperature: 0 })).toEqual(alone);
  });

  it("end one by one at their stop tokens and stop strings, and tell which they are", async () => {
    const model = await tinyLlama(tinyConfig, { scale: 4 });
    const prompts = [[1, 2, 3], [4]];
    const whole = await generate({ model, prompts, tokens: 8, tables, seed: 2 });
    const stop = whole[0]?.[3] as number;
    const until = (tokens: Int32Array): number[] => (tokens.includes(stop) ? [...tokens.slice(0, tokens.indexOf(stop))] : [...tokens]);
    const told: number[][] = [[], []];
    const found = await generate({
      model,
      prompts,
      tokens: 8,
      tables,
      seed: 2,
      stopTokens: [stop],
      onToken: (token, index, row) => {
        expect(told[row]).toHaveLength(index);
        told[row]?.push(token);
      },
    });
    expect(found.map((tokens) => [...tokens])).toEqual(whole.map(until));
    expect(told).toEqual(whole.map(until));

    const text = (tokens: ArrayLike<number>): string => letters.decoder().push(tokens);
    const stopString = text(whole[1]?.subarray(2, 4) as Int32Array);
    const texts = ["", ""];
    const ended = await generate({
      model,
      prompts,
      tokens: 8,
      tables,
      seed: 2,
      tokenizer: letters,
      stopStrings: [stopString],
      onText: (piece, row) => {
        texts[row] += piece;
      },
    });
    texts.forEach((found, row) => {
      expect(found).toBe(text(whole[row] as Int32Array).split(stopString)[0]);
    });
    expect(text(ended[1] as Int32Array).endsWith(stopString)).toBe(true);
  });
});

describe("prompts side by side", () => {
  it("are refused with what does not go with them", async () => {
    const { createReferenceBackend } = await import("../../src/backend/reference/index.js");
    const backend = createReferenceBackend();
    useBackend(backend);
    const model = await tinyLlama();
    const base = { model, tokens: 1, tables };
    await expect(generate({ ...base, prompts: [] })).rejects.toThrow(OptionError);
    await expect(generate({ ...base, prompts: [[1], []] })).rejects.toThrow(/prompt 1 is empty/);
    await expect(generate({ ...base, prompts: [[1], [0, V]] })).rejects.toThrow(/token 19 at place 1 of prompt 1/);
    await expect(generate({ ...base, prompts: [[1]], prompt: [1] } as never)).rejects.toThrow(OptionError);
    await expect(generate({ ...base, prompts: [[1], [2]], cache: { window: 4 } })).rejects.toThrow(OptionError);
    await expect(generate({ ...base, prompt: [1], stopStrings: ["a"] })).rejects.toThrow(/tokenizer/);
    await expect(generate({ ...base, prompt: [1], onText: () => undefined })).rejects.toThrow(/tokenizer/);
    await expect(generate({ ...base, prompt: [1], stopTokens: [V] })).rejects.toThrow(/stopTokens/);
    await expect(generate({ ...base, prompt: [1], stopStrings: [""], tokenizer: letters })).rejects.toThrow(OptionError);
    const biased = await tinyLlama({ ...tinyConfig, position_encoding: { type: "alibi" } });
    await expect(generate({ ...base, model: biased, prompts: [[1], [2, 3]] })).rejects.toThrow(UsageError);
    // Without padding they may have any encoding.
    expect(
      await generate({
        ...base,
        model: biased,
        prompts: [
          [1, 2],
          [2, 3],
        ],
      }),
    ).toHaveLength(2);
    useBackend(undefined);
    await backend.close();
  });

  it("have tables whose frequencies may grow, for the longest text", async () => {
    const { createReferenceBackend } = await import("../../src/backend/reference/index.js");
    const backend = createReferenceBackend();
    useBackend(backend);
    const model = await tinyLlama(tinyConfig, { scale: 4 });
    const growing = () => {
      let made: { scale: number; tables: ReturnType<typeof tables> } | undefined;
      return (length: number, tokens: number) => {
        const scale = Math.max(1, Math.ceil(tokens / 4));
        if (made?.scale !== scale) {
          for (const each of [made?.tables.cos, made?.tables.sin]) each?.dispose();
          made = {
            scale,
            tables: tablesAt(
              Array.from({ length }, (_, i) => i / scale),
              D,
            ),
          };
        }
        return made.tables;
      };
    };
    const fresh = (length: number, tokens: number) => {
      const scale = Math.max(1, Math.ceil(tokens / 4));
      return tablesAt(
        Array.from({ length }, (_, i) => i / scale),
        D,
      );
    };
    for (const prompts of [
      [[1, 2, 3]],
      [
        [1, 2],
        [3, 4],
      ],
    ]) {
      const turnedAgain = await generate({ model, prompts, tokens: 12, tables: growing(), temperature: 0 });
      expect(turnedAgain).toEqual(await generate({ model, prompts, tokens: 12, tables: fresh, temperature: 0 }));
    }
    useBackend(undefined);
    await backend.close();
  });
});

// What the scripts of "decoding" have in common: their options, the prompts, and how a text is timed.
import { measure, once, positiveInteger, readOptions } from "./case.mjs";
import { loraShape } from "./lora.mjs";

/** The shape of SmolLM2-135M. */
export const decodingShape = Object.fromEntries(Object.entries(loraShape).filter(([name]) => !["rank", "alpha", "lr"].includes(name)));

/** Tokens of the prompt, which are in the cache when decoding begins, where no others are asked for. */
export const fillings = [64, 512, 2048];

/** Options of a script: a GGUF file, lengths of prompts, and how many tokens follow each. */
export const decodingOptions = {
  model: { type: "string" },
  fillings: { type: "string", default: fillings.join() },
  tokens: { type: "string", default: "32" },
};

export function readDecoding(options) {
  if (!options.model) throw new Error("--model names a GGUF file");
  const lengths = options.fillings.split(",").map((text) => positiveInteger("fillings", text));
  return { ...options, lengths, tokens: positiveInteger("tokens", options.tokens) };
}

/** The options of a script that has no others. */
export const decodingFrom = () => readDecoding(readOptions(decodingOptions));

/** Tokens of a prompt, the same ones for every library: they go through the vocabulary in large steps. */
export const promptOf = (length, vocabulary) => Array.from({ length }, (_, i) => (17 + 7919 * i) % vocabulary);

/**
 * Times `write(prompt, count, onToken)`, which writes `count` tokens after a prompt and says each when it is there: milliseconds until the
 * first token, and from each token to the next. `texts` are the tokens that were written, for comparison.
 */
export async function measureDecoding(write, { lengths, tokens, seconds, vocabulary }) {
  const [cases, texts] = [{}, {}];
  for (const length of lengths) {
    const prompt = promptOf(length, vocabulary);
    const [first, next] = [[], []];
    let text = [];
    const run = async () => {
      text = [];
      let last = performance.now();
      await write(prompt, tokens + 1, (token) => {
        const now = performance.now();
        (text.length === 0 ? first : next).push(now - last);
        text.push(token);
        last = performance.now();
      });
    };
    await once(run); // compiles
    first.length = 0;
    next.length = 0;
    await measure(run, { seconds, warmUp: 0 });
    cases[`prefill ${length}`] = first;
    cases[`decoding ${length}`] = next;
    texts[length] = text;
  }
  return { cases, texts };
}

// A position source and a task of one's own, compared with E²-LLM over three seeds. In a clone of dawngrad (elsewhere import from "dawngrad"):
//   npx esbuild examples/own-position-source.ts --bundle --packages=external --platform=node --format=esm --outfile=own.mjs && node own.mjs
import { experimentTable, init, noTarget, type Question, rowSource, runExperiment, type Task } from "../src/index.js";

const [steps, count] = [Number(process.argv[2] ?? 1500), Number(process.argv[3] ?? 128)];

// "Which letter came after the one that stands here, when it stood somewhere last time?"
const successor = (letters: number): Task => ({
  name: "successor",
  vocabulary: letters + 1,
  bos: 0,
  kinds: { successor: { chance: 1 / letters, description: "the letter that came after this one last time" } },
  example({ length, random, purpose }) {
    const inputs = Int32Array.from({ length }, (_, place) => (place === 0 ? 0 : 1 + random.below(letters)));
    const targets = new Int32Array(length).fill(noTarget);
    const questions: Question[] = [];
    for (let place = purpose === "training" ? 2 : length - 8; place < length; place++) {
      const last = inputs.lastIndexOf(inputs[place] as number, place - 1);
      if (last < 1) continue;
      targets[place] = inputs[last + 1] as number;
      questions.push({ place, kind: "successor", distance: place - last });
    }
    return { inputs, targets, questions };
  },
});

await init();
const results = await runExperiment({
  name: "own position source",
  task: successor(24),
  model: { hidden_size: 48, num_hidden_layers: 2, num_attention_heads: 2, initializer_range: 0.1 },
  window: 32,
  base: { steps, batch: 16, lr: 4e-3 },
  extension: { steps: Math.ceil(steps / 4), lr: 2e-3 },
  variants: {
    e2: { positions: { type: "e2", gMax: 4, granularity: "sample" } },
    // Every token skips over a few places, at random, so that the window reaches as far as four.
    jumps: {
      positions: ({ seed }) =>
        rowSource({
          seed,
          draw({ length, random }) {
            let position = 0;
            const positions = Array.from({ length }, () => (position += 1 + random().below(7)));
            return { positions, scale: 4, draw: { last: position } };
          },
        }),
    },
  },
  readings: { none: { schedule: "none" }, PI: { schedule: "linear", scale: "W/L" } },
  rows: [{ variant: ["base", "e2", "jumps"], reading: ["none", "PI"] }],
  evaluations: { successor: { type: "lengths", contexts: ["L", "2L", "4L"], count } },
  seeds: [1, 2, 3],
});
console.log(experimentTable(results));

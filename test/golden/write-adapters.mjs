/**
 * Writes what make_peft.py gives to Python's PEFT: adapters on the model of test/golden/llama, tied and not, with the logits that this library
 * computes with them.
 *
 *     npm run build && node test/golden/write-adapters.mjs FOLDER
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  applyLora,
  init,
  key,
  loadAdapter,
  loadModel,
  mapTensors,
  modelFrequencies,
  mul,
  plainPositions,
  randn,
  ropeTables,
  ropeTensors,
  saveAdapter,
  tensor,
} from "../../dist/index.js";

const folder = process.argv[2];
if (folder === undefined) throw new Error("name a folder");
mkdirSync(folder, { recursive: true });
await init({ backend: "reference" });

const golden = JSON.parse(readFileSync(new URL("peft/golden.json", import.meta.url), "utf8"));
const T = golden.tokens.length;
const untied = await loadModel(fileURLToPath(new URL("llama/", import.meta.url)));
const tied = Object.assign(Object.create(Object.getPrototypeOf(untied)), untied, {
  _config: { ...untied.config, tie_word_embeddings: true },
  lm_head: null,
});

/** Numbers that are no zeros in what is trained. */
let seed = 0;
const stirred = (model) =>
  mapTensors(model, (t, path) => {
    if (path.includes("lora_B")) return mul(randn(key(++seed), t.shape), 0.3);
    return path.includes("modules_to_save") ? mul(t, mul(randn(key(++seed), t.shape), 0.1).add(1)) : t;
  });

const cases = {
  plain: [false, applyLora(untied, { rank: 4, alpha: 8, dropout: 0.1, targets: ["q_proj", "v_proj"] })],
  all: [false, applyLora(untied, { rank: 2, rslora: true, trainNorms: true, modulesToSave: ["lm_head"] })],
  some: [false, applyLora(untied, { rank: 2, targets: ["layers.1.self_attn.k_proj", "down_proj"], modulesToSave: ["model.norm"] })],
  tied: [true, applyLora(tied, { rank: 3, targets: ["up_proj"], trainEmbeddings: true })],
  patterns: [false, await loadAdapter(untied, fileURLToPath(new URL("peft/patterns/", import.meta.url)))],
  untied: [true, await loadAdapter(tied, fileURLToPath(new URL("peft/untied/", import.meta.url)))],
};

const tables = ropeTensors(ropeTables(plainPositions({ length: T }), modelFrequencies(untied.config)));
const answers = {};
for (const [name, [isTied, model]] of Object.entries(cases)) {
  const adapted = stirred(model);
  await saveAdapter(`${folder}/${name}`, adapted, { base: "../../llama" });
  const logits = await adapted.forward(tensor(new Int32Array(golden.tokens), { shape: [1, T] }), tables).data();
  answers[name] = { tied: isTied, logits: Array.from(logits) };
}
writeFileSync(`${folder}/golden.json`, JSON.stringify(answers));

/**
 * Writes what check_families.py gives to Hugging Face's transformers: the models of test/golden/families as this library saves them, in every
 * dtype, whole and in several files.
 *
 *     npm run build && node test/golden/write-families.mjs FOLDER
 */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { exportConfig, init, loadModel, saveModel } from "../../dist/index.js";

const folder = process.argv[2];
if (folder === undefined) throw new Error("name a folder");
const families = fileURLToPath(new URL("families/", import.meta.url));

await init({ backend: "reference" });
for (const name of readdirSync(families, { withFileTypes: true }).filter((entry) => entry.isDirectory())) {
  const model = await loadModel(`${families}/${name.name}`);
  for (const dtype of ["f32", "f16", "bf16"]) {
    await saveModel(`${folder}/${name.name}-${dtype}`, model, { dtype, ...(dtype === "f16" ? { maxShardBytes: 4000 } : {}) });
  }
  await saveModel(`${folder}/${name.name}-g2`, model, { extraConfig: exportConfig(model.config, { scale: 2 }) });
}

import { modelFiles, openIfThere } from "../nn/model-source.js";
import { readSafetensorsHeader } from "../nn/safetensors-header.js";

/** What the checkpoint of a training says of it. */
export interface SavedTraining {
  /** Steps that were done. */
  readonly step: number;
  /** Options, seeds and the like, as the command wrote them. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** The training whose checkpoint a folder holds, undefined where it holds none. Throws FormatError for one that is damaged. */
export async function savedTraining(folder: string): Promise<SavedTraining | undefined> {
  const file = await openIfThere(modelFiles("inspect", folder), "training.safetensors");
  if (file === undefined) return undefined;
  try {
    const { metadata } = await readSafetensorsHeader(file);
    const settings: unknown = parsed(metadata["extra"]);
    return { step: Number(metadata["step"]), settings: typeof settings === "object" && settings !== null ? { ...settings } : {} };
  } finally {
    await file.close();
  }
}

function parsed(json: string | undefined): unknown {
  try {
    return JSON.parse(json ?? "{}");
  } catch {
    return {};
  }
}

/** The folder of one run, or a stand-in for it where nothing is to be written. */
import { MissingFileError } from "../../nn/byte-source.js";
import { readFileChecked, writeFileAtomic } from "../../nn/files.js";
import { makeFolder } from "../../nn/folders.js";
import { parseJson } from "../../nn/json.js";
import type { RowRecord, RunRecord } from "./results.js";

const runFile = "run.json";
const scoresFile = "scores.json";

/** Files of one run by name. Without a path they last as long as the object. */
export class RunFolder {
  private readonly held = new Map<string, unknown>();

  constructor(readonly path: string | undefined) {}

  /** What a file holds; undefined where there is none, or one that is damaged, for which it has to be made again. */
  async read(name: string): Promise<unknown> {
    if (this.path === undefined) return this.held.get(name);
    const file = `${this.path}/${name}`;
    try {
      return parseJson(new TextDecoder().decode(await readFileChecked(file)), { file });
    } catch {
      return undefined;
    }
  }

  async write(name: string, content: object): Promise<void> {
    if (this.path === undefined) {
      this.held.set(name, content);
      return;
    }
    await makeFolder(this.path);
    await writeFileAtomic(`${this.path}/${name}`, `${JSON.stringify(content)}\n`);
  }

  async has(name: string): Promise<boolean> {
    if (this.path === undefined) return false;
    try {
      await readFileChecked(`${this.path}/${name}`);
      return true;
    } catch (error) {
      if (error instanceof MissingFileError) return false;
      throw error;
    }
  }
}

/** Letters and digits of a name, for a folder: "E² per sample" is "e2-per-sample". Names that become equal are kept apart by a number. */
export function folderNames(names: readonly string[]): ReadonlyMap<string, string> {
  const taken = new Set<string>();
  return new Map(
    names.map((name) => {
      const plain = name
        .normalize("NFKD")
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, "-")
        .replace(/^-|-$/g, "");
      const start = plain === "" ? "run" : plain;
      let folder = start;
      for (let n = 2; taken.has(folder); n++) folder = `${start}-${n}`;
      taken.add(folder);
      return [name, folder];
    }),
  );
}

export const readRun = async (folder: RunFolder): Promise<RunRecord | undefined> => (await folder.read(runFile)) as RunRecord | undefined;
export const writeRun = (folder: RunFolder, record: RunRecord): Promise<void> => folder.write(runFile, record);

/** Rows of this run that were measured before, by their names. */
export async function readScores(folder: RunFolder): Promise<Map<string, RowRecord>> {
  const found = (await folder.read(scoresFile)) as { readonly rows?: readonly RowRecord[] } | undefined;
  return new Map((found?.rows ?? []).map((row) => [row.row, row]));
}

export const writeScores = (folder: RunFolder, rows: Iterable<RowRecord>): Promise<void> => folder.write(scoresFile, { rows: [...rows] });

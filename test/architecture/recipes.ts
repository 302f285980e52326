import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** The recipes of docs/extending.md as edits of files. */

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** One edit: `text` after the line that holds `anchor`, in its place, or as a new file. */
export interface Edit {
  readonly path: string;
  readonly how: "after" | "in place of" | "new";
  readonly anchor: string;
  readonly text: string;
}

const sentence =
  /(?:In\s+`(src|test)\/([^`]+)`,\s+(after|in place of)\s+`([^`]+)`|New\s+file\s+`(src)\/([^`]+)`)\n\n( *)```ts\n([\s\S]*?)\n\7```/g;

/** The edits of each recipe, by its heading. */
export function recipesOf(page: string): ReadonlyMap<string, readonly Edit[]> {
  const recipes = page.split(/^## /m).slice(1);
  return new Map(
    recipes.map((recipe) => {
      const edits = [...recipe.matchAll(sentence)].map(([, folder, file, how, anchor, newFolder, newFile, indent, code]): Edit => {
        const text = (code as string).replaceAll(new RegExp(`^${indent}`, "gm"), "");
        if (newFile !== undefined) return { path: `${newFolder}/${newFile}`, how: "new", anchor: "", text };
        return { path: `${folder}/${file}`, how: how as Edit["how"], anchor: anchor as string, text };
      });
      // Every piece of code belongs to a sentence that was understood.
      const blocks = [...recipe.matchAll(/^ *```ts$/gm)].length;
      if (blocks !== edits.length) throw new Error(`${recipe.split("\n")[0]}: ${blocks} pieces of code, ${edits.length} edits`);
      return [recipe.split("\n")[0] as string, edits];
    }),
  );
}

/** The files that edits change, as they are then. Throws where an anchor is not there, or not once. */
export function apply(edits: readonly Edit[]): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const { path, how, anchor, text } of edits) {
    if (how === "new") {
      files.set(path, `${text}\n`);
      continue;
    }
    const before = files.get(path) ?? readFileSync(join(root, path), "utf8");
    const at = before.indexOf(anchor);
    if (at < 0 || before.indexOf(anchor, at + 1) >= 0) throw new Error(`${path}: "${anchor}" is not there once`);
    const end = how === "after" ? before.indexOf("\n", at) : at;
    const rest = how === "after" ? before.slice(end) : before.slice(at + anchor.length);
    files.set(path, `${before.slice(0, end)}${how === "after" ? "\n" : ""}${text}${rest}`);
  }
  return files;
}

/** Checks the types of the library and of some tests with some files replaced. */
export class TypeCheck {
  private readonly options: ts.CompilerOptions;
  private program: ts.Program | undefined;

  constructor(private readonly entries: readonly string[]) {
    const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile) as { config: unknown };
    this.options = ts.parseJsonConfigFileContent(config, ts.sys, root).options;
  }

  /** The errors by the file that they are in, in files that are asked for. */
  errors(replaced: ReadonlyMap<string, string>, within: (path: string) => boolean): ReadonlyMap<string, readonly string[]> {
    const texts = new Map([...replaced].map(([path, text]) => [join(root, path), text]));
    const host = ts.createCompilerHost(this.options);
    const { readFile, fileExists, getSourceFile } = host;
    host.readFile = (file) => texts.get(file) ?? readFile.call(host, file);
    host.fileExists = (file) => texts.has(file) || fileExists.call(host, file);
    host.getSourceFile = (file, target, ...rest) => {
      const text = texts.get(file);
      if (text !== undefined) return ts.createSourceFile(file, text, target);
      return this.program?.getSourceFile(file) ?? getSourceFile.call(host, file, target, ...rest);
    };
    const program = ts.createProgram(
      this.entries.map((entry) => join(root, entry)),
      this.options,
      host,
    );
    const found = new Map<string, string[]>();
    for (const file of program.getSourceFiles()) {
      const path = file.fileName.slice(root.length);
      if (file.isDeclarationFile || !within(path)) continue;
      for (const { messageText } of [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]) {
        found.set(path, [...(found.get(path) ?? []), ts.flattenDiagnosticMessageText(messageText, "\n")]);
      }
    }
    this.program ??= program;
    return found;
  }
}

import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { beforeAll, describe, expect, it } from "vitest";
import { type PrimitiveName, primitives } from "../../src/ir/primitives.js";
import { root } from "./recipes.js";

/** A table as text, and the texts of its entries. */
interface Table {
  /** What a copy of it under another name begins with, and the rest. */
  readonly copy: (name: string, without: Entry) => string;
  readonly entries: readonly Entry[];
}

/** A rule: whom it is for, and where it stands in the table. */
interface Entry {
  readonly primitive: string;
  readonly begin: number;
  readonly end: number;
}

interface Place {
  readonly path: string;
  /** The object with an entry for each primitive, or the function or method with a case for each. */
  readonly name: string;
  /** A method is copied into its class. */
  readonly method?: true;
}

const places: Readonly<Record<string, Place>> = {
  derivatives: { path: "src/autograd/vjp.ts", name: "vjpRules" },
  batches: { path: "src/autograd/batching.ts", name: "batchingRules" },
  "the reference": { path: "src/backend/reference/lowerings.ts", name: "lowerings" },
  WGSL: { path: "src/backend/webgpu/wgsl.ts", name: "operations" },
  WASM: { path: "src/backend/wasm/kernels/operations.ts", name: "operation" },
  "values of a kernel": { path: "src/compiler/scalars.ts", name: "fresh", method: true },
  "places that are read": { path: "src/ir/operand-accesses.ts", name: "operandAccesses" },
  reductions: { path: "src/compiler/lower.ts", name: "reducers" },
};

/** Finds a table in its file. */
function tableOf({ path, name, method }: Place): Table {
  const text = readFileSync(join(root, path), "utf8");
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  let found: ts.Node | undefined;
  const visit = (node: ts.Node): void => {
    const named = ts.isVariableDeclaration(node) || ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node);
    if (named && node.name?.getText(file) === name && (node.parent.kind !== ts.SyntaxKind.ClassDeclaration || method)) found ??= node;
    ts.forEachChild(node, visit);
  };
  visit(file);
  if (found === undefined) throw new Error(`${path} has no ${name}`);
  const whole = ts.isVariableDeclaration(found) ? found.parent.parent : found;
  const [begin, end] = [whole.getStart(file), whole.getEnd()];
  const at = (found as ts.VariableDeclaration).name.getStart(file);
  const head = (copyName: string, until: number): string =>
    `${text.slice(begin, at)}${copyName}${text.slice(at + name.length, until)}`.replace(/^export /, "");
  if (!ts.isVariableDeclaration(found)) {
    return { entries: cases(found, file), copy: (copyName, { begin: from, end: to }) => head(copyName, from) + text.slice(to, end) };
  }
  const object = found.initializer as ts.ObjectLiteralExpression;
  const entries = object.properties.map((property) => ({ primitive: (property.name as ts.Identifier).text, begin: 0, end: 0 }));
  // What the other rules are is checked in the table itself, and takes its time.
  const listed = (without: Entry): string =>
    entries.flatMap((entry) => (entry === without ? [] : [`${entry.primitive}: anyRule`])).join(", ");
  return { entries, copy: (copyName, without) => `${head(copyName, object.getStart(file))}{ ${listed(without)} };` };
}

function cases(within: ts.Node, file: ts.SourceFile): Entry[] {
  const found: Entry[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCaseClause(node) && ts.isStringLiteral(node.expression) && node.expression.text in primitives)
      found.push({ primitive: node.expression.text, begin: node.getStart(file), end: node.getEnd() });
    ts.forEachChild(node, visit);
  };
  visit(within);
  return found;
}

describe("a table without one of its rules does not compile:", () => {
  /** Errors in the copies of each table that lack an entry, by the entry. */
  const errors = new Map<string, Map<string, string[]>>();
  const tables = Object.entries(places).map(([title, place]) => ({ title, place, table: tableOf(place) }));

  beforeAll(() => {
    // One program, in which each file has a copy of its table for each entry, without it.
    const copies = new Map<string, { text: string; ranges: { primitive: string; begin: number; end: number }[] }>();
    for (const { place, table } of tables) {
      const path = join(root, place.path);
      const own = readFileSync(path, "utf8");
      // Copies of a method stand before the method itself.
      const at = place.method ? own.search(new RegExp(`^  private ${place.name}\\(`, "m")) : own.length;
      let text = `${own.slice(0, at)}\n${place.method ? "" : "declare const anyRule: never;\n"}`;
      const ranges = table.entries.map((entry) => {
        const begin = text.length;
        text += `${table.copy(`${place.name}_without_${entry.primitive}`, entry)}\n`;
        return { primitive: entry.primitive, begin, end: text.length };
      });
      copies.set(path, { text: text + own.slice(at), ranges });
    }
    const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile) as { config: unknown };
    const own = ts.parseJsonConfigFileContent(config, ts.sys, root).options;
    // The tables know nothing of browsers and Node, whose declarations are long.
    const options = { ...own, noUnusedLocals: false, types: [], lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"] };
    const host = ts.createCompilerHost(options);
    const { getSourceFile } = host;
    host.getSourceFile = (file, target, ...rest) => {
      const copy = copies.get(file);
      return copy ? ts.createSourceFile(file, copy.text, target) : getSourceFile.call(host, file, target, ...rest);
    };
    const program = ts.createProgram([...copies.keys()], options, host);
    for (const { title, place } of tables) {
      const path = join(root, place.path);
      const { ranges } = copies.get(path) as { ranges: { primitive: string; begin: number; end: number }[] };
      const file = program.getSourceFile(path) as ts.SourceFile;
      const byEntry = new Map<string, string[]>(ranges.map(({ primitive }) => [primitive, []]));
      for (const { start = 0, messageText } of [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]) {
        const range = ranges.find(({ begin, end }) => start >= begin && start < end);
        const message = ts.flattenDiagnosticMessageText(messageText, "\n");
        if (range === undefined) throw new Error(`${place.path}: ${message}`);
        byEntry.get(range.primitive)?.push(message);
      }
      errors.set(title, byEntry);
    }
  }, 120_000);

  const all = Object.keys(primitives) as PrimitiveName[];
  const tagged = (...tags: readonly string[]): PrimitiveName[] => all.filter((name) => tags.includes(primitives[name].tag));
  const expected: Readonly<Record<string, readonly PrimitiveName[]>> = {
    derivatives: all,
    batches: all,
    "the reference": all,
    WGSL: tagged("elementwise"),
    WASM: tagged("elementwise"),
    "values of a kernel": all.filter((name) => primitives[name].tag !== "elementwise"),
    "places that are read": [...tagged("movement"), "gather", "randomBits"],
    reductions: tagged("reduce"),
  };

  it.each(tables)("$title", ({ title, table }) => {
    expect(table.entries.map(({ primitive }) => primitive).sort()).toEqual([...(expected[title] as string[])].sort());
    const silent = [...(errors.get(title) as Map<string, string[]>)].filter(([, messages]) => messages.length === 0);
    expect(silent.map(([primitive]) => primitive)).toEqual([]);
  });
});

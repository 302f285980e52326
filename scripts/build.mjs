// Builds dist/: src as JavaScript with declarations and maps, and beside each entry the door for programs that use require().
// `--if-older` leaves one that is younger than what it is made of as it is.

import { chmodSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import ts from "typescript";

if (process.argv.includes("--if-older") && isYounger("dist/index.d.cts")) process.exit(0);

const host = {
  ...ts.sys,
  onUnRecoverableConfigFileDiagnostic: (diagnostic) => finish([diagnostic]),
};
const config = ts.getParsedCommandLineOfConfigFile("tsconfig.build.json", {}, host);
rmSync(config.options.outDir, { recursive: true, force: true });
const program = ts.createProgram(config.fileNames, config.options);
const { diagnostics } = program.emit();
const found = [...config.errors, ...ts.getPreEmitDiagnostics(program), ...diagnostics];
if (found.length === 0) {
  for (const [name, folder] of Object.entries({ dawngrad: ".", "dawngrad/testing": "testing" })) {
    writeFileSync(`dist/${folder}/index.cjs`, commonjsModule(name));
    writeFileSync(`dist/${folder}/index.d.cts`, commonjsTypes(program, `src/${folder === "." ? "" : `${folder}/`}index.ts`));
  }
  // An installation makes the command a program; npx in a clone runs the file as it is.
  chmodSync("dist/cli/main.js", 0o755);
}
finish(found);

/** True where a file is there and younger than all sources, and than all folders, which change when a source goes. */
function isYounger(file) {
  if (!existsSync(file)) return false;
  const sources = readdirSync("src", { recursive: true }).map((name) => `src/${name}`);
  const made = statSync(file).mtimeMs;
  const from = ["package.json", "tsconfig.json", "tsconfig.build.json", "scripts/build.mjs", "src", ...sources];
  return from.every((name) => statSync(name).mtimeMs < made);
}

/** Node gives the very module that import gives; the Nodes that cannot are told so in words. */
function commonjsModule(name) {
  return `"use strict";
try {
  module.exports = require("./index.js");
} catch (error) {
  if (error.code !== "ERR_REQUIRE_ESM") throw error;
  throw new Error('require("${name}") needs Node 20.19, 22.12 or newer: here, use await import("${name}")', { cause: error });
}
`;
}

/**
 * The same types for require(), where TypeScript refuses to re-export the values of an ES module: each value is declared with the type
 * that it has there. A class is one type however it came, as it is one class when the program runs.
 */
function commonjsTypes(program, source) {
  const module = 'import("./index.js", { with: { "resolution-mode": "import" } })';
  const lines = [`type Module = typeof ${module};`, 'export type * from "./index.js" with { "resolution-mode": "import" };'];
  const checker = program.getTypeChecker();
  const index = program.getSourceFile(source);
  for (const symbol of checker.getExportsOfModule(checker.getSymbolAtLocation(index))) {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    if (!(target.flags & ts.SymbolFlags.Value) || isTypeOnly(symbol)) continue;
    lines.push(`export declare const ${symbol.name}: Module["${symbol.name}"];`);
    if (!(target.flags & ts.SymbolFlags.Type)) continue;
    const parameters = checker.getDeclaredTypeOfSymbol(target).typeParameters ?? [];
    if (parameters.length > 0) throw new Error(`${symbol.name} is a class with type parameters, which index.d.cts cannot name yet`);
    lines.push(`export type ${symbol.name} = ${module}.${symbol.name};`);
  }
  return `${lines.join("\n")}\n`;
}

/** True for `export type { … }`, which has no value though what it names has one. */
function isTypeOnly(symbol) {
  return (symbol.declarations ?? []).some((declaration) => ts.isTypeOnlyImportOrExportDeclaration(declaration));
}

function finish(diagnostics) {
  const format = { getCanonicalFileName: (name) => name, getCurrentDirectory: ts.sys.getCurrentDirectory, getNewLine: () => "\n" };
  if (diagnostics.length > 0) process.stderr.write(ts.formatDiagnosticsWithColorAndContext(diagnostics, format));
  process.exit(diagnostics.length === 0 ? 0 : 1);
}

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { type Program, printed, programOf, programRecipes } from "./programs.js";

const folder = fileURLToPath(new URL("../properties/regressions", import.meta.url));

/** Programs that failed once, and what did not hold of them. */
export function regressions(): { readonly name: string; readonly program: Program }[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .sort()
    .map((name) => ({ name, program: JSON.parse(readFileSync(join(folder, name), "utf8")) as Program }));
}

/** Keeps a program, and returns its file's name. */
function keep(program: Program, failed: string): string {
  const name = `${createHash("sha256").update(program.body).digest("hex").slice(0, 10)}.json`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), `${JSON.stringify({ failed, ...program }, undefined, 2)}\n`);
  return name;
}

/** A program for which something does not hold, with a law of the library if that is what fails. */
export class ProgramFailure extends Error {
  constructor(
    message: string,
    readonly law?: string,
  ) {
    super(message);
  }
}

/**
 * Throws unless `check` passes for the programs that failed once, which come first, and for random ones. Of a failing program the smallest
 * version that still fails is printed, as TypeScript that one can run, and kept among the regressions.
 */
export async function holdsForPrograms(
  check: (program: Program) => Promise<void>,
  options: { seed: number; runs: number; keeps?: boolean },
): Promise<void> {
  const { seed, runs, keeps = true } = options;
  for (const { name, program } of keeps ? regressions() : []) {
    await check(program).catch((error: unknown) => {
      throw new Error(`test/properties/regressions/${name} fails again: ${(error as Error).message}\n\n${printed(program, lawOf(error))}`);
    });
  }
  const holds = fc.asyncProperty(programRecipes, (recipe) => check(programOf(recipe)));
  const { failed, counterexample, errorInstance } = await fc.check(holds, { seed, numRuns: runs });
  if (!failed) return;
  const program = programOf((counterexample as [Parameters<typeof programOf>[0]])[0]);
  const { message } = errorInstance as Error;
  const kept = keeps ? `\n\nkept as test/properties/regressions/${keep(program, message.split("\n")[0] as string)}` : "";
  throw new Error(`${message}\n\n${printed(program, lawOf(errorInstance))}${kept}`);
}

const lawOf = (error: unknown): string | undefined => (error instanceof ProgramFailure ? error.law : undefined);

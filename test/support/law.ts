import { it, type TestOptions } from "vitest";

/**
 * A test of a law, with its statement in words and symbols. `docs/laws.md` lists what is written in these calls, and is made from them, so
 * that names and statements are literals.
 */
export function law(name: string, statement: string, options: TestOptions, run: () => Promise<unknown> | unknown): void;
export function law(name: string, statement: string, run: () => Promise<unknown> | unknown): void;
export function law(
  name: string,
  _statement: string,
  ...[first, second]: [TestOptions, () => Promise<unknown> | unknown] | [() => Promise<unknown> | unknown]
): void {
  const [options, run] = second === undefined ? [{}, first as () => unknown] : [first as TestOptions, second];
  it(name, options, async () => {
    await run();
  });
}

/** Regular expressions of files, for names of modules. Nobody vouches for them, so that only those are tried that cannot take long. */
type Fail = (message: string, hint: string) => Error;

const maxCharacters = 1000;
/** Time grows with the length of a name to the power of these. */
const maxRepetitions = 4;

/**
 * The expression of a file, which a whole name must match, as Python's `re.fullmatch` has it. What Python and JavaScript read differently, and
 * what could take long to match, is refused with what `fail` makes: groups that repeat, references back, looks around and flags.
 */
export function nameExpression(text: string, fail: Fail): RegExp {
  const plain = text.replace(/\\./g, "a").replace(/\[\^?\]?[^\]]*\]/g, "a");
  const repetitions = plain.match(/[*+]|\{\d*,\d*\}/g)?.length ?? 0;
  const problem =
    text.length > maxCharacters
      ? `of more than ${maxCharacters} characters`
      : /\(\?(?!:)|\\[1-9AZzkK]/.test(text)
        ? "with references, looks around or flags"
        : /\)[*+{]/.test(plain) || repetitions > maxRepetitions
          ? "with repeated groups or many repetitions"
          : undefined;
  const hint = "list the names of the modules in its place";
  if (problem !== undefined) throw fail(`found an expression ${problem}: ${JSON.stringify(text.slice(0, 80))}`, hint);
  try {
    return new RegExp(`^(?:${text})$`);
  } catch (error) {
    throw fail(`expected an expression, found ${JSON.stringify(text)} (${error instanceof Error ? error.message : String(error)})`, hint);
  }
}

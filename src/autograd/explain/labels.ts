/** Texts of pictures. */

/** The end of a place in a program: "train.js:12:7". */
export const shortLine = (line: string | undefined): string => line?.replace(/^.*[\\/]/, "") ?? "";

const units = ["", "k", "M", "G", "T", "P"] as const;

/** A number to three digits: "2.10 MFLOP" for 2,100,000 and the unit "FLOP". */
export function inThousands(value: number, unit = ""): string {
  const power = value < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  const digits = power === 0 && Number.isInteger(value) ? String(value) : (value / 1000 ** power).toPrecision(3);
  return `${digits} ${units[power]}${unit}`.trimEnd();
}

/** A text of at most so many characters. */
export const shortened = (text: string, most: number): string => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

/** A text as content of an element of XML, without the characters that XML does not have. */
export const escaped = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those that XML forbids
  text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "�").replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

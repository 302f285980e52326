import { checkFields, checkOptions, integer, numbers, optional, plainObject } from "../../arguments.js";
import type { HostRotations, HostTables } from "../../nn/batch.js";

/**
 * Log-n scaling (Su 2021, kexue.fm/archives/8823; Chiang & Cholak 2022, arXiv 2202.12172) of any tables: the query at place n is multiplied
 * by
 *
 *   max(1, ln(n + 1) / ln L),
 *
 * so that the entropy of attention over more keys than the model was trained on stays about what it was in training. Nothing changes
 * within the trained window L. The factor stands in the tables of the queries, those for far keys included.
 *
 * @param options.window L, at least 2
 * @throws OptionError for tables that are none, or a window below 2
 */
export function logNTables(tables: HostTables, options: { readonly window: number }): HostTables {
  checkFields("logNTables", "tables", tables, {
    cos: numbers,
    sin: numbers,
    rows: integer(1),
    length: integer(0),
    half: integer(1),
    query: optional(plainObject),
    far: optional(plainObject),
  });
  checkOptions("logNTables", options, { window: integer(2) });
  const { rows, length, half, far } = tables;
  const { window } = options;
  if (length <= window) return tables;
  const scaled = ({ cos, sin }: HostRotations): HostRotations => {
    const found = { cos: cos.slice(), sin: sin.slice() };
    for (let row = 0; row < rows; row++) {
      for (let n = window; n < length; n++) {
        const factor = Math.log(n + 1) / Math.log(window);
        const first = (row * length + n) * half;
        for (let at = first; at < first + half; at++) {
          found.cos[at] = factor * (cos[at] as number);
          found.sin[at] = factor * (sin[at] as number);
        }
      }
    }
    return found;
  };
  return { ...tables, query: scaled(tables.query ?? tables), ...(far === undefined ? {} : { far: { ...far, query: scaled(far.query) } }) };
}

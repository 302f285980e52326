import { callable, checkArgument, checkOptions, object, optional } from "../arguments.js";
import type { Tensor } from "../autograd/tensor.js";
import { isBranch, type Tree, tensorsOf } from "../autograd/tree.js";
import { bytesInWords, elementBytes } from "../ir/bytes.js";
import { type DType, isFloat } from "../ir/dtype.js";
import { type Shape, show } from "../ir/shape.js";
import type { Trainable } from "./trainable.js";

export interface SummaryOptions {
  /** Which tensors are trained, as `createTrainStep` takes it. Default: all that are floats. */
  readonly trainable?: Trainable;
}

/** A tensor of a model. */
export interface SummaryRow {
  /** The path: "model.layers.0.mlp.up_proj.weight". */
  readonly name: string;
  /** The class of the module that holds it; "" where that is no class of one's own. */
  readonly module: string;
  readonly shape: Shape;
  readonly dtype: DType;
  /** Elements. */
  readonly parameters: number;
  /** What they take on a device. */
  readonly bytes: number;
  readonly trainable: boolean;
  /** The name of the same tensor further up (tied weights), which the totals count once. */
  readonly tiedTo: string | undefined;
}

/** What a model is made of, see {@link summary}. As text (`String(…)`, `console.log`) it is a table. */
export interface ModelSummary {
  readonly rows: readonly SummaryRow[];
  /** Elements of all tensors, tied ones once. */
  readonly parameters: number;
  readonly trainableParameters: number;
  readonly frozenParameters: number;
  readonly bytes: number;
  readonly trainableBytes: number;
  toString(): string;
}

/**
 * The tensors of a model, or of any tree: name, shape, dtype, parameters, bytes on a device, and whether they are trained; with totals
 * that count a tensor once, wherever it stands. Nothing is computed. As text the layers of a list that are alike are one line each:
 *
 *   console.log(String(summary(model)));
 *
 * Throws UsageError for what is no tree.
 */
export function summary(model: Tree, options: SummaryOptions = {}): ModelSummary {
  checkArgument("summary", "model", model, object);
  checkOptions("summary", options, { trainable: optional(callable) });
  const { trainable = () => true } = options;
  const first = new Map<Tensor, string>();
  const rows = tensorsOf(model, "summary: the model").map(({ tensor, path }): SummaryRow => {
    const tiedTo = first.get(tensor);
    if (tiedTo === undefined) first.set(tensor, path);
    const { shape, dtype, size } = tensor;
    return {
      name: path,
      module: classAt(model, path),
      shape,
      dtype,
      parameters: size,
      bytes: size * elementBytes[dtype],
      trainable: isFloat(dtype) && trainable(tensor, path),
      tiedTo,
    };
  });
  return new Summary(rows);
}

class Summary implements ModelSummary {
  readonly parameters: number;
  readonly trainableParameters: number;
  readonly frozenParameters: number;
  readonly bytes: number;
  readonly trainableBytes: number;

  constructor(readonly rows: readonly SummaryRow[]) {
    const own = rows.filter(({ tiedTo }) => tiedTo === undefined);
    const sum = (chosen: readonly SummaryRow[], what: "parameters" | "bytes"): number => chosen.reduce((n, row) => n + row[what], 0);
    const trained = own.filter(({ trainable }) => trainable);
    this.parameters = sum(own, "parameters");
    this.trainableParameters = sum(trained, "parameters");
    this.frozenParameters = this.parameters - this.trainableParameters;
    this.bytes = sum(own, "bytes");
    this.trainableBytes = sum(trained, "bytes");
  }

  toString(): string {
    return tableOf(this);
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}

/** The name of the class that holds what is at a path; lists belong to who holds them. */
function classAt(tree: Tree, path: string): string {
  let holder: unknown = tree;
  let name = "";
  for (const field of path.split(".")) {
    if (!isBranch(holder)) break;
    const own = (Object.getPrototypeOf(holder) as { constructor?: { name?: string } } | null)?.constructor?.name ?? "";
    if (!Array.isArray(holder)) name = own === "Object" ? "" : own;
    holder = (holder as Record<string, unknown>)[field];
  }
  return name;
}

/** Rows that differ in one number of their names alone, such as that of a layer. */
interface Alike {
  readonly row: SummaryRow;
  readonly numbers: number[];
}

const numberInName = /(^|\.)(\d+)(?=\.|$)/;

function alike(rows: readonly SummaryRow[]): Alike[] {
  const groups = new Map<string, Alike>();
  for (const row of rows) {
    const number = numberInName.exec(row.name)?.[2];
    const pattern = row.name.replace(numberInName, "$1*");
    const key = JSON.stringify([pattern, row.module, row.shape, row.dtype, row.trainable, row.tiedTo]);
    const known = groups.get(key);
    if (known === undefined) groups.set(key, { row, numbers: number === undefined ? [] : [Number(number)] });
    else known.numbers.push(Number(number));
  }
  return [...groups.values()];
}

/** "0…29", or "0, 2" where numbers are left out. */
function inWords(numbers: readonly number[]): string {
  const runs: [first: number, last: number][] = [];
  for (const n of numbers) {
    const run = runs.at(-1);
    if (run !== undefined && n === run[1] + 1) run[1] = n;
    else runs.push([n, n]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}…${last}`)).join(", ");
}

const grouped = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

function tableOf(summary: ModelSummary): string {
  const lines = alike(summary.rows).map(({ row, numbers }): string[] => {
    const times = Math.max(1, numbers.length);
    const name = times > 1 ? row.name.replace(numberInName, `$1${inWords(numbers)}`) : row.name;
    const tied = row.tiedTo === undefined ? (row.trainable ? "trained" : "frozen") : `is ${row.tiedTo}`;
    const all = times > 1 ? `${times} × ` : "";
    return [
      name,
      row.module,
      `${all}${show(row.shape)}`,
      row.dtype,
      grouped(times * row.parameters),
      bytesInWords(times * row.bytes),
      tied,
    ];
  });
  const head = ["name", "module", "shape", "dtype", "parameters", "bytes", ""];
  const all = [head, ...lines];
  const widths = head.map((_, column) => all.reduce((most, line) => Math.max(most, (line[column] as string).length), 0));
  const isNumber = (column: number): boolean => column === 4 || column === 5;
  const text = all.map((line) =>
    line
      .map((cell, column) => (isNumber(column) ? cell.padStart(widths[column] as number) : cell.padEnd(widths[column] as number)))
      .join("  ")
      .trimEnd(),
  );
  const { parameters, trainableParameters, frozenParameters, bytes, trainableBytes } = summary;
  return [
    ...text,
    `${grouped(parameters)} parameters, ${bytesInWords(bytes)}: ${grouped(trainableParameters)} trained (${bytesInWords(trainableBytes)}), ` +
      `${grouped(frozenParameters)} frozen`,
  ].join("\n");
}

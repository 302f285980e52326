import type { BufferInfo, ScatterKernel } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { coefficient, literal, substitute } from "../../../ir/index-expression.js";
import { constant, index, registerType, stored, ValuePrinter } from "../wgsl.js";
import { pairwise } from "./pairwise.js";
import { Bindings, type Context, fold, foldedGroup, type KernelSource, steps } from "./source.js";
import { aligned, quarter } from "./vectors.js";

/**
 * Sums of rows into bins. A workgroup walks over all entries in order: which entry belongs to its bin is the same for the
 * whole workgroup, so that most steps cost one comparison, and the order of the sum is fixed. Where there are
 * fewer bins than entries, many may fall into one: then sums are taken in blocks, and these in pairs.
 */
export function scatterKernel(kernel: ScatterKernel, context: Context): KernelSource {
  const { bin, column, entry } = kernel;
  const { info, target } = context;
  const dtype = kernel.value.dtype;
  // Processors look for entries once per bin and then go over all columns; the sum grows in memory, where each place
  // belongs to one invocation. GPUs have enough invocations for one per column. Sums of halves need wider registers.
  const width = target.kernelClass === "software" ? 8 : 64;
  const many = registerType[dtype] === "f32" && entry.extent > Math.max(bin.extent, blockTerms);
  const inMemory = target.kernelClass === "software" && dtype !== "f16" && kernel.stores.length === 1 && !many;
  const groups = inMemory ? 1 : Math.ceil(column.extent / width);
  const workgroups = fold(groups * bin.extent, target);
  const bindings = new Bindings(context, kernel);
  const printer = new ValuePrinter(
    kernel,
    (buffer) => bindings.name(buffer),
    () => "sum",
  );
  const done = new Set<number>();
  const quads = quadTargets(kernel, info);
  const targets = quads !== undefined ? bindings.name(quads.buffer, 4) : "";
  const targetLines = printer.statements([kernel.target], done);
  const valueLines = printer.statements([kernel.value], done);
  const zero = constant(0, dtype, printer.prelude);
  const places = kernel.stores.map(({ buffer, index: place }) => `${bindings.name(buffer)}[${index(place)}]`);
  const columns = `for (var ${column.name} = lane; ${column.name} < ${steps(column.extent, target)}; ${column.name} += ${width}u) {`;
  const add = [...valueLines, `${inMemory ? places[0] : "sum"} += ${printer.name(kernel.value)};`];
  const pairs = many ? pairwise("sum", `(taken / ${blockTerms}u)`, Math.ceil(entry.extent / blockTerms)) : undefined;
  if (pairs) add.push(`if (taken % ${blockTerms}u == ${blockTerms - 1}u) ${pairs.put.join(" ")}`, "taken++;");
  const body = [
    ...targetLines.map((line) => `  ${line}`),
    `  if (${printer.name(kernel.target)} == i32(${bin.name})) {`,
    ...(inMemory ? [columns, ...add.map((line) => `  ${line}`), "}"] : add).map((line) => `    ${line}`),
    "  }",
  ];
  const plain = [`for (var ${entry.name} = 0u; ${entry.name} < ${steps(entry.extent, target)}; ${entry.name}++) {`, ...body, "}"];
  // Few entries belong to one bin: eight are ruled out with two loads.
  const skipping = [
    `let wanted = vec4<i32>(i32(${bin.name}));`,
    `for (var block = 0u; block < ${steps(entry.extent / 8, target)}; block++) {`,
    `  let at = ${quads?.from} + block * 2u;`,
    `  if (!any(${targets}[at] == wanted) && !any(${targets}[at + 1u] == wanted)) { continue; }`,
    `  for (var ${entry.name} = block * 8u; ${entry.name} < block * 8u + 8u; ${entry.name}++) {`,
    ...body.map((line) => `  ${line}`),
    "  }",
    "}",
  ];
  const search = quads !== undefined ? skipping : plain;
  const lines = inMemory
    ? [`if (${bin.name} >= ${bin.extent}u) { return; }`, columns, `  ${places[0]} = ${zero};`, "}", ...search]
    : [
        `let ${column.name} = (part % ${groups}u) * ${width}u + lane;`,
        `if (${bin.name} >= ${bin.extent}u || ${column.name} >= ${column.extent}u) { return; }`,
        `var sum: ${registerType[dtype]} = ${zero};`,
        ...(pairs ? [pairs.declaration, "var taken = 0u;"] : []),
        ...search,
        ...(pairs ? pairs.finish : []),
        ...places.map((place) => `${place} = ${stored("sum", dtype)};`),
      ];
  const place = [`let part = ${foldedGroup(workgroups)};`, `let ${bin.name} = part / ${groups}u;`];
  return bindings.finish({ width, workgroups, declarations: [printer.prelude.text()], lines: [...place, ...lines] });
}

/** The buffer of the targets and the vector of four where they begin, if they are i32 in order and can be read four at a time. */
function quadTargets(
  { target, entry }: ScatterKernel,
  info: (buffer: number) => BufferInfo,
): { readonly buffer: number; readonly from: string } | undefined {
  if (target.kind !== "load" || info(target.buffer).dtype !== "i32" || entry.extent % 8 !== 0) return undefined;
  if (coefficient(target.index, entry.name) !== 1) return undefined;
  const from = substitute(target.index, new Map([[entry.name, literal(0)]]));
  return aligned(from) ? { buffer: target.buffer, from: quarter(from) } : undefined;
}

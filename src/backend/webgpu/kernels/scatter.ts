import type { BinsKernel, ScatterKernel } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { constant, index, registerType, ValuePrinter } from "../wgsl.js";
import { pairwise } from "./pairwise.js";
import { Bindings, type Context, fold, foldedGroup, indent, type KernelSource, steps } from "./source.js";

/** Invocations of the workgroup that sorts. */
const sorters = 256;

/**
 * A counting sort in one workgroup: counts at starts[b + 2], then sums of these, then each entry at the place that starts[b + 1] has
 * come to. Processors do so one entry after another. On GPUs the invocations take tiles of entries side by side: those of one bin count how
 * many of them come before, and the last one moves the bin on, so nothing depends on who is first.
 */
export function binsKernel(kernel: BinsKernel, context: Context): KernelSource {
  return context.target.kernelClass === "software" ? serialSort(kernel, context) : tiledSort(kernel, context);
}

/** What both ways of sorting are printed from. */
function sortTexts(kernel: BinsKernel, context: Context) {
  const bindings = new Bindings(context, kernel);
  const printer = new ValuePrinter(
    kernel,
    (buffer, place) => bindings.read(buffer, place),
    () => "",
  );
  const [starts, order] = kernel.stores.map(({ buffer }) => bindings.name(buffer)) as [string, string];
  const target = (): string[] => printer.statements([kernel.target], new Set());
  return { bindings, printer, starts, order, target, bin: `u32(${printer.name(kernel.target)})` };
}

function serialSort(kernel: BinsKernel, context: Context): KernelSource {
  const { bindings, printer, starts, order, target, bin } = sortTexts(kernel, context);
  const [bins, entries] = [kernel.bin.extent, kernel.entry.extent];
  const e = kernel.entry.name;
  const eachEntry = (body: readonly string[]): string[] => [
    `for (var ${e} = 0u; ${e} < ${steps(entries, context.target)}; ${e}++) {`,
    ...target().map((line) => `  ${line}`),
    `  let wanted = ${bin};`,
    `  if (wanted < ${bins}u) { ${body.join(" ")} }`,
    "}",
  ];
  const lines = [
    "if (lane > 0u) { return; }",
    `for (var b = 0u; b < ${steps(bins + 2, context.target)}; b++) { ${starts}[b] = 0; }`,
    ...eachEntry([`${starts}[wanted + 2u] += 1;`]),
    "var total = 0;",
    `for (var b = 0u; b < ${steps(bins + 2, context.target)}; b++) { total += ${starts}[b]; ${starts}[b] = total; }`,
    ...eachEntry([`let at = ${starts}[wanted + 1u];`, `${order}[at] = i32(${e});`, `${starts}[wanted + 1u] = at + 1;`]),
  ];
  return bindings.finish({ width: 1, workgroups: [1, 1, 1], declarations: [printer.prelude.text()], lines });
}

function tiledSort(kernel: BinsKernel, context: Context): KernelSource {
  const { bindings, printer, starts, order, target, bin } = sortTexts(kernel, context);
  const [bins, entries] = [kernel.bin.extent, kernel.entry.extent];
  const e = kernel.entry.name;
  /** All of the workgroup have written what the others may read. */
  const together = ["storageBarrier();", "workgroupBarrier();"];
  /** A loop over tiles; `before` is how many of this invocation's bin come before it in the tile, `isLast` whether none comes after. */
  const eachTile = (body: readonly string[]): string[] => [
    `for (var tile = 0u; tile < ${Math.ceil(entries / sorters)}u; tile++) {`,
    `  let ${e} = tile * ${sorters}u + lane;`,
    `  var mine = ${bins}u;`,
    `  if (${e} < ${entries}u) {`,
    ...indent(target(), 2).split("\n"),
    `    mine = min(${bin}, ${bins}u);`,
    "  }",
    "  wanted[lane] = mine;",
    "  workgroupBarrier();",
    "  var before = 0u;",
    `  var isLast = mine < ${bins}u;`,
    `  for (var other = 0u; other < ${sorters}u; other++) {`,
    "    if (wanted[other] == mine) { if (other < lane) { before++; } else if (other > lane) { isLast = false; } }",
    "  }",
    ...body.map((line) => `  ${line}`),
    ...together.map((line) => `  ${line}`),
    "}",
  ];
  const share = Math.ceil((bins + 2) / sorters);
  const eachOfShare = (body: string): string =>
    `for (var b = lane * ${share}u; b < min(lane * ${share}u + ${share}u, ${bins + 2}u); b++) { ${body} }`;
  const lines = [
    `for (var b = lane; b < ${bins + 2}u; b += ${sorters}u) { ${starts}[b] = 0; }`,
    ...together,
    ...eachTile([`if (isLast) { ${starts}[mine + 2u] += i32(before) + 1; }`]),
    "var total = 0;",
    eachOfShare(`total += ${starts}[b];`),
    "totals[lane] = total;",
    "workgroupBarrier();",
    "total = 0;",
    "for (var other = 0u; other < lane; other++) { total += totals[other]; }",
    eachOfShare(`total += ${starts}[b]; ${starts}[b] = total;`),
    ...together,
    ...eachTile([
      `if (mine < ${bins}u) { ${order}[u32(${starts}[mine + 1u]) + before] = i32(${e}); }`,
      ...together,
      `if (isLast) { ${starts}[mine + 1u] += i32(before) + 1; }`,
    ]),
  ];
  const declarations = [
    `var<workgroup> wanted: array<u32, ${sorters}>;\nvar<workgroup> totals: array<i32, ${sorters}>;\n`,
    printer.prelude.text(),
  ];
  return bindings.finish({ width: sorters, workgroups: [1, 1, 1], declarations, lines });
}

/**
 * Sums of rows into bins, each by one invocation that goes over the entries of its bin in their order. Long sums are taken in blocks, and
 * these in pairs. On processors a workgroup has one bin, so that the entry is the same for all of it.
 */
export function scatterKernel(kernel: ScatterKernel, context: Context): KernelSource {
  const { bin, column, entry, place } = kernel;
  const { target } = context;
  const dtype = kernel.value.dtype;
  const software = target.kernelClass === "software";
  const width = software ? 8 : 64;
  const sharesBin = software && column.extent >= width;
  const workgroups = fold(sharesBin ? bin.extent : Math.ceil((bin.extent * column.extent) / width), target);
  const bindings = new Bindings(context, kernel);
  const printer = new ValuePrinter(
    kernel,
    (buffer, place) => bindings.read(buffer, place),
    () => "sum",
  );
  const outside = new Set<number>();
  const bounds = printer.statements([kernel.from, kernel.to], outside);
  const inside = new Set(outside);
  const which = printer.statements([kernel.order], inside);
  const added = printer.statements([kernel.value], inside);
  const isLong = registerType[dtype] === "f32" && entry.extent > blockTerms;
  const pairs = isLong ? pairwise("sum", `(taken / ${blockTerms}u)`, Math.ceil(entry.extent / blockTerms)) : undefined;
  const sum = [
    `var sum: ${registerType[dtype]} = ${constant(0, dtype, printer.prelude)};`,
    ...(pairs ? [pairs.declaration, "var taken = 0u;"] : []),
    `for (var ${place.name} = u32(${printer.name(kernel.from)}); ${place.name} < u32(${printer.name(kernel.to)}); ${place.name}++) {`,
    ...indent([
      ...which,
      `let ${entry.name} = u32(${printer.name(kernel.order)});`,
      ...added,
      `sum += ${printer.name(kernel.value)};`,
      ...(pairs ? [`if (taken % ${blockTerms}u == ${blockTerms - 1}u) ${pairs.put.join(" ")}`, "taken++;"] : []),
    ]).split("\n"),
    "}",
    ...(pairs ? pairs.finish : []),
    ...kernel.stores.map(({ buffer, index: at }) => bindings.write(buffer, index(at), "sum")),
  ];
  const lines = sharesBin
    ? [
        `let ${bin.name} = ${foldedGroup(workgroups)};`,
        `if (${bin.name} >= ${bin.extent}u) { return; }`,
        ...bounds,
        `for (var ${column.name} = lane; ${column.name} < ${steps(column.extent, target)}; ${column.name} += ${width}u) {`,
        ...indent(sum).split("\n"),
        "}",
      ]
    : [
        `let at = ${foldedGroup(workgroups)} * ${width}u + lane;`,
        `if (at >= ${bin.extent * column.extent}u) { return; }`,
        `let ${bin.name} = at / ${column.extent}u;`,
        `let ${column.name} = at % ${column.extent}u;`,
        ...bounds,
        ...sum,
      ];
  return bindings.finish({ width, workgroups, declarations: [printer.prelude.text()], lines });
}

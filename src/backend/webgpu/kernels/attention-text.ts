import { type AttentionBackwardKernel, type AttentionKernel, argumentsOf, type Loop, type Value } from "../../../compiler/program.js";
import { coefficient, literal, substitute } from "../../../ir/index-expression.js";
import { index, ValuePrinter } from "../wgsl.js";
import { Bindings, type Body, type Context, fold, foldedGroup, indent, type KernelSource } from "./source.js";
import { aligned, quarter } from "./vectors.js";

/**
 * What the templates of attention share. The scalar computations of a kernel become functions of WGSL, whose parameters are named as its
 * loops, so that no template minds their names:
 *
 *   score_of(batch, head, query, key, raw)      the score; `unseen` where it does not count for a reason of its own
 *   pulled_of(…, cotangent)                     the cotangent of the raw score
 *   q(at, row, part)                            four channels of a row, in f32, zeros beyond the last
 *   put_o(batch, head, query, channel, x)       a result into memory
 */
export class AttentionText {
  readonly bindings: Bindings;
  private readonly printer: ValuePrinter;
  private readonly functions: string[] = [];

  constructor(
    readonly kernel: AttentionKernel | AttentionBackwardKernel,
    readonly context: Context,
  ) {
    this.bindings = new Bindings(context, kernel);
    this.printer = new ValuePrinter(
      kernel,
      (buffer, place) => this.bindings.read(buffer, place),
      (register) => (kernel.raw.kind === "register" && register === kernel.raw.register ? "raw" : "score_cotangent"),
      (buffer) => context.info(buffer).dtype,
    );
  }

  /** The whole text, with the functions that were asked for and what they need. */
  finish(body: Omit<Body, "declarations"> & { readonly declarations?: readonly string[] }): KernelSource {
    const declarations = [this.printer.prelude.text(), ...(body.declarations ?? []), ...this.functions];
    return this.bindings.finish({ ...body, declarations });
  }

  use(helper: string): string {
    return this.printer.prelude.use(helper);
  }

  /**
   * The functions that every template calls: rows q, k and v, offset_of, scale_of and score_of; of a backward kernel rows g of ō, lse_of,
   * and where the cotangents of scores are wanted delta_of and pulled_of, without which v is not wanted either.
   */
  operands(pulls = true): void {
    const { kernel } = this;
    const { head, keyHead, query, key, channel, valueChannel } = kernel.loops;
    this.rows("q", kernel.q, head, query, channel);
    this.rows("k", kernel.k, keyHead, key, channel);
    if (pulls) this.rows("v", kernel.v, keyHead, key, valueChannel);
    this.declare("offset_of", [], "i32", [kernel.offset], `clamp(${this.printer.name(kernel.offset)}, -${farthest}, ${farthest})`);
    this.declare("scale_of", [], "f32", [kernel.scale], this.printer.name(kernel.scale));
    this.score();
    if (kernel.kind === "attention") return;
    this.rows("g", kernel.cotangent, head, query, valueChannel);
    this.perQuery("lse_of", kernel.lse);
    if (!pulls) return;
    this.perQuery("delta_of", kernel.delta);
    const parameters = [...pairOf(kernel.loops), "raw: f32", "score_cotangent: f32"];
    this.declare("pulled_of", parameters, "f32", [kernel.pulled], this.printer.name(kernel.pulled));
  }

  private score(): void {
    const { score, visible, loops } = this.kernel;
    const wanted = visible === undefined ? [score] : [score, visible];
    const name = this.printer.name(score);
    const result = visible === undefined ? name : `select(${unseen}, ${name}, ${this.printer.name(visible)})`;
    this.declare("score_of", [...pairOf(loops), "raw: f32"], "f32", wanted, result);
  }

  /** fn name_at(batch, head) -> u32 and fn name(at, row, part) -> vec4<f32>: rows of channels, four of them at a time. */
  private rows(name: string, load: Value & { readonly kind: "load" }, head: Loop, row: Loop, channel: Loop): void {
    const { batch } = this.kernel.loops;
    const [down, along] = [coefficient(load.index, row.name), coefficient(load.index, channel.name)];
    if (down === undefined || along === undefined) throw new Error("an operand of attention is not linear");
    const base = substitute(
      load.index,
      new Map([
        [row.name, literal(0)],
        [channel.name, literal(0)],
      ]),
    );
    const vectors = along === 1 && channel.extent % 4 === 0 && down % 4 === 0 && aligned(base);
    const needed = argumentsOf(load, this.kernel.values);
    this.declare(`${name}_at`, [batch, head].map(parameter), "u32", needed, vectors ? quarter(base) : index(base));
    const element = (e: number): string => {
      const read = `f32(${this.bindings.read(load.buffer, `place + ${e * along}u`)})`;
      const exists = `part < ${Math.ceil((channel.extent - e) / 4)}u`;
      return channel.extent % 4 === 0 || channel.extent % 4 > e ? read : `select(0.0, ${read}, ${exists})`;
    };
    const body = vectors
      ? [`return vec4<f32>(${this.bindings.read(load.buffer, `at + row * ${down / 4}u + part`, 4)});`]
      : [`let place = at + row * ${down}u + part * ${4 * along}u;`, `return vec4<f32>(${[0, 1, 2, 3].map(element).join(", ")});`];
    this.functions.push(`fn ${name}(at: u32, row: u32, part: u32) -> vec4<f32> {\n${indent(body)}\n}`);
  }

  /** fn name(batch, head, query) -> f32. */
  private perQuery(name: string, load: Value): void {
    const { batch, head, query } = this.kernel.loops;
    this.declare(name, [batch, head, query].map(parameter), "f32", [load], this.printer.name(load));
  }

  /** For each store of a result, fn put(batch, head, row[, channel], x). Nothing where the result is not wanted. */
  put(name: string, result: number, along: readonly Loop[]): boolean {
    const { stores, results } = this.kernel;
    const wanted = stores.filter((_, i) => results[i] === result);
    const lines = wanted.map(({ buffer, index: place }) => this.bindings.write(buffer, index(place), "x"));
    if (lines.length > 0) this.functions.push(`fn ${name}(${[...along.map(parameter), "x: f32"].join(", ")}) {\n${indent(lines)}\n}`);
    return lines.length > 0;
  }

  private declare(name: string, parameters: readonly string[], type: string, needed: readonly Value[], result: string): void {
    const lines = [...this.printer.statements(needed, new Set()), `return ${result};`];
    this.functions.push(`fn ${name}(${parameters.join(", ")}) -> ${type} {\n${indent(lines)}\n}`);
  }
}

/** Offsets beyond it show the same keys: more than any buffer has. */
const farthest = 2 ** 30;

/** The score of a pair that does not count, where running maxima start; no score that counts is as low. */
export const unseen = "-3.4e38";

const parameter = ({ name }: Loop): string => `${name}: u32`;
const pairOf = ({ batch, head, query, key }: AttentionKernel["loops"]): string[] => [batch, head, query, key].map(parameter);

/** Whether query `i` may see key `j`, both u32, by causality and the window; undefined where it always may. */
export function sees({ causal, window }: AttentionKernel | AttentionBackwardKernel, i: string, j: string): string | undefined {
  const ahead = `i32(${i}) + offset - i32(${j})`;
  if (causal) return window > 0 ? `u32(${ahead}) < ${window}u` : `${ahead} >= 0`;
  return window > 0 ? `abs(${ahead}) < ${window}` : undefined;
}

/** The keys that queries `first` … `last` see at most: from, and up to. */
export function keysOf(kernel: AttentionKernel | AttentionBackwardKernel, first: string, last: string, count: string): [string, string] {
  const { causal, window } = kernel;
  const extent = kernel.loops.key.extent;
  const from = window > 0 ? `u32(clamp(i32(${first}) + offset - ${window - 1}, 0, ${extent}))` : "0u";
  const ahead = causal ? 1 : window;
  const stop = ahead > 0 ? `u32(clamp(i32(${last}) + offset + ${ahead}, 0, ${extent}))` : count;
  return [from, stop];
}

/** The queries that see keys `first` … `last` at most: from, and up to. */
export function queriesOf(kernel: AttentionKernel | AttentionBackwardKernel, first: string, last: string, count: string): [string, string] {
  const { causal, window } = kernel;
  const extent = kernel.loops.query.extent;
  const behind = causal ? 0 : window - 1;
  const from = causal || window > 0 ? `u32(clamp(i32(${first}) - offset - ${behind}, 0, ${extent}))` : "0u";
  const stop = window > 0 ? `u32(clamp(i32(${last}) - offset + ${window}, 0, ${extent}))` : count;
  return [from, stop];
}

/** The score of a pair where `conditions` hold and the query sees the key. All of the pair are u32. */
export function scoreOf(
  kernel: AttentionKernel | AttentionBackwardKernel,
  { head = "head", query, key }: { readonly head?: string; readonly query: string; readonly key: string },
  raw: string,
  conditions: readonly string[] = [],
): string {
  const seen = sees(kernel, query, key);
  const all = seen === undefined ? conditions : [...conditions, seen];
  const score = `score_of(batch, ${head}, ${query}, ${key}, ${raw})`;
  return all.length === 0 ? score : `select(${unseen}f, ${score}, ${all.join(" && ")})`;
}

/** Workgroups that have `rows` queries of a head each, or keys, and the lines that say which: from `first` to `last`. */
export function tilesOf(
  { kernel, context }: AttentionText,
  side: "query" | "key",
  rows: number,
): { readonly workgroups: readonly [number, number, number]; readonly lines: string[] } {
  const { batch, head, keyHead } = kernel.loops;
  const { extent } = kernel.loops[side];
  const heads = side === "query" ? head.extent : keyHead.extent;
  const tiles = Math.ceil(extent / rows);
  const count = tiles * heads * batch.extent;
  const workgroups = fold(count, context.target);
  const lines = [
    `let place = ${foldedGroup(workgroups)};`,
    ...(workgroups[1] === 1 ? [] : [`if (place >= ${count}u) { return; }`]),
    `let ${side === "query" ? "head" : "key_head"} = (place / ${tiles}u) % ${heads}u;`,
    ...(side === "query" ? [`let key_head = head / ${head.extent / keyHead.extent}u;`] : []),
    `let batch = place / ${tiles * heads}u;`,
    `let first = (place % ${tiles}u) * ${rows}u;`,
    `let last = min(first + ${rows - 1}u, ${extent - 1}u);`,
    "let offset = offset_of();",
    "let scale = scale_of();",
  ];
  return { workgroups, lines };
}

/** Where the rows of operands begin. */
export const beginnings = (names: readonly string[], head: "head" | "key_head"): string[] =>
  names.map((name) => `let at_${name} = ${name}_at(batch, ${head});`);

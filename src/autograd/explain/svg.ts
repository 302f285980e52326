import { bytesInWords } from "../../ir/bytes.js";
import { show } from "../../ir/shape.js";
import { tooltipOf } from "./dot.js";
import type { ExplainedNode } from "./graph.js";
import { escaped, inThousands, shortened } from "./labels.js";
import { layOut } from "./layout.js";
import { drawMemory } from "./svg-memory.js";
import { type Panel, round, text } from "./svg-parts.js";
import type { ExplainedKernel, Explanation } from "./types.js";

/** What stands in a box of the drawing of a graph. */
interface Node {
  readonly title: string;
  /** The lines under it, smaller. */
  readonly details: readonly string[];
  readonly tooltip: string;
  readonly style: string;
  readonly inputs: readonly number[];
}

const margin = 24;
/** Widths of a letter, about. */
const letter = { title: 7.6, detail: 5.5 } as const;
/** Rows of the table of kernels. */
const mostRows = 80;

/** Letters of one width are drawn in one: programs are text. */
const style = `
text { font: 11px ui-sans-serif, Helvetica, Arial, sans-serif; fill: #1c2733; }
.title { font-size: 12px; font-weight: 600; } .detail { font-size: 9.5px; fill: #4a5866; } .rule { font-size: 9.5px; font-style: italic; fill: #8a4b12; }
.head { font-size: 15px; font-weight: 700; } .number { text-anchor: end; } .middle { text-anchor: middle; }
.code { font: 10px ui-monospace, Menlo, Consolas, monospace; white-space: pre; }
.box { stroke: #6b7a89; rx: 5; } .input { fill: #d7e3f4; } .forward { fill: #ffffff; } .gradient { fill: #fde3cf; } .output { stroke: #1c2733; stroke-width: 2; }
.edge { fill: none; stroke: #9aa7b4; } .bar { fill: #7ba4d9; } .peak { stroke: #c0392b; stroke-dasharray: 4 3; } .live { fill: none; stroke: #1c2733; }
.axis { fill: none; stroke: #6b7a89; }`;

/** Graph, kernels and memory, one below the other, as a document of its own. */
export function drawExplanation(explanation: Explanation, { maxNodes, listings }: { maxNodes: number; listings: boolean }): string {
  const panels = [
    heading(explanation),
    graphPanel(explanation, maxNodes),
    kernelTable(explanation),
    drawMemory(explanation.memory),
    ...(listings ? [codePanel(explanation)] : []),
  ];
  const width = panels.reduce((most, panel) => Math.max(most, panel.width), 0) + 2 * margin;
  let y = margin;
  const placed = panels.map((panel) => {
    const group = [`<g transform="translate(${margin} ${round(y)})">`, ...panel.lines, "</g>"];
    y += panel.height + margin;
    return group.join("\n");
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${round(width)}" height="${round(y)}" viewBox="0 0 ${round(width)} ${round(y)}" role="img">`,
    `<title>${escaped(explanation.name)} on ${escaped(explanation.backend)}</title>`,
    `<style>${style}\n</style>`,
    `<rect width="100%" height="100%" fill="#f7f9fb"/>`,
    ...placed,
    "</svg>",
    "",
  ].join("\n");
}

function heading({ name, backend, kernels, flops, bytesRead, bytesWritten, intensity, memory }: Explanation): Panel {
  const totals = [
    `${kernels.length} ${kernels.length === 1 ? "kernel" : "kernels"} on ${backend}`,
    inThousands(flops, "FLOP"),
    `${bytesInWords(bytesRead)} read, ${bytesInWords(bytesWritten)} written`,
    `${intensity.toPrecision(3)} FLOP for each byte`,
    `at most ${bytesInWords(memory.peakBytes)} between inputs and results`,
  ].join(" · ");
  return { width: 6 * totals.length, height: 36, lines: [text(0, 14, name, "head"), text(0, 34, totals)] };
}

/** The graph where it is small enough, else its kernels, in groups where these are too many as well. */
function graphPanel({ graph, kernels }: Explanation, maxNodes: number): Panel {
  const drawn = graph.nodes.filter((node) => !isNumber(node)).length;
  if (drawn <= maxNodes) return drawGraph("Graph: inputs blue, gradients orange", graphNodes(graph));
  const size = Math.ceil(kernels.length / maxNodes);
  const what = size === 1 ? "its kernels" : `its kernels, ${size} to a box`;
  return drawGraph(`${graph.nodes.length} nodes; drawn are ${what}`, kernelNodes(kernels, size));
}

/** A number that stands in the graph is written where it is used. */
const isNumber = ({ kind, operation }: ExplainedNode): boolean => kind === "operation" && operation === "const";

function graphNodes({ nodes, outputs }: Explanation["graph"]): Node[] {
  const isOutput = new Set(outputs);
  const shown = nodes.filter((node) => !isNumber(node) || isOutput.has(node.number));
  const places = new Map(shown.map(({ number }, i) => [number, i]));
  return shown.map((node): Node => {
    const { operation, dtype, shape, inputs, part, rule, number } = node;
    const constants = inputs.flatMap((input) => (places.has(input) ? [] : [numberIn(nodes[input]?.params ?? "")]));
    return {
      title: [operation, ...constants].join(" "),
      details: [`${dtype}${show(shape)}`, ...(rule === undefined ? [] : [shortened(`${rule.of}: ${rule.formula}`, 38)])],
      tooltip: tooltipOf(node),
      style: `${part}${isOutput.has(number) ? " output" : ""}`,
      inputs: inputs.flatMap((input) => places.get(input) ?? []),
    };
  });
}

/** The number of a constant, to four digits. */
function numberIn(params: string): string {
  const number = Number(/value=([^;}]*)/.exec(params)?.[1]);
  return String(Number(number.toPrecision(4)));
}

function kernelNodes(kernels: readonly ExplainedKernel[], size: number): Node[] {
  const groups = Array.from({ length: Math.ceil(kernels.length / size) }, (_, i) => kernels.slice(i * size, (i + 1) * size));
  /** The group that wrote a value last. */
  const writer = new Map<number, number>();
  return groups.map((group, i): Node => {
    const inputs = new Set<number>();
    for (const { reads, writes } of group) {
      for (const value of reads) {
        const from = writer.get(value);
        if (from !== undefined && from !== i) inputs.add(from);
      }
      for (const value of writes) writer.set(value, i);
    }
    const [first] = group as [ExplainedKernel];
    const counts = new Map<string, number>();
    for (const { kind } of group) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    const flops = group.reduce((sum, kernel) => sum + kernel.flops, 0);
    const title =
      size === 1 ? `${first.number} ${first.kind} ${first.size}` : `${first.number}…${first.number + group.length - 1} ${inWords(counts)}`;
    return {
      title: shortened(title, 40),
      details: [shortened(size === 1 ? first.label : group.map(({ label }) => label).join("; "), 40), inThousands(flops, "FLOP")],
      tooltip: group.map((kernel) => `${kernel.number} ${kernel.kind} ${kernel.size} ${kernel.label}`).join("\n"),
      style: "forward",
      inputs: [...inputs],
    };
  });
}

const inWords = (counts: ReadonlyMap<string, number>): string => [...counts].map(([kind, count]) => `${count} ${kind}`).join(", ");

function drawGraph(title: string, nodes: readonly Node[]): Panel {
  const sizes = nodes.map(({ title: name, details }) => ({
    width: Math.max(name.length * letter.title, ...details.map((line) => line.length * letter.detail)) + 16,
    height: 22 + 12 * details.length,
  }));
  const { width, height, places, edges } = layOut(
    nodes.map(({ inputs }, i) => ({ ...(sizes[i] as { width: number; height: number }), inputs })),
  );
  const lines = [text(0, 12, title, "head")];
  const top = 26;
  for (const { points } of edges) {
    const [[x0, y0] = [0, 0], ...rest] = points;
    let [x, y] = [x0, y0];
    const path = rest.map(([toX, toY]) => {
      const bend = (y + toY) / 2;
      const part =
        x === toX
          ? `V${round(toY + top)}`
          : `C${round(x)} ${round(bend + top)} ${round(toX)} ${round(bend + top)} ${round(toX)} ${round(toY + top)}`;
      [x, y] = [toX, toY];
      return part;
    });
    lines.push(`<path class="edge" d="M${round(x0)} ${round(y0 + top)}${path.join("")}"/>`);
  }
  nodes.forEach((node, i) => {
    const [place, size] = [places[i] as { x: number; y: number }, sizes[i] as { width: number; height: number }];
    const y = place.y + top;
    lines.push(
      "<g>",
      `<title>${escaped(node.tooltip)}</title>`,
      `<rect class="box ${node.style}" x="${round(place.x - size.width / 2)}" y="${round(y)}" width="${round(size.width)}" height="${size.height}"/>`,
      text(place.x, y + 15, node.title, "title middle"),
      ...node.details.map((line, k) =>
        text(place.x, y + 28 + 12 * k, line, `${k === 1 && node.style.startsWith("gradient") ? "rule" : "detail"} middle`),
      ),
      "</g>",
    );
  });
  return { width: Math.max(width, title.length * 8), height: height + top, lines };
}

/** Kernels with what they compute and move; of very many those that move most. */
function kernelTable({ kernels }: Explanation): Panel {
  const moved = ({ bytesRead, bytesWritten }: ExplainedKernel): number => bytesRead + bytesWritten;
  const shown = [...kernels]
    .sort((a, b) => moved(b) - moved(a))
    .slice(0, mostRows)
    .sort((a, b) => a.number - b.number);
  const most = kernels.reduce((n, kernel) => Math.max(n, moved(kernel)), 1);
  const title = shown.length < kernels.length ? `Kernels: the ${shown.length} of ${kernels.length} that move most` : "Kernels";
  const [kind, size, turns, flops, bytes, bar, intensity, label] = [40, 130, 380, 450, 530, 545, 720, 735];
  const header = [
    text(kind, 36, "kind", "detail"),
    text(size, 36, "loops", "detail"),
    text(turns, 36, "turns", "detail number"),
    text(flops, 36, "FLOP", "detail number"),
    text(bytes, 36, "bytes", "detail number"),
    text(intensity, 36, "FLOP/byte", "detail number"),
    text(label, 36, "what it computes", "detail"),
  ];
  const rows = shown.flatMap((kernel, i) => {
    const y = 54 + 18 * i;
    return [
      text(25, y, String(kernel.number), "number"),
      text(kind, y, kernel.kind, "title"),
      text(size, y, shortened(kernel.size, 34)),
      text(turns, y, inThousands(kernel.turns), "number"),
      text(flops, y, inThousands(kernel.flops), "number"),
      text(bytes, y, bytesInWords(moved(kernel)), "number"),
      `<rect class="bar" x="${bar}" y="${y - 9}" width="${round((110 * moved(kernel)) / most)}" height="10"/>`,
      text(intensity, y, kernel.intensity.toPrecision(2), "number"),
      text(label, y, shortened(kernel.label, 60), "detail"),
    ];
  });
  return { width: 1000, height: 50 + 18 * shown.length, lines: [text(0, 12, title, "head"), ...header, ...rows] };
}

/** The code of each kernel, what several have in common once. */
function codePanel(explanation: Explanation): Panel {
  const users = new Map<string, number[]>();
  for (const { number } of explanation.kernels) {
    const code = explanation.listing(number);
    users.set(code, [...(users.get(code) ?? []), number]);
  }
  const lines = [text(0, 12, "Code", "head")];
  let [y, width] = [34, 0];
  for (const [code, numbers] of users) {
    lines.push(text(0, y, `kernel ${numbers.join(", ")}`, "title"));
    y += 16;
    for (const line of code.split("\n")) {
      lines.push(text(0, y, line, "code"));
      width = Math.max(width, 6.1 * line.length);
      y += 13;
    }
    y += 12;
  }
  return { width, height: y, lines };
}

import { show } from "../../ir/shape.js";
import type { ExplainedGraph, ExplainedNode } from "./graph.js";
import { shortLine } from "./labels.js";

const colours = { input: "#d7e3f4", forward: "#ffffff", gradient: "#fde3cf" } as const;

/** A text in quotes, with line ends as Graphviz writes them. */
const quoted = (text: string): string => `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n")}"`;

/** What a node says: operation, type, and the rule that made it. */
function labelOf({ operation, dtype, shape, rule }: ExplainedNode): string {
  const lines = [operation, `${dtype}${show(shape)}`];
  return [...lines, ...(rule === undefined ? [] : [`${rule.of}: ${rule.formula}`])].join("\n");
}

/** What it says on being pointed at. */
export function tooltipOf({ number, operation, params, line, calls, rule, flops, bytes }: ExplainedNode): string {
  const of = (names: readonly string[]): string => (names.length === 0 ? "" : ` in ${names.join(" › ")}`);
  const lines = [`%${number} ${operation}${params}`, `${flops} operations, ${bytes} bytes`];
  if (line !== undefined) lines.push(`${line}${of(calls)}`);
  if (rule !== undefined) lines.push(`derivative of ${rule.of}: ${rule.formula}`);
  if (rule?.line !== undefined) lines.push(`  which is at ${rule.line}${of(rule.calls)}`);
  return lines.join("\n");
}

/** A graph in the language of Graphviz, bodies of calls and loops as clusters. */
export function graphToDot(name: string, graph: ExplainedGraph): string {
  const lines: string[] = [];
  let clusters = 0;
  const write = ({ nodes, outputs }: ExplainedGraph, prefix: string, indent: string): void => {
    const isOutput = new Set(outputs);
    for (const node of nodes) {
      const id = `${prefix}${node.number}`;
      const style = `fillcolor="${colours[node.part]}"${isOutput.has(node.number) ? ", penwidth=2" : ""}`;
      lines.push(`${indent}${id} [label=${quoted(labelOf(node))}, tooltip=${quoted(tooltipOf(node))}, ${style}];`);
      for (const input of node.inputs) lines.push(`${indent}${prefix}${input} -> ${id};`);
      if (node.body === undefined) continue;
      lines.push(
        `${indent}subgraph cluster_${clusters++} {`,
        `${indent}  label=${quoted(`${node.operation} ${shortLine(node.line)}`.trim())};`,
      );
      write(node.body, `${id}_`, `${indent}  `);
      lines.push(`${indent}}`);
    }
  };
  write(graph, "n", "  ");
  const head = ["rankdir=TB;", 'node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=10];'];
  return [`digraph ${quoted(name)} {`, ...head.map((line) => `  ${line}`), ...lines, "}", ""].join("\n");
}

// Steps and readings over the length of the text as a figure: time and peak memory, a line for each library, both axes logarithmic.
// One SVG serves light and dark: its colours are variables of its own style sheet, the same as those of dawngrad's reports.

const colors = {
  light:
    "--card:#ffffff;--ink:#1c1f24;--muted:#5c636e;--grid:#eceef1;--c-1:#155a9c;--c-2:#d9730d;--c-3:#1f8a4c;--c-4:#8a4fbf;--c-5:#8a6234",
  dark: "--card:#1d2025;--ink:#e8eaee;--muted:#a2a9b4;--grid:#2a2e35;--c-1:#8fc3f5;--c-2:#f2a04e;--c-3:#5fcb8c;--c-4:#c095f0;--c-5:#cfa572",
};
const style = `<style>svg{${colors.light};background:var(--card)}@media (prefers-color-scheme: dark){svg{${colors.dark}}}</style>`;
const shapes = ["circle", "square", "triangle-up", "diamond", "cross"];
const [ink, muted] = ["var(--ink)", "var(--muted)"];

const config = {
  background: "transparent",
  font: "system-ui, sans-serif",
  view: { stroke: null },
  title: { color: ink, fontSize: 13, fontWeight: 600, anchor: "start" },
  axis: {
    labelColor: muted,
    titleColor: ink,
    domainColor: muted,
    tickColor: muted,
    gridColor: "var(--grid)",
    labelFontSize: 11,
    titleFontSize: 12,
    titleFontWeight: "normal",
  },
  legend: { labelColor: ink, labelFontSize: 12, titleColor: muted, labelLimit: 0, symbolSize: 70 },
  aria: false,
};

/** A point for each size without checkpoints and each library that could run it. */
const pointsOf = (rows) =>
  rows
    .filter(({ checkpoint }) => !checkpoint)
    .flatMap(({ length, libraries }) =>
      libraries
        .filter(({ failure }) => !failure)
        .map(({ name, milliseconds, peakBytes }) => ({ name, length, ms: milliseconds.median, MiB: peakBytes / 2 ** 20 })),
    );

/** The specification for Vega-Lite. `what` is measured, against `letter`, the length. */
export function lengthFigure({ rows }, { what, letter }) {
  const points = pointsOf(rows);
  const names = [...new Set(points.map(({ name }) => name))];
  const lengths = [...new Set(points.map(({ length }) => length))].sort((a, b) => a - b);
  const logarithmic = { type: "log", base: 2, nice: false, padding: 12 };
  const x = {
    field: "length",
    type: "quantitative",
    scale: logarithmic,
    axis: { title: `${letter} (tokens)`, values: lengths, format: "d", grid: false, labelOverlap: true },
  };
  const legend = { title: null, orient: "bottom", columns: 5 };
  const color = { field: "name", type: "nominal", scale: { domain: names, range: names.map((_, i) => `var(--c-${(i % 5) + 1})`) }, legend };
  const shape = { ...color, scale: { domain: names, range: names.map((_, i) => shapes[i % shapes.length]) } };
  const panel = (field, title, axis) => ({
    title,
    width: 400,
    height: 260,
    layer: ["line", "point"].map((type) => ({
      mark: type === "line" ? { type, strokeWidth: 2 } : { type, filled: true, size: 46, opacity: 1 },
      encoding: {
        x,
        y: { field, type: "quantitative", scale: logarithmic, axis: { title: axis, tickCount: 7, format: "~s" } },
        color,
        ...(type === "point" ? { shape } : {}),
      },
    })),
  });
  return {
    config,
    data: { values: points },
    hconcat: [panel("ms", `Time of a ${what}`, "milliseconds"), panel("MiB", "Peak memory of the process", "MiB")],
  };
}

/** The specification as SVG. Throws where the development dependencies `vega` and `vega-lite` are not installed. */
export async function drawFigure(spec) {
  const [vega, vegaLite] = await Promise.all([import("vega"), import("vega-lite")]);
  const view = new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  return svg.replace(/(<svg[^>]*>)/, `$1${style}`);
}

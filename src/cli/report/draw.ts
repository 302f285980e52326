import type { Chart } from "./charts.js";

/**
 * Draws charts as SVG on this machine, without a browser. Undefined where the optional packages `vega` and `vega-lite` are not
 * installed.
 */
export async function drawSvg(charts: readonly Chart[]): Promise<readonly string[] | undefined> {
  const packages = await loadVega();
  if (packages === undefined) return undefined;
  const { vega, vegaLite } = packages;
  return Promise.all(
    charts.map(async ({ spec }) => {
      const view = new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: "none" });
      const svg = await view.toSVG();
      view.finalize();
      return svg;
    }),
  );
}

async function loadVega(): Promise<{ vega: typeof import("vega"); vegaLite: typeof import("vega-lite") } | undefined> {
  try {
    const [vega, vegaLite] = await Promise.all([import("vega"), import("vega-lite")]);
    return { vega, vegaLite };
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND") return undefined;
    throw error;
  }
}

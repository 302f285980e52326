import { importOptional, installLine } from "../../platform/optional-packages.js";
import type { Chart } from "./charts.js";

/** True where figures can be drawn. */
export const canDraw = async (): Promise<boolean> => (await loadVega()) !== undefined;

/** What brings figures where there are none. */
export const figuresLine: string = installLine("vega", "vega-lite");

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
  const [vega, vegaLite] = await Promise.all([
    importOptional<typeof import("vega")>("vega"),
    importOptional<typeof import("vega-lite")>("vega-lite"),
  ]);
  return vega === undefined || vegaLite === undefined ? undefined : { vega, vegaLite };
}

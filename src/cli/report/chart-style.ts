/** Colours and sizes of the figures. */

/** Colours are CSS variables of the page, so that one SVG serves light and dark. */
export const ink = "var(--ink)";
export const muted = "var(--muted)";

/** Sizes of a panel: the whole width, and the height inside the axes, so that the scales of neighbours line up. */
export const narrow = { width: 310, height: 215, autosize: { type: "fit-x", contains: "padding" } } as const;
export const wide = { width: 460, height: 200, autosize: { type: "fit-x", contains: "padding" } } as const;
export const full = { width: 900, height: 260, autosize: { type: "fit-x", contains: "padding" } } as const;
export const compact = { width: 290, height: 200, autosize: { type: "fit-x", contains: "padding" } } as const;
export type Size = typeof narrow | typeof wide | typeof full | typeof compact;

/** What all figures share. */
export const config = {
  background: "transparent",
  font: "system-ui, sans-serif",
  view: { stroke: null },
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
  legend: { labelColor: ink, labelFontSize: 12, titleColor: muted, labelLimit: 0, symbolSize: 70, symbolStrokeWidth: 2 },
  aria: false,
} as const;

import { escaped } from "./labels.js";

/** A part of the picture: its height and width, and what is drawn from its own corner. */
export interface Panel {
  readonly width: number;
  readonly height: number;
  readonly lines: readonly string[];
}

/** Coordinates to a tenth. */
export const round = (x: number): number => Math.round(x * 10) / 10;

export const text = (x: number, y: number, content: string, kind = ""): string =>
  `<text x="${round(x)}" y="${round(y)}"${kind === "" ? "" : ` class="${kind}"`}>${escaped(content)}</text>`;

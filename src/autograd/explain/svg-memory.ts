import { bytesInWords } from "../../ir/bytes.js";
import type { ValueReport } from "../../ir/program-report.js";
import { escaped } from "./labels.js";
import { type Panel, round, text } from "./svg-parts.js";
import type { MemoryTimeline } from "./types.js";

const picture = { left: 90, width: 800, height: 220 } as const;

/**
 * Memory over time: the kernels from the left to the right, the bytes of scratch upwards, a box for each value at its place for as long as
 * it is needed; above them results, one on another. The line is what is alive, the dashed one its peak.
 */
export function drawMemory({ values, liveBytes, peakBytes, peakKernel, scratchBytes }: MemoryTimeline): Panel {
  const scratch = values.filter(({ use, bytes }) => use === "scratch" && bytes > 0);
  const outputs = values.filter(({ use, bytes }) => use === "output" && bytes > 0);
  const sum = (some: readonly ValueReport[]): number => some.reduce((n, { bytes }) => n + bytes, 0);
  const block = scratch.reduce((most, { offset, bytes }) => Math.max(most, offset + bytes), scratchBytes);
  const whole = Math.max(1, block + sum(outputs));
  const steps = Math.max(1, liveBytes.length);
  const { left, width, height } = picture;
  const x = (step: number): number => left + (width * step) / steps;
  const y = (bytes: number): number => 56 + height - (height * bytes) / whole;
  const box = ({ bytes, first, last, slot }: ValueReport, offset: number, colour: string, name: string): string => {
    const title = `${name}: ${bytesInWords(bytes)} in slot ${slot}, kernels ${first}–${last}`;
    return (
      `<rect x="${round(x(first))}" y="${round(y(offset + bytes))}" width="${round(Math.max(1, x(last + 1) - x(first)))}" ` +
      `height="${round(Math.max(1, (height * bytes) / whole))}" fill="${colour}" stroke="#f7f9fb" stroke-width="0.5"><title>${escaped(title)}</title></rect>`
    );
  };
  let above = block;
  const boxes = [
    ...scratch.map((value) => box(value, value.offset, `hsl(${(value.slot * 47) % 360} 45% 72%)`, "value")),
    ...outputs.map((value) => {
      const drawn = box(value, above, "#b7c4d1", `result ${value.index}`);
      above += value.bytes;
      return drawn;
    }),
  ];
  const live = liveBytes.map((bytes, i) => `${i === 0 ? "M" : "L"}${round(x(i))} ${round(y(bytes))}H${round(x(i + 1))}`).join("");
  const peak =
    peakKernel < 0
      ? []
      : [
          `<path class="peak" d="M${left} ${round(y(peakBytes))}H${left + width}"/>`,
          text(left + width + 6, y(peakBytes) + 4, `${bytesInWords(peakBytes)} at kernel ${peakKernel}`),
        ];
  const inputs = values.filter(({ use }) => use === "input");
  const totals = `inputs ${bytesInWords(sum(inputs))} (not drawn), results ${bytesInWords(sum(outputs))}, scratch ${bytesInWords(scratchBytes)}`;
  return {
    width: left + width + 170,
    height: height + 90,
    lines: [
      text(0, 12, "Memory over time", "head"),
      text(0, 32, totals, "detail"),
      text(left - 8, y(whole) + 4, bytesInWords(whole), "number"),
      text(left - 8, y(0) + 4, "0", "number"),
      ...boxes,
      ...(live === "" ? [] : [`<path class="live" d="${live}"/>`]),
      ...peak,
      `<path class="axis" d="M${left} ${y(whole)}V${y(0)}H${left + width}"/>`,
      text(left, y(0) + 18, "kernel 0", "detail"),
      text(left + width, y(0) + 18, String(steps - 1), "detail number"),
    ],
  };
}

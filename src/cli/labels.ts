/** Names of variants and schedules for readers. */
import type { Variant } from "./results.js";

const variantLabels: Readonly<Record<Variant, string>> = {
  base: "base",
  plain: "base + plain steps",
  e2: "E²",
  full: "full length (upper bound)",
};

const scheduleLabels: Readonly<Record<string, string>> = {
  none: "no scaling",
  linear: "PI",
  ntk: "NTK",
  yarn: "YaRN",
  "yarn-turns": "YaRN (paper ramp)",
  dynamic: "dynamic NTK",
  llama3: "Llama 3",
};

/** A variant's name for readers. */
export function variantLabel(variant: Variant): string {
  return variantLabels[variant];
}

/** A schedule's name for readers; "PI" for "linear", which is what papers call it. */
export function scheduleLabel(schedule: string): string {
  return scheduleLabels[schedule] ?? schedule;
}

/** A way to read a variant, for readers. */
export const readingLabel = (variant: Variant, schedule: string): string => `${variantLabel(variant)}, ${scheduleLabel(schedule)}`;

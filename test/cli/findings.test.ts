import { describe, expect, it } from "vitest";
import { e2Covering, type Finding, findings } from "../../src/cli/report/findings.js";
import type { DemoResults } from "../../src/cli/results.js";
import { syntheticResults, type TableShape } from "./synthetic-results.js";

const finding = (topic: Finding["topic"], results: DemoResults): Finding => {
  const found = findings(results).find((one) => one.topic === topic);
  if (found === undefined) throw new Error(`nothing is said about ${topic}`);
  return found;
};
const about = (topic: Finding["topic"], shape: TableShape = {}): Finding => finding(topic, syntheticResults(shape));

describe("about the upper bound", () => {
  it("says what long sequences give, and nothing where there are none", () => {
    const { text, verdict } = about("bound", { full: [1.3, 1.25, 1.21, 1.19] });
    expect(verdict).toBe("neutral");
    expect(text).toContain("Context beyond 64 bytes is worth something here");
    expect(text).toContain("512 bytes give 1.190 nats per byte at 512, the best truncation baseline is 1.297, and E² is at 1.602");
    expect(about("bound", { full: [1.3, 1.3, 1.3, 1.3] }).text).toContain("is worth nothing here");
    expect(findings(syntheticResults()).map(({ topic }) => topic)).not.toContain("bound");
  });

  it("is no competitor: truncation and alternatives are told without it", () => {
    const whole = syntheticResults({ full: [1, 0.9, 0.8, 0.7] });
    for (const topic of ["truncation", "alternatives"] as const) expect(finding(topic, whole).text).toBe(about(topic).text);
  });
});

describe("about the ledger", () => {
  it.each([
    ["for", { base: 0.5, yarn: 0.66, e2: 0.7, full: 0.8 }],
    ["against", { base: 0.5, yarn: 0.66, e2: 0.6, full: 0.8 }],
    ["against", { base: 0.5, yarn: 0.4, e2: 0.5, full: 0.8 }],
  ] as const)("speaks %s E² at %j", (expected, ledger) => {
    const { text, verdict } = about("ledger", { ledger });
    expect(verdict).toBe(expected);
    expect(text).toContain(`E² answers ${ledger.e2.toFixed(2)} of the questions at 512 tokens`);
    expect(text).toContain(`The base answers 0.54 with the last 64 alone, YaRN without training about length ${ledger.yarn.toFixed(2)}`);
  });

  it("compares nothing where full length teaches nothing", () => {
    const { text, verdict } = about("ledger", { ledger: { base: 0.5, yarn: 0.9, e2: 0.9, full: 0.55 } });
    expect(verdict).toBe("neutral");
    expect(text).toContain("More steps are needed");
  });
});

describe("about the base model", () => {
  it("a break-down is told with its first and last loss", () => {
    expect(about("base").text).toContain("1.338 nats per byte at 64, 2.516 at 128, 3.127 at 512");
  });

  it("no break-down is claimed where there is none", () => {
    const { text, verdict } = about("base", { base: { none: [2, 2.1, 2.2, 2.3] } });
    expect(text).toContain("does not break down");
    expect(text).toContain("+0.300");
    expect(verdict).toBe("neutral");
  });
});

describe("about flatness up to g·L", () => {
  it("a model that holds is said to hold, with its largest rise and its cliffs", () => {
    const { text, verdict } = about("flat");
    expect(verdict).toBe("for");
    expect(text).toContain("holds up to g·L");
    expect(text).toContain("+0.066");
    expect(text).toContain("+1.762 at g = 1, +1.786 at g = 2 and +1.487 at g = 4");
  });

  it("a model that does not hold is said not to", () => {
    const { text, verdict } = about("flat", { e2: { 2: [1.4, 1.5, 3, 3], 4: [1.4, 1.5, 2.2, 3], 8: [1.4, 1.5, 1.6, 1.7] } });
    expect(verdict).toBe("against");
    expect(text).toContain("does not stay flat");
    expect(text).toContain("at g = 4 its loss rises by 0.800");
    expect(text).toContain("at g = 8 its loss rises by 0.300");
    expect(text).toContain("holds at g = 2");
  });

  it("a loss that falls with context is not called a failure", () => {
    expect(about("flat", { e2: { 8: [2, 1.6, 1.4, 1.2] } }).verdict).toBe("for");
  });

  it("no cliff is claimed where the loss does not rise past g·L", () => {
    expect(about("flat", { e2: { 2: [1.4, 1.4, 1.45, 1.5] } }).text).not.toContain("breaks down");
  });
});

describe("about contexts beyond every scale", () => {
  const usual = syntheticResults();
  const beyond = usual.rows.filter(({ context }) => context === 512).map((row) => ({ ...row, context: 1024, nats: row.nats + 1 }));
  const results = { ...usual, rows: [...usual.rows, ...beyond] };

  it("E² is compared only where one of its scales reaches, and its last scale has a cliff there too", () => {
    expect(finding("reach", results).text).toBe(finding("reach", usual).text);
    expect(finding("alternatives", results).text).not.toContain("1024");
    expect(finding("flat", results)).toMatchObject({ verdict: "for" });
    expect(finding("flat", results).text).toContain("at g = 8");
    for (const { text } of findings(results)) expect(text).not.toMatch(/undefined|NaN/);
  });
});

describe("about E² against the unscaled base model", () => {
  it("gains are told per context at the covering scale", () => {
    expect(about("reach").text).toContain("1.036 at 128 bytes, 1.567 at 256 bytes and 1.525 at 512 bytes");
  });

  it("a failure is told", () => {
    const { text, verdict } = about("reach", { base: { none: [1.3, 1.4, 3, 3] } });
    expect(verdict).toBe("against");
    expect(text).toContain("does not beat the unscaled base model at 128 bytes");
  });
});

describe("about truncation", () => {
  it("that no variant beats its own baseline is said plainly", () => {
    const { text, verdict } = about("truncation");
    expect(verdict).toBe("against");
    expect(text).toContain("No variant beats its own truncation baseline");
    expect(text).toContain("gives 1.297");
    expect(text).toContain("the best loss with a longer context is 1.334");
  });

  it("E² below its own baseline but above the best one is not called a success without that", () => {
    const { text, verdict } = about("truncation", { truncation: { e2: 1.7 } });
    expect(verdict).toBe("for");
    expect(text).toContain("E², g = 4 by 0.236 at 128 bytes");
    expect(text).toContain("Yet none is better than to read the last 64 bytes with the base + plain steps model (1.297");
  });

  it("a real gain is named", () => {
    const { text } = about("truncation", { e2: { 8: [1.4, 1.3, 1.2, 1.1] } });
    expect(text).toContain("E², g = 8 by 0.358 at 512 bytes");
    expect(text).toContain("1.100, is also below the best truncation baseline, 1.297");
  });

  it("a gain of others is not credited to E²", () => {
    const { text, verdict } = about("truncation", { plain: { none: [1.297, 2, 3, 3], yarn: [1.297, 1.25, 1.4, 1.5] } });
    expect(verdict).toBe("against");
    expect(text).toContain("E² is not among them");
  });

  it("a difference within the tie is no gain", () => {
    expect(about("truncation", { truncation: { e2: 1.469 } }).text).toContain("No variant");
  });
});

describe("about the alternatives", () => {
  it("contexts where plain steps with YaRN win and where E² wins are both named", () => {
    const { text, verdict } = about("alternatives");
    expect(verdict).toBe("against");
    expect(text).toContain("worse than the best other method at 128 bytes (1.480 against 1.334");
    expect(text).toContain("better than every other method at 512 bytes (1.602 against 1.701");
    expect(text).toContain("beats E² at 128 and 256 bytes");
  });

  it("a clean win is told as one", () => {
    const { text, verdict } = about("alternatives", { e2: { 2: [1.3, 1.3, 3, 3], 4: [1.3, 1.3, 1.3, 3], 8: [1.3, 1.3, 1.3, 1.3] } });
    expect(verdict).toBe("for");
    expect(text).not.toContain("worse");
    expect(text).not.toContain("YaRN when reading");
  });
});

describe("about the price inside the window", () => {
  it("a loss is a price", () => {
    expect(about("price").text).toContain("0.311 nats per byte worse than as many plain steps");
  });

  it("and no loss is none", () => {
    expect(about("price", { e2: { 1: [1.295, 3, 3, 3], 8: [1.4, 1.4, 1.4, 1.4] } })).toMatchObject({
      verdict: "for",
      text: expect.stringContaining("costs nothing"),
    });
  });
});

describe("findings", () => {
  it("always end with what the numbers cannot show", () => {
    expect(findings(syntheticResults()).at(-1)?.topic).toBe("limits");
  });

  it("say of the smoke preset that its sizes were chosen for a clear breakdown", () => {
    const last = (preset: "smoke" | "small"): string => findings({ ...syntheticResults(), preset }).at(-1)?.text ?? "";
    expect(last("smoke")).toContain("no evidence for the method");
    expect(last("small")).not.toContain("no evidence for the method");
  });

  it("say nothing about rows that are not there", () => {
    const topics = findings({ ...syntheticResults(), rows: [], train: [], draws: [] }).map(({ topic }) => topic);
    expect(topics).toEqual(["limits"]);
  });

  it("judge E² at the default scale, the smallest that covers the context", () => {
    expect(e2Covering(syntheticResults(), 256)).toMatchObject({ scale: 4, nats: 1.481 });
    expect(e2Covering(syntheticResults({ e2: { 1: [1, 1, 1, 1], 8: [2, 2, 2, 2] } }), 128)).toMatchObject({ scale: 8 });
    expect(e2Covering(syntheticResults({ e2: { 1: [1, 1, 1, 1] } }), 128)).toBeUndefined();
  });
});

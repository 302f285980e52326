import { beforeAll, describe, expect, it } from "vitest";
import { load, runBench } from "./load.js";

interface Result {
  readonly cases: Readonly<Record<string, readonly number[]>>;
  readonly peakBytes: number;
  readonly losses: readonly number[];
  readonly first?: number;
  readonly yardstick?: { readonly products: number; readonly attention: number };
  readonly squareOperations?: number;
  readonly extraBytes?: number;
}
interface Outcome {
  readonly name: string;
  readonly results: readonly Result[];
  readonly failure?: string;
}
interface Size {
  readonly label: string;
  readonly length: number;
  readonly batch: number;
  readonly checkpoint: boolean;
  readonly argumentsFor: (name: string) => readonly string[];
  readonly apart: (name: string) => boolean;
}
interface Measured {
  readonly size: Size;
  readonly outcomes: readonly Outcome[];
}
interface Job {
  readonly name: string;
  readonly command: readonly string[];
}
interface Library {
  readonly name: string;
  readonly failure?: string;
  readonly timeOfYardstick?: number;
}
interface LengthResults {
  readonly rows: readonly { readonly libraries: readonly Library[] }[];
  readonly agree: boolean;
}
type Report<R> = (measured: readonly Measured[]) => { readonly results: R; readonly text: string };
interface Figure {
  readonly data: { readonly values: readonly { name: string; length: number; ms: number; MiB: number }[] };
}
interface PassRate {
  readonly gigaflops: number;
  readonly fraction: number;
}

let sizes: {
  stepSizes: (options: { lengths?: string; backend: string }) => Size[];
  readingSizes: (options: { contexts?: string }) => Size[];
  onlySize: Size;
};
let rounds: {
  overSizes: (
    sizes: readonly Size[],
    jobs: readonly Job[],
    options: { rounds: number; run: (command: readonly string[]) => Promise<Result> },
  ) => Promise<Measured[]>;
};
let long: { lengthsReport: Report<LengthResults>; evaluationReport: Report<LengthResults> };
let parts: {
  attentionOperations: (shape: { heads: number; length: number; headDim: number }) => { forward: number; backward: number };
  attentionReport: Report<{ libraries: readonly { forward: PassRate; backward: PassRate }[] }>;
  headReport: Report<{ products: number; libraries: readonly { timeOfProducts: number }[] }>;
};
let figure: {
  lengthFigure: (results: LengthResults, names: { what: string; letter: string }) => Figure;
  drawFigure: (spec: Figure) => Promise<string>;
};

beforeAll(async () => {
  sizes = await load("compare/sizes.mjs");
  rounds = await load("compare/rounds.mjs");
  long = await load("compare/long.mjs");
  parts = await load("compare/parts.mjs");
  figure = await load("compare/figure.mjs");
});

const step = (milliseconds: number, peakMebibytes: number, losses = [5.5, 5.4]): Result => ({
  cases: { step: [milliseconds, milliseconds, 10 * milliseconds] },
  peakBytes: peakMebibytes * 2 ** 20,
  losses,
  first: 3 * milliseconds,
});

describe("sizes", () => {
  it("steps have 2048 tokens, and one text where that is longer", () => {
    const all = sizes.stepSizes({ backend: "wasm" });
    expect(all.map(({ length }) => length)).toEqual([128, 256, 512, 1024, 2048, 4096, 8192, 16384]);
    expect(all.map(({ batch }) => batch)).toEqual([16, 8, 4, 2, 1, 1, 1, 1]);
    expect(all.map(({ checkpoint }) => checkpoint)).toEqual([...Array(7).fill(false), true]);
  });

  it("those who cannot keep less of a step are asked for it as it is", () => {
    const [size] = sizes.stepSizes({ backend: "wasm", lengths: "512c" });
    expect(size?.argumentsFor("dawngrad, relaxed SIMD")).toContain("--checkpoint");
    expect(size?.argumentsFor("TensorFlow.js")).not.toContain("--checkpoint");
  });

  it("readings are of one text, and chosen sizes grow", () => {
    expect(sizes.readingSizes({ contexts: "4096,1024" }).map(({ length, batch }) => [length, batch])).toEqual([
      [1024, 1],
      [4096, 1],
    ]);
  });

  it.each(["0", "12.5", "many"])("a length of %s is refused", (lengths) => {
    expect(() => sizes.stepSizes({ backend: "wasm", lengths })).toThrow(/--lengths .* is not a positive integer/);
  });
});

describe("rounds over sizes", () => {
  const jobs = ["dawngrad", "other"].map((name) => ({ name, command: [name] }));

  it("libraries take turns, and one that failed is not asked for more, but named with its error", async () => {
    const asked: string[] = [];
    const run = async ([name = "", , length = "", ...rest]: readonly string[]): Promise<Result> => {
      asked.push([name, length, ...rest.filter((word) => word === "--checkpoint")].join(" "));
      if (name === "other" && length === "256") throw new Error("RangeError: too much");
      return step(1, 1);
    };
    const measured = await rounds.overSizes(sizes.stepSizes({ backend: "wasm", lengths: "128,256,512,1024c" }), jobs, { rounds: 2, run });
    expect(asked).toEqual([
      ...["dawngrad 128", "other 128", "dawngrad 128", "other 128"],
      ...["dawngrad 256", "other 256", "dawngrad 256"],
      ...["dawngrad 512", "dawngrad 512"],
      ...["dawngrad 1024 --checkpoint", "dawngrad 1024 --checkpoint"],
    ]);
    expect(measured.map(({ outcomes }) => outcomes[1]?.failure)).toEqual([
      undefined,
      "RangeError: too much",
      ...Array(2).fill("T = 256 (× 8): RangeError: too much"),
    ]);
  });

  it("a step with checkpoints is tried even where one without failed", async () => {
    const run = async (command: readonly string[]): Promise<Result> => {
      if (!command.includes("--checkpoint")) throw new Error("OutOfMemoryError: too long");
      return step(1, 1);
    };
    const measured = await rounds.overSizes(sizes.stepSizes({ backend: "wasm", lengths: "512,512c" }), jobs, { rounds: 1, run });
    expect(measured[1]?.outcomes.map(({ failure }) => failure)).toEqual([undefined, "T = 512 (× 4): OutOfMemoryError: too long"]);
  });
});

describe("tables over lengths", () => {
  const [short, longer] = [128, 4096].map((length) => ({ length, label: `T = ${length}`, batch: 1, checkpoint: false }) as Size) as [
    Size,
    Size,
  ];
  const measured: Measured[] = [
    {
      size: short,
      outcomes: [
        { name: "dawngrad", results: [step(100, 200), step(120, 210), step(110, 220)] },
        { name: "PyTorch", results: [step(88, 800), step(44, 800), step(55, 800)] },
      ],
    },
    {
      size: longer,
      outcomes: [
        { name: "dawngrad", results: [step(1000, 400)] },
        { name: "PyTorch", results: [], failure: "RuntimeError: no memory" },
      ],
    },
  ];

  it("say medians, how often dawngrad's time that is, memory, and why something is missing", () => {
    const { results, text } = long.lengthsReport(measured);
    expect(text).toMatch(/T = 128 +110 +55\.0 \(0\.50\)/);
    expect(text).toMatch(/T = 128 +210 +800/);
    expect(text).toMatch(/T = 4096 +1000 +–/);
    expect(text).toContain("– PyTorch at T = 4096: RuntimeError: no memory");
    expect(results.agree).toBe(true);
  });

  it("say when libraries did not compute the same", () => {
    const other = { name: "other", results: [step(1, 1, [5.5, 5.5])] };
    const { results, text } = long.lengthsReport([{ size: short, outcomes: [...(measured[0]?.outcomes ?? []), other] }]);
    expect(results.agree).toBe(false);
    expect(text).toContain("1.0e-1 (MORE THAN 0.0001 is allowed)");
  });

  it("hold a reading against its products and its attention", () => {
    const result = { cases: { read: [2600] }, peakBytes: 1, losses: [5.5], yardstick: { products: 500, attention: 1500 } };
    const { results, text } = long.evaluationReport([{ size: longer, outcomes: [{ name: "dawngrad", results: [result] }] }]);
    expect(results.rows[0]?.libraries[0]?.timeOfYardstick).toBeCloseTo(1.3);
    expect(text).toMatch(/T = 4096 +2600 +635 +1\.30/);
  });

  it("become a figure of what could be measured", async () => {
    const { results } = long.lengthsReport(measured);
    const spec = figure.lengthFigure(results, { what: "training step", letter: "T" });
    expect(spec.data.values.map(({ name, length, ms, MiB }) => [name, length, ms, MiB])).toEqual([
      ["dawngrad", 128, 110, 210],
      ["PyTorch", 128, 55, 800],
      ["dawngrad", 4096, 1000, 400],
    ]);
    const svg = await figure.drawFigure(spec);
    expect(svg).toMatch(/^<svg[^>]*><style>/);
    for (const word of ["dawngrad", "PyTorch", "Time of a training step", "Peak memory of the process", "T (tokens)", "4096"]) {
      expect(svg).toContain(`>${word}</text>`);
    }
  });
});

describe("parts", () => {
  it("attention needs two products forward and five backward, over the pairs that are seen", () => {
    const shape = { heads: 3, length: 7, headDim: 4 };
    let pairs = 0;
    for (let query = 0; query < 7; query++) for (let key = 0; key <= query; key++) pairs += 3;
    expect(parts.attentionOperations(shape)).toEqual({ forward: pairs * 4 * 4, backward: pairs * 4 * 10 });
  });

  it("rates of attention are fractions of the rate of 1024³ in the same process", () => {
    const { forward, backward } = parts.attentionOperations({ heads: 8, length: 2048, headDim: 64 });
    // 100 GFLOP/s for the square, 60 forward and 50 backward.
    const cases = { square: [10], forward: [forward / 60e6], both: [forward / 60e6 + backward / 50e6] };
    const result = { cases, peakBytes: 1, losses: [], squareOperations: 1e9 };
    const { results } = parts.attentionReport([{ size: sizes.onlySize, outcomes: [{ name: "dawngrad", results: [result] }] }]);
    const [library] = results.libraries;
    expect([library?.forward.gigaflops, library?.forward.fraction]).toEqual([expect.closeTo(60), expect.closeTo(0.6)]);
    expect([library?.backward.gigaflops, library?.backward.fraction]).toEqual([expect.closeTo(50), expect.closeTo(0.5)]);
  });

  it("the time of the head is held against its three products", () => {
    const result = { cases: { head: [5000], square: [10] }, peakBytes: 1, losses: [12], squareOperations: 1e9, extraBytes: 57 * 2 ** 20 };
    const { results, text } = parts.headReport([{ size: sizes.onlySize, outcomes: [{ name: "dawngrad", results: [result] }] }]);
    expect(results.libraries[0]?.timeOfProducts).toBeCloseTo(5000 / (results.products / 100 / 1e6));
    expect(text).toMatch(/dawngrad +5000 \(5000–5000\) +1\.44 +57 +0 +12\.0000/);
  });
});

describe("the command", () => {
  it.each([
    [["--only", "lengths", "--lengths", "128,x"], "--lengths x is not a positive integer"],
    [["--only", "everything"], "--only everything: workloads are matmul, step"],
    [["--peers", "numpy"], "--peers numpy: there are dawngrad, jax-js"],
    [["--backend", "cuda"], "--backend cuda: there are wasm, webgpu, reference"],
    [["--rounds", "0"], "--rounds 0 is not a positive integer"],
    [["--limit", "-1"], "--limit"],
    [["--long"], "Unknown option '--long'"],
  ])("refuses %j", async (args, message) => {
    const { code, stderr } = await runBench("compare.mjs", ...args);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });
});

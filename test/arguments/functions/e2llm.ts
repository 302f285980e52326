import * as dawngrad from "../../../src/index.js";
import { aBoundedNumber, aFunction, aList, alsoFor, aName, aNumber, anInteger, anObject, aText, optional, options } from "../parameters.js";
import { config, documents, frequencies, key, shape, tables, training } from "./values.js";

const windows = (): unknown => dawngrad.createWindowSampler({ documents: documents() as never, length: 4, batch: 1 });
const rowOptions = { granularity: optional(aName("batch")), seed: optional(anInteger(0)) };
const drawnScaling = { scaling: optional(aName("linear")), shape: optional(anObject(shape)) };
const e2Sampler = {
  window: anInteger(8),
  gMax: anInteger(2),
  sinks: optional(anInteger(1)),
  g: optional(anInteger(1)),
  t: optional(anInteger(0)),
  overflow: optional(aName("refuse")),
  ...rowOptions,
};
const scoreProducts = (): unknown => dawngrad.scoreProducts([1, 2, 3, 4], [4, 3, 2, 1]);
const between = options({ s: aNumber(0.5), s1: aNumber(0), s2: aNumber(1) });
const isFunction = (value: unknown): boolean => typeof value === "function";

/** Positions, schedules and readings of `src/e2llm`. */
export const functions = {
  // Positions, schedules, E²-LLM.
  inferenceScale: { length: anInteger(8), window: anInteger(4) },
  plainPositions: { options: options({ length: anInteger(4), offset: optional(anInteger(0)), scale: optional(anInteger(1)) }) },
  largestShift: { g: anInteger(1), window: anInteger(4), length: anInteger(4) },
  e2Row: { options: options({ length: anInteger(4), g: anInteger(1), t: anInteger(0), sinks: optional(anInteger(1)) }) },
  e2Positions: {
    options: options({
      window: anInteger(4),
      gMax: anInteger(2),
      sinks: optional(anInteger(1)),
      granularity: optional(aName("batch")),
      seed: optional(anInteger(0)),
      batch: anInteger(1),
      length: anInteger(4),
      step: anInteger(0),
    }),
  },
  createPlainSource: {
    options: optional(options({ scale: optional(aBoundedNumber(2)), seed: optional(anInteger(0)), ...drawnScaling })),
  },
  createE2Source: { options: options({ ...e2Sampler, ...drawnScaling }) },
  createE2YarnSource: {
    options: options({ ...e2Sampler, shape: anObject(shape), ramp: optional(aName("turns")), betaFast: optional(aBoundedNumber(4)) }),
  },
  createPoseSource: {
    options: options({ window: anInteger(4), scale: aBoundedNumber(2), chunks: optional(anInteger(2)), ...rowOptions, ...drawnScaling }),
  },
  createRandomizedSource: { options: options({ lMax: anInteger(8), ...rowOptions, ...drawnScaling }) },
  createRandomScaleSource: { options: options({ gMax: anInteger(2), ...rowOptions, shape: anObject(shape) }) },
  createRandomIncrementsSource: { options: optional(options(rowOptions)) },
  createPositionSource: {
    options: anObject(() => ({ type: "e2", window: 8, gMax: 2 })),
    config: optional(anObject(() => config)),
  },
  extensionNotes: { positions: anObject(() => ({ type: "e2", window: 8, gMax: 2 })), config: anObject(() => config) },
  positionSourceReading: {
    options: anObject(() => ({ type: "e2", window: 8, gMax: 2 })),
    config: optional(anObject(() => config)),
  },
  rowSource: {
    options: options({
      draw: aFunction(() => ({ length }: dawngrad.RowRequest) => ({ positions: new Int32Array(length), draw: {} })),
      ...rowOptions,
    }),
  },
  ropeFrequencies: {
    scaling: anObject(() => ({ type: "linear", factor: 2 })),
    shape: options({ headDim: anInteger(4), theta: aBoundedNumber(1e4) }),
  },
  searchLongropeFactors: {
    options: options({
      evaluate: aFunction(
        () =>
          ({ factors }: { factors: readonly number[] }) =>
            factors[0] as number,
      ),
      headDim: anInteger(4),
      factor: aBoundedNumber(2),
      originalMaxPositions: anInteger(8),
      theta: optional(aBoundedNumber(1e4)),
      seed: anInteger(0),
      population: optional(anInteger(4)),
      parents: optional(anInteger(2)),
      generations: optional(anInteger(1)),
      mutations: optional(anInteger(1)),
      crossovers: optional(anInteger(1)),
      mutationRate: optional(aBoundedNumber(0.5)),
      step: optional(aBoundedNumber(0.5)),
      starts: optional(aList(() => [0, 2])),
      onGeneration: optional(aFunction(() => () => {})),
    }),
  },
  untouchedStart: { scaled: anObject(() => tables()), original: anObject(() => tables()), start: anInteger(1) },
  ntkTheta: { shape: options({ headDim: anInteger(4), theta: aBoundedNumber(1e4) }), factor: aBoundedNumber(2) },
  ropeTables: {
    positions: anObject(() => dawngrad.plainPositions({ length: 4 })),
    frequencies: anObject(frequencies),
    options: optional(options({ dtype: optional(aName("f64")) })),
  },
  selfExtendTables: {
    frequencies: anObject(frequencies),
    options: options({ length: anInteger(4), near: anInteger(2), group: anInteger(2) }),
  },
  selfExtendReach: { options: options({ window: anInteger(4), near: anInteger(2), group: anInteger(2) }) },
  selfExtendGroup: { options: options({ length: anInteger(8), window: anInteger(4), near: anInteger(2) }) },
  reRopeTables: { frequencies: anObject(frequencies), options: options({ length: anInteger(4), near: anInteger(2) }) },
  leakyReRopeTables: {
    frequencies: anObject(frequencies),
    options: options({ length: anInteger(4), near: anInteger(2), factor: aBoundedNumber(2) }),
  },
  leakyReRopeFactor: { options: options({ length: anInteger(8), window: anInteger(4), near: anInteger(2) }) },
  logNTables: { tables: anObject(tables), options: options({ window: anInteger(2) }) },
  streamingTables: {
    frequencies: anObject(frequencies),
    options: options({ length: anInteger(4), near: anInteger(2), sinks: optional(anInteger(1)) }),
  },
  exportConfig: { config: anObject(() => config), options: options({ scale: aBoundedNumber(2) }) },
  toHfRope: {
    scaling: anObject(() => ({ type: "linear", factor: 2 })),
    options: options({ headDim: anInteger(4), theta: aBoundedNumber(1e4), window: anInteger(8) }),
  },
  fromHfRope: {
    config: anObject(() => dawngrad.toHfConfig(config)),
    options: optional(options({ file: optional(aText("config.json")), seqLen: optional(anInteger(4)) })),
  },
  readingScaling: { request: options({ schedule: aName("linear"), scale: aBoundedNumber(1), length: anInteger(4), window: anInteger(4) }) },
  readingTables: {
    config: anObject(() => config),
    request: options({ schedule: aName("linear"), scale: aBoundedNumber(1), length: anInteger(4), window: anInteger(4) }),
  },
  drawnCoverage: {
    options: options({
      positions: aFunction(() => dawngrad.createPlainSource()),
      length: anInteger(4),
      steps: anInteger(1),
      batch: optional(anInteger(1)),
      window: anInteger(4),
      scale: anInteger(2),
      from: optional(anInteger(0)),
    }),
  },
  scoreProducts: { q: aList(() => [1, 2, 3, 4]), k: aList(() => [1, 2, 3, 4]) },
  scoreAtDistance: { products: anObject(scoreProducts), invFreq: aList(() => [1, 0.1]), distance: aNumber(1) },
  interpolationBound: { products: anObject(scoreProducts), invFreq: aList(() => [1, 0.1]), distance: between },
  worstInterpolation: { shape: anObject(() => ({ headDim: 4, theta: 100 })), distance: between },
  interpolationCounterexample: { shape: anObject(() => ({ headDim: 4, theta: 100 })) },
  extrapolationBound: { products: anObject(scoreProducts), invFreq: aList(() => [1, 0.1]), distance: aNumber(1) },
  resolutionAt: { products: anObject(scoreProducts), invFreq: aList(() => [1, 0.1]), scale: aBoundedNumber(2) },
  automaticReading: { config: anObject(() => config), options: optional(options({ file: optional(aText("config.json")) })) },
  readingScale: { reading: anObject(() => ({ schedule: "linear" })), length: anInteger(4), window: anInteger(4) },
  automaticScale: { schedule: aName("linear"), length: anInteger(4), window: anInteger(4) },
  bodyDistanceCoverage: {
    options: options({
      window: anInteger(4),
      gMax: anInteger(2),
      scale: anInteger(2),
      length: optional(anInteger(4)),
      sinks: optional(anInteger(1)),
    }),
  },
  coveredBodyDistances: {
    options: options({
      window: anInteger(4),
      gMax: anInteger(2),
      scale: anInteger(2),
      length: optional(anInteger(4)),
      sinks: optional(anInteger(1)),
    }),
  },
  modelRope: {
    config: anObject(() => config),
    options: optional(options({ length: optional(anInteger(4)), file: optional(aText("config.json")) })),
  },
  modelFrequencies: {
    config: anObject(() => config),
    options: optional(options({ length: optional(anInteger(4)), file: optional(aText("config.json")) })),
  },
  interpolatedFrequencies: { frequencies: anObject(frequencies), factor: aBoundedNumber(2) },
  positionedBatches: {
    options: options({
      windows: anObject(windows),
      positions: aFunction(() => dawngrad.createPlainSource()),
      frequencies: alsoFor(anObject(frequencies), isFunction),
      onDraws: optional(aFunction(() => () => undefined)),
    }),
  },
  trainExtension: {
    options: options({
      ...training,
      windows: anObject(windows),
      positions: aFunction(() => dawngrad.createPlainSource()),
      onDraws: optional(aFunction(() => () => undefined)),
      frequencies: optional(alsoFor(anObject(frequencies), isFunction)),
    }),
  },
  randomStream: { seed: anInteger(0), purpose: anInteger(0), major: optional(anInteger(0)), minor: optional(anInteger(0)) },
  stackRows: { rows: anInteger(1), draw: aFunction(() => () => dawngrad.plainPositions({ length: 2 })) },
} as const;

/** Classes that a user constructs. */
export const classes = {
  ClexOde: {
    options: options({
      headDim: anInteger(4),
      theta: aBoundedNumber(10_000),
      factor: optional(anInteger(1)),
      activation: optional(aName("tanh")),
      steps: optional(anInteger(4)),
      key,
    }),
  },
} as const;

/**
 * How many cases a test of damaged files or of random programs makes: few in `npm test`, as many as FUZZ_RUNS says elsewhere
 * (`FUZZ_RUNS=10000 npx vitest run …`, `npm run test:properties -- --long`).
 */
export const fuzzRuns = (usual: number): number => Number(process.env["FUZZ_RUNS"] ?? usual);

/** The seed of a property: its own, so that every run is the same, or another one for each that FUZZ_SEED says (`npm run test:properties -- --seed random`). */
export const fuzzSeed = (own: number): number => {
  const given = process.env["FUZZ_SEED"];
  return given === undefined ? own : (Number(given) ^ Math.imul(own, 0x9e3779b1)) | 0;
};

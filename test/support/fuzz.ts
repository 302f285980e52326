/** How many mutations a test of damaged files makes: few in `npm test`, as many as FUZZ_RUNS says elsewhere (`FUZZ_RUNS=10000 npx vitest run …`). */
export const fuzzRuns = (usual: number): number => Number(process.env["FUZZ_RUNS"] ?? usual);

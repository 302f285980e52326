import { median } from "../shared/case.mjs";
import { runScript } from "./run-script.mjs";

/**
 * Runs jobs in turn, A B C, A B C, …, so that whatever else the machine does meanwhile disturbs all of them alike.
 * jobs: { name, command }. Returns { name, results } or { name, failure } for each; a job that failed is not run again.
 * `limit`: milliseconds after which a script is ended. `onStart` hears of each run before it begins.
 */
export async function inTurn(jobs, { rounds, limit, run = runScript, onStart = () => {} }) {
  const outcomes = jobs.map(({ name }) => ({ name, results: [] }));
  for (let round = 1; round <= rounds; round++) {
    for (const [i, { name, command }] of jobs.entries()) {
      const outcome = outcomes[i];
      if (outcome.failure) continue;
      onStart({ name, round });
      try {
        outcome.results.push(await run(command, { limit }));
      } catch (error) {
        outcome.failure = error.message;
        console.error(`  failed: ${error.message}`);
      }
    }
  }
  return outcomes;
}

/**
 * The same for growing sizes: { label, argumentsFor(name), apart(name) } each. A library that failed at one size is not asked for a
 * greater one, whose outcome names the failure, unless it is measured apart there, in another way. Returns { size, outcomes } for each.
 */
export async function overSizes(sizes, jobs, { onStart = () => {}, ...options }) {
  const failures = new Map();
  const measured = [];
  for (const size of sizes) {
    const asked = jobs
      .filter(({ name }) => size.apart(name) || !failures.has(name))
      .map(({ name, command }) => ({ name, command: [...command, ...size.argumentsFor(name)] }));
    const found = await inTurn(asked, { ...options, onStart: (event) => onStart({ ...event, size: size.label }) });
    for (const { name, failure } of found) if (failure && !size.apart(name)) failures.set(name, `${size.label}: ${failure}`);
    const outcomes = jobs.map(({ name }) => found.find((one) => one.name === name) ?? { name, results: [], failure: failures.get(name) });
    measured.push({ size, outcomes });
  }
  return measured;
}

/** The median of the rounds' medians, the least and the greatest of them, and the best of all samples. */
export function summary(rounds) {
  const medians = rounds.map(median);
  return { median: median(medians), least: Math.min(...medians), greatest: Math.max(...medians), best: Math.min(...rounds.flat()) };
}

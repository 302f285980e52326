import { median } from "../shared/case.mjs";
import { runScript } from "./run-script.mjs";

/**
 * Runs jobs in turn, A B C, A B C, …, so that whatever else the machine does meanwhile disturbs all of them alike.
 * jobs: { name, command }. Returns { name, results } or { name, failure } for each; a job that failed is not run again.
 */
export async function inTurn(jobs, { rounds, label }) {
  const outcomes = jobs.map(({ name }) => ({ name, results: [] }));
  for (let round = 1; round <= rounds; round++) {
    for (const [i, { name, command }] of jobs.entries()) {
      const outcome = outcomes[i];
      if (outcome.failure) continue;
      console.error(`${label}, round ${round} of ${rounds}: ${name}`);
      try {
        outcome.results.push(await runScript(command));
      } catch (error) {
        outcome.failure = error.message;
        console.error(`  failed: ${error.message}`);
      }
    }
  }
  return outcomes;
}

/** The median of the rounds' medians, the least and the greatest of them, and the best of all samples. */
export function summary(rounds) {
  const medians = rounds.map(median);
  return { median: median(medians), least: Math.min(...medians), greatest: Math.max(...medians), best: Math.min(...rounds.flat()) };
}

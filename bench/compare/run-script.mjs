import { spawn } from "node:child_process";

/** Milliseconds after which a script is ended, where nothing else is said. */
export const longest = 10 * 60e3;

/** Settings for OpenBLAS that suit another processor would slow PyTorch down, and its bytecode has no place in the repository. */
function environment() {
  const { OPENBLAS_CORETYPE: _, OPENBLAS_L2_SIZE: __, ...kept } = process.env;
  return { ...kept, PYTHONDONTWRITEBYTECODE: "1" };
}

/** Runs one script in a process of its own; the JSON on its last line, or an Error with what it said instead. */
export function runScript([command, ...args], { limit = longest } = {}) {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, args, { env: environment(), stdio: ["ignore", "pipe", "pipe"], timeout: limit });
    const said = { output: "", errors: "" };
    child.stdout.on("data", (chunk) => {
      said.output += chunk;
    });
    child.stderr.on("data", (chunk) => {
      said.errors += chunk;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve(JSON.parse(said.output.trim().split("\n").at(-1)));
      else reject(new Error(lastWords(said.errors) ?? (signal ? endedBy(signal, performance.now() - start, limit) : `exit code ${code}`)));
    });
  });
}

const endedBy = (signal, taken, limit) =>
  taken >= limit
    ? `not done after ${Math.round(limit / 1e3)} s`
    : `ended by ${signal}${signal === "SIGKILL" ? ", out of memory perhaps" : ""}`;

/** The line of a stack trace that says what went wrong, for Node and for Python. */
function lastWords(errors) {
  const lines = errors.split("\n").filter((line) => /^(FATAL ERROR|\w*(Error|Exception)\b.*): /.test(line));
  return lines.at(-1)?.slice(0, 300);
}

#!/usr/bin/env node
import { runCli } from "./program.js";
import { runners } from "./runners.js";

/** A reader that leaves early (`dawngrad … | head`) is no failure: output stops, the work goes on. */
function onStreamError(close: () => void): (error: NodeJS.ErrnoException) => void {
  return (error) => {
    if (error.code !== "EPIPE") throw error;
    close();
  };
}

let closeOutput = (): void => {};
process.stdout.on(
  "error",
  onStreamError(() => closeOutput()),
);
process.stderr.on(
  "error",
  onStreamError(() => {}),
);

// Set instead of exit: leaving while GPU work is queued can abort the process.
process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  runners,
  onIo: (io) => {
    closeOutput = () => io.closeOutput();
  },
});

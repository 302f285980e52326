#!/usr/bin/env node
import { closeSync } from "node:fs";
import { isatty } from "node:tty";
import type { ShellIo } from "./io.js";
import { runCli } from "./program.js";
import { runners } from "./runners.js";

let streamFailed: ShellIo["streamFailed"] = () => {};
// Without listeners a full log disk, a closed terminal or a reader that left (`dawngrad … | head`) would end the process.
process.stdout.on("error", (error) => streamFailed("stdout", error));
process.stderr.on("error", (error) => streamFailed("stderr", error));

// Node restores the settings of its terminals when it exits, and aborts where one has gone away; closed descriptors it leaves alone.
const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));
process.on("exit", () => {
  for (const descriptor of terminals) if (!isatty(descriptor)) closeSync(descriptor);
});

// Set instead of exit: leaving while GPU work is queued can abort the process.
process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  runners,
  onIo: (io) => {
    streamFailed = io.streamFailed;
  },
});

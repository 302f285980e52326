#!/usr/bin/env node
import { closeSync } from "node:fs";
import { isatty } from "node:tty";
import { invocationOf } from "./invocation.js";
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
const argv = process.argv.slice(2);
process.exitCode = await runCli(argv, {
  stdout: process.stdout,
  stderr: process.stderr,
  // Opened where a command reads it.
  get stdin() {
    return process.stdin;
  },
  env: process.env,
  runners,
  invocation: invocationOf(process.argv[1] ?? "dawngrad", argv, { env: process.env, cwd: process.cwd() }),
  onIo: (io) => {
    streamFailed = io.streamFailed;
  },
});

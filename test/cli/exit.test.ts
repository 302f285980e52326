import { describe, expect, it } from "vitest";
import { summarizeError } from "../../src/cli/exit.js";
import { onInterrupt } from "../../src/cli/interrupt.js";
import { createIo } from "../../src/cli/io.js";
import type { CommandContext } from "../../src/cli/runner.js";
import {
  BackendUnavailableError,
  DeviceLostError,
  DtypeError,
  FormatError,
  NonFiniteError,
  OptionError,
  OutOfMemoryError,
  ShapeError,
  UsageError,
} from "../../src/errors.js";
import { CapturedStream, cli, FakeSignals } from "./capture.js";

const fail = (error: unknown) => () => {
  throw error;
};

describe("the exit code", () => {
  it.each([
    [new OptionError("x"), 2],
    [new FormatError("x", { file: "f", hint: "h" }), 2],
    [new ShapeError("x"), 2],
    [new DtypeError("x"), 2],
    [new BackendUnavailableError("x"), 1],
    [new DeviceLostError("x"), 1],
    [new OutOfMemoryError("x", { requestedBytes: 1, liveBytes: {} }), 1],
    [new NonFiniteError("x"), 1],
    [new UsageError("x"), 1],
    [new TypeError("x"), 1],
    ["a thrown text", 1],
  ])("of %s is %i", async (error, code) => {
    expect((await cli(["doctor"], fail(error))).code).toBe(code);
  });

  it("is 0 when the body returns nothing and its own number otherwise", async () => {
    expect((await cli(["doctor"])).code).toBe(0);
    expect((await cli(["doctor"], () => 1)).code).toBe(1);
  });

  it("is 2 for a path that does not exist and 1 for a full disk", () => {
    const system = (code: string) => Object.assign(new Error(`${code}: …`), { code, syscall: "open", path: "/no/where" });
    expect(summarizeError(system("ENOENT"))).toMatchObject({ exitCode: 2, message: "/no/where: no such file or folder" });
    expect(summarizeError(system("ENOSPC"))).toMatchObject({ exitCode: 1, message: "/no/where: no space left on the disk" });
  });
});

describe("an error", () => {
  it("is one line and a hint without a stack", async () => {
    const { stderr, stdout } = await cli(
      ["doctor"],
      fail(new BackendUnavailableError("no adapter\nwas found", { hint: "install a driver" })),
    );
    expect(stderr).toBe("error: no adapter was found\nhint: install a driver\n");
    expect(stdout).toBe("");
  });

  it("that nobody foresaw names --verbose", async () => {
    expect((await cli(["doctor"], fail(new RangeError("boom")))).stderr).toBe(
      "error: boom\nhint: run the command again with --verbose to see where\n",
    );
  });

  it("shows its stack and its cause with --verbose", async () => {
    const { stderr } = await cli(["doctor", "--verbose"], fail(new OptionError("outer", { cause: new Error("inner") })));
    expect(stderr).toMatch(/OptionError: outer\n +at /);
    expect(stderr).toContain("caused by Error: inner");
  });

  it("under --json is a document on standard output and words on standard error", async () => {
    const { stdout, stderr } = await cli(["doctor", "--json"], fail(new OptionError("no", { hint: "yes" })));
    expect(JSON.parse(stdout)).toEqual({ error: { name: "OptionError", message: "no", hint: "yes", exitCode: 2 } });
    expect(stderr).toContain("error: no");
  });

  it("of usage under --json is such a document too", async () => {
    const { code, stdout } = await cli(["train", "--json", "--steps", "abc"]);
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ error: { exitCode: 2 } });
  });
});

describe("under --json", () => {
  it("standard output is one document whatever else is said", async () => {
    const { stdout, stderr } = await cli(["eval", "--model", "m", "--json"], ({ io }) => {
      io.print("a table");
      io.write("pieces");
      io.note("a note");
      io.warn("careful");
      io.detail("not shown");
      const progress = io.progress({ label: "eval", total: 2 });
      progress.update({ step: 1, amount: 10 });
      progress.finish();
      io.result({ rows: [1, 2] });
      return undefined;
    });
    expect(JSON.parse(stdout)).toEqual({ rows: [1, 2] });
    for (const words of ["a table", "pieces", "a note", "warning: careful", "eval 1/2"]) expect(stderr).toContain(words);
    expect(stderr).not.toContain("not shown");
  });

  it("a second document and a number that JSON cannot hold are refused", async () => {
    const twice = await cli(["doctor", "--json"], ({ io }) => {
      io.result({});
      io.result({});
      return undefined;
    });
    expect(twice.code).toBe(1);
    expect(JSON.parse(twice.stdout)).toEqual({});
    const nan = await cli(["doctor", "--json"], ({ io }) => {
      io.result({ loss: Number.NaN });
      return undefined;
    });
    expect(nan.code).toBe(1);
    expect(JSON.parse(nan.stdout)).toHaveProperty("error");
  });

  it("and not otherwise is a document written", async () => {
    const { stdout } = await cli(["doctor"], ({ io }) => {
      io.print("words");
      io.result({ a: 1 });
      return undefined;
    });
    expect(stdout).toBe("words\n");
  });
});

describe("a signal", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("%s lets the step finish and ends with %i", async (signal, code) => {
    const signals = new FakeSignals();
    const steps: number[] = [];
    const result = await cli(
      ["train"],
      (context) => {
        const stop = context.onInterrupt();
        for (let step = 1; step <= 5; step++) {
          if (step === 3) signals.send(signal);
          steps.push(step);
          if (stop.requested !== undefined) break;
        }
        return undefined;
      },
      { signals },
    );
    expect(steps).toEqual([1, 2, 3]);
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(signal);
    expect(signals.exits).toEqual([]);
    expect(signals.count).toBe(0);
  });

  it("that comes twice ends the process at once", () => {
    const signals = new FakeSignals();
    const stop = onInterrupt({ source: signals });
    signals.send("SIGINT");
    expect(signals.exits).toEqual([]);
    signals.send("SIGTERM");
    expect(signals.exits).toEqual([143]);
    expect(stop.requested).toBe("SIGINT");
    stop.dispose();
    expect(signals.count).toBe(0);
  });

  it("that a terminal and npm both pass on counts once, and SIGHUP never ends a process that is saving", () => {
    const signals = new FakeSignals();
    let time = 0;
    const stop = onInterrupt({ source: signals, now: () => time });
    signals.send("SIGINT");
    time += 20;
    signals.send("SIGINT");
    signals.send("SIGHUP");
    time += 1000;
    signals.send("SIGHUP");
    expect(signals.exits).toEqual([]);
    signals.send("SIGINT");
    expect(signals.exits).toEqual([130]);
    expect(stop.exitCode).toBe(130);
  });

  it("does not hide that the body failed", async () => {
    const signals = new FakeSignals();
    const { code } = await cli(
      ["train"],
      (context) => {
        context.onInterrupt();
        signals.send("SIGINT");
        throw new NonFiniteError("loss");
      },
      { signals },
    );
    expect(code).toBe(1);
  });
});

describe("colour and closed pipes", () => {
  const io = (env: Record<string, string>, tty: boolean) =>
    createIo({ stdout: new CapturedStream(tty), stderr: new CapturedStream(tty), env, json: false, verbose: false });

  it("colour is for terminals and NO_COLOR turns it off", () => {
    expect(io({}, true).style("red", "x")).toBe("\u001b[31mx\u001b[39m");
    expect(io({}, false).style("red", "x")).toBe("x");
    expect(io({ NO_COLOR: "1" }, true).style("red", "x")).toBe("x");
    expect(io({ NO_COLOR: "1", FORCE_COLOR: "1" }, true).style("red", "x")).toBe("x");
    expect(io({ TERM: "dumb" }, true).style("red", "x")).toBe("x");
  });

  /** A stream whose writes fail, by throwing or by an event. */
  const broken = (code: string) => ({
    write: () => {
      throw Object.assign(new Error(`write ${code}`), { code });
    },
  });

  it.each(["ENOSPC", "EIO", "EPIPE", "ERR_STREAM_DESTROYED"])("words that nobody can read (%s) stop nothing", async (code) => {
    let steps = 0;
    const found = await cli(
      ["train"],
      ({ io }) => {
        const progress = io.progress({ label: "train", total: 3 });
        for (let step = 1; step <= 3; step++) {
          io.note("a note");
          progress.update({ step });
          steps++;
        }
        progress.finish();
        io.print("held-out loss");
        return undefined;
      },
      { stderr: broken(code) },
    );
    expect({ steps, code: found.code, stdout: found.stdout }).toEqual({ steps: 3, code: 0, stdout: "held-out loss\n" });
  });

  it.each([
    ["EPIPE", 0, ""],
    ["ENOSPC", 1, "standard output could not be written: no space left on the disk"],
    ["EIO", 1, "standard output could not be written: write EIO"],
  ])("a result that cannot be written (%s) lets the work end first and exits with %i", async (error, code, words) => {
    let done = false;
    const body = ({ io }: CommandContext) => {
      io.print("a table");
      io.result({ a: 1 });
      io.note("saved");
      done = true;
      return undefined;
    };
    for (const flags of [[], ["--json"]]) {
      const found = await cli(["train", ...flags], body, { stdout: broken(error) });
      expect(done).toBe(true);
      expect(found.code).toBe(code);
      expect(found.stderr).toContain("saved");
      expect(found.stderr).toContain(words);
    }
  });

  it("nothing is written to standard output once its reader has gone", () => {
    const stdout = new CapturedStream();
    const shell = createIo({ stdout, stderr: new CapturedStream(), env: {}, json: false, verbose: false });
    shell.print("one");
    shell.streamFailed("stdout", Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    shell.print("two");
    expect(stdout.text).toBe("one\n");
    expect(shell.outputClosed).toBe(true);
  });
});

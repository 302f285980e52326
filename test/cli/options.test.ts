import { describe, expect, it } from "vitest";
import { invocationOf } from "../../src/cli/invocation.js";
import { wantedBackend } from "../../src/cli/options.js";
import { formatCommandLine } from "../../src/cli/program.js";
import { packageVersion } from "../../src/cli/version.js";
import { cli } from "./capture.js";

/** Those that compute. */
const computing = ["doctor", "demo", "train", "extend", "eval", "generate", "logprobs", "inspect", "experiment"];
const others = ["convert", "tokenizer train", "tokenizer encode", "tokenizer decode"];

const lines = (text: string): string[] => text.trimEnd().split("\n");

describe("help", () => {
  it("of the command lists every subcommand and exits 0", async () => {
    const { code, stdout, stderr } = await cli(["--help"]);
    expect(code).toBe(0);
    for (const name of [...computing, "convert", "tokenizer"]) expect(stdout).toMatch(new RegExp(`^ {2}${name} `, "m"));
    expect(stderr).toBe("");
  });

  it.each([...computing, ...others])("of %s has an example and runs nothing", async (name) => {
    const { code, stdout, calls } = await cli([...name.split(" "), "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain("Examples:");
    expect(stdout).toContain(`  dawngrad ${name}`);
    expect(calls).toEqual([]);
  });

  it("is shown on standard error with exit code 2 when no command is named", async () => {
    const { code, stdout, stderr } = await cli([]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain("Usage: dawngrad");
  });

  it("of the version is the version of the package", async () => {
    expect((await cli(["--version"])).stdout).toBe(`${packageVersion()}\n`);
  });
});

describe("usage errors are one line, a hint and exit code 2", () => {
  it.each([
    [["train", "--steps", "abc"], "'--steps <n>' argument 'abc'", "dawngrad train --help"],
    [["train", "--steps", "10.5"], "whole number", "dawngrad train --help"],
    [["train", "--steps", "0"], "at least 1", "dawngrad train --help"],
    [["train", "--steps", "1e3"], "whole number", "dawngrad train --help"],
    [["train", "--lr", "fast"], "number above 0", "dawngrad train --help"],
    [["train", "--lr", "-1"], "number above 0", "dawngrad train --help"],
    [["train", "--lr", "NaN"], "number above 0", "dawngrad train --help"],
    [["train", "--seed", "4294967296"], "at most 4294967295", "dawngrad train --help"],
    [["train", "--stpes", "3"], "unknown option '--stpes'", "did you mean --steps?"],
    [["train", "--steps"], "argument missing", "dawngrad train --help"],
    [["train", "extra"], "too many arguments", "dawngrad train --help"],
    [["demo", "--preset", "huge"], "smoke, small, gpu", "dawngrad demo --help"],
    [["doctor", "--backend", "cuda"], "webgpu, wasm, reference", "dawngrad doctor --help"],
    [["doctor", "--threads", "0"], "at least 1 and of at most 256", "dawngrad doctor --help"],
    [["doctor", "--threads", "257"], "at most 256", "dawngrad doctor --help"],
    [["doctor", "--threads", "two"], "whole number", "dawngrad doctor --help"],
    [["demo", "--threads", "2", "--backend", "reference"], "--threads has no effect with --backend reference", "--backend wasm"],
    [["train", "--threads", "2", "--backend", "webgpu"], "--threads has no effect with --backend webgpu", "--backend wasm"],
    [["eval", "--model", "a", "--threads", "2", "--adapter", "llvmpipe"], "--threads has no effect with --adapter", "--backend wasm"],
    [["doctor", "--backend", "wasm", "--adapter", "software"], "--adapter has no effect with --backend wasm", "--backend webgpu"],
    [["doctor", "--backend", "reference", "--adapter", "llvmpipe"], "--adapter has no effect with --backend reference", "leave it out"],
    [["trian"], "unknown command 'trian'", "did you mean train?"],
    [["train", "--hidden", "100", "--heads", "3"], "--hidden 100", "102"],
    [["train", "--hidden", "12", "--heads", "4"], "3 dimensions", "--hidden 16"],
    [["train", "--heads", "4", "--kv-heads", "3"], "--kv-heads 3", "1, 2, 4"],
    [["train", "--resume", "runs/base", "--layers", "3"], "--layers", "leave them out"],
    [["extend"], "needs a model", "--model"],
    [["extend", "--model", "a", "--resume", "b"], "one of them", "--model"],
    [["extend", "--model", "a", "--method", "plain", "--g-max", "4"], "--g-max", "--method e2"],
    [["eval"], "needs a model", "--model"],
    [["eval", "--model", "a", "--contexts", "64,,128"], "64,128,256", "dawngrad eval --help"],
    [["eval", "--model", "a", "--contexts", "64,64"], "twice", "dawngrad eval --help"],
    [["eval", "--model", "a", "--scale", "0.5"], '"auto" or a number of at least 1', "dawngrad eval --help"],
    [["eval", "--model", "a", "--schedule", "none", "--scale", "4"], "no effect", "--schedule"],
    [["eval", "--model", "a", "--scale", "growing"], '"auto" or a number of at least 1', "dawngrad eval --help"],
    [["generate", "--model", "a", "--prompt", "x", "--scale", "grow"], '"auto", "growing" or a number', "dawngrad generate --help"],
    [["eval", "--model", "a", "--stride", "8"], "--stride", "--sliding"],
    [["eval", "--model", "a", "--sliding", "--stride", "65", "--contexts", "64,128"], "--stride 65", "at most 64"],
    [["generate", "--model", "a"], "needs a prompt", "--prompt"],
    [["generate", "runs/base", "--prompt", "x"], "too many arguments", "did you mean --model runs/base?"],
    [["eval", "runs/base"], "too many arguments", "did you mean --model runs/base?"],
    [["generate", "--model", "a", "--prompt", "x", "--stream", "4", "--batch", "2"], "writes one text at a time", "leave one of them out"],
    [["convert", "a", "--out", "b/model.safetensors"], "looks like a file", "name a folder, --out b/model,"],
    [["convert", "a", "--out", "b.BIN"], "looks like a file", "name a folder, --out b,"],
    [["inspect", "a", "--no-needs", "--contexts", "8"], "--contexts says what needs are told for", "leave one of them out"],
    [["inspect", "a", "--no-needs", "--lora-targets", "q_proj"], "--lora-targets says what needs are told for", "leave one of them out"],
    [["generate", "--model", "a", "--prompt", " "], "empty", "dawngrad generate --help"],
    [["generate", "--model", "a", "--prompt", "x", "--temperature", "-0.1"], "at least 0", "dawngrad generate --help"],
  ])("dawngrad %j", async (argv, message, hint) => {
    const { code, stdout, stderr, calls } = await cli(argv);
    expect(code).toBe(2);
    expect(calls).toEqual([]);
    expect(stdout).toBe("");
    const [first, second, ...rest] = lines(stderr);
    expect(first).toMatch(/^error: /);
    expect(first).toContain(message);
    expect(second).toMatch(/^hint: /);
    expect(second).toContain(hint);
    expect(rest).toEqual([]);
  });
});

describe("options reach the body", () => {
  it("with defaults", async () => {
    const { code, calls } = await cli(["demo"]);
    expect(code).toBe(0);
    expect(calls).toEqual([{ name: "demo", options: { out: "runs/demo", seed: 0, json: false, verbose: false } }]);
  });

  it("as numbers", async () => {
    const { options } = await cli("demo --preset smoke --steps 20 --extend-steps 7 --seed 42 --out here".split(" "));
    expect(options).toMatchObject({ preset: "smoke", steps: 20, extendSteps: 7, seed: 42, out: "here" });
  });

  it("with defaults that follow other options", async () => {
    const { options } = await cli("train --hidden 96 --heads 6 --steps 50".split(" "));
    expect(options).toMatchObject({ kvHeads: 6, intermediate: 256, warmup: 5, out: "runs/base" });
    expect((await cli(["train", "--steps", "5000"])).options["warmup"]).toBe(100);
    expect((await cli(["extend", "--model", "m", "--method", "plain"])).options["out"]).toBe("runs/plain");
  });

  it("with the folder of --resume as the one to write to, and the names that were typed", async () => {
    const { options } = await cli("train --resume runs/old --steps 9".split(" "));
    expect(options["out"]).toBe("runs/old");
    expect([...(options["given"] as ReadonlySet<string>)].sort()).toEqual(["resume", "steps"]);
  });

  it("with contexts sorted and the scale resolved", async () => {
    const { options } = await cli("eval --model m --contexts 256,64,128 --schedule yarn --scale 2.5".split(" "));
    expect(options).toMatchObject({ contexts: [64, 128, 256], schedule: "yarn", scale: 2.5 });
    expect((await cli("eval --model m --schedule none".split(" "))).options["scale"]).toBe(1);
    expect((await cli("eval --model m".split(" "))).options).toMatchObject({ schedule: "auto", scale: "auto" });
    expect((await cli("generate --model m --prompt x --scale growing".split(" "))).options).toMatchObject({ scale: "growing" });
  });

  it("with backend, adapter and threads absent unless given", async () => {
    expect(Object.keys((await cli(["doctor"])).options).sort()).toEqual(["json", "verbose"]);
    expect((await cli("doctor --backend webgpu --adapter llvmpipe".split(" "))).options).toMatchObject({
      backend: "webgpu",
      adapter: "llvmpipe",
    });
    expect((await cli("doctor --threads 3".split(" "))).options).toMatchObject({ threads: 3 });
    expect((await cli("train --backend wasm --threads 256".split(" "))).options).toMatchObject({ backend: "wasm", threads: 256 });
  });
});

describe("the backend that is asked for", () => {
  it.each([
    [{}, undefined],
    [{ backend: "reference" }, "reference"],
    [{ adapter: "llvmpipe" }, "webgpu"],
    [{ threads: 2 }, "wasm"],
    [{ backend: "wasm", threads: 2 }, "wasm"],
    [{ backend: "webgpu", adapter: "llvmpipe" }, "webgpu"],
  ] as const)("by %j is %s", (options, backend) => expect(wantedBackend(options)).toBe(backend));

  it("is described in every help with what it is by default", async () => {
    for (const name of computing) {
      const help = (await cli([name, "--help"])).stdout.replace(/\s+/g, " ");
      expect(help).toContain("(default: a GPU through webgpu, else wasm, else reference)");
      expect(help).toContain("--threads <n> for wasm: threads that compute (default: one for each processor, at most 16)");
    }
  });
});

describe("a command line", () => {
  it("is quoted so that a shell reads the same words", () => {
    expect(formatCommandLine(["generate", "--prompt", "it's a whale", "--out=a/b"])).toBe(
      "dawngrad generate --prompt 'it'\\''s a whale' --out=a/b",
    );
  });

  it("begins as it was typed: by name, by npx, by node, or by a script of npm", () => {
    const told = (script: string, argv: string[], env: Record<string, string> = {}) => {
      const found = invocationOf(script, argv, { env, cwd: "/home/me/project" });
      return formatCommandLine(found.argv, found.words);
    };
    const argv = ["demo", "--preset", "smoke", "--out", "a b"];
    const rest = "--preset smoke --out 'a b'";
    expect(told("/usr/local/bin/dawngrad", argv)).toBe(`dawngrad demo ${rest}`);
    expect(told("/home/me/project/node_modules/.bin/dawngrad", argv)).toBe(`npx dawngrad demo ${rest}`);
    expect(told("/home/me/.npm/x/dawngrad", argv, { npm_command: "exec", npm_lifecycle_event: "npx" })).toBe(`npx dawngrad demo ${rest}`);
    expect(told("/home/me/project/dist/cli/main.js", argv)).toBe(`node dist/cli/main.js demo ${rest}`);
    expect(told("/opt/dawngrad/main.js", argv)).toBe(`node /opt/dawngrad/main.js demo ${rest}`);
    const npm = { npm_command: "run-script", npm_lifecycle_event: "demo" };
    expect(told("/home/me/project/dist/cli/main.js", argv, npm)).toBe(`npm run demo -- ${rest}`);
    expect(told("/home/me/project/dist/cli/main.js", ["demo"], npm)).toBe("npm run demo");
    expect(told("/home/me/project/dist/cli/main.js", argv, { npm_lifecycle_event: "test" })).toBe(`node dist/cli/main.js demo ${rest}`);
  });
});

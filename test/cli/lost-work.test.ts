import { rmSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { data } from "../../src/autograd/realize.js";
import { tensorsOf } from "../../src/autograd/tree.js";
import { init } from "../../src/init.js";
import { loadModel } from "../../src/nn/checkpoint.js";
import { float32Tensor, writeSafetensors } from "../../src/nn/safetensors.js";
import { CapturedStream } from "./capture.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

let bench: Workbench;
beforeAll(async () => {
  bench = await createWorkbench();
  for (const name of ["base", "kept"]) expect((await command(bench.train(`--steps 6 --out ${bench.at(name)}`))).code).toBe(0);
});
afterAll(() => bench.remove());

/** Every subcommand that writes files, with `out` as its folder. */
const writers = (out: string): [string, string][] => [
  ["train", bench.train(`--steps 3 --out ${out}`)],
  ["extend", `extend --model ${bench.at("base")} --text ${bench.at("text.txt")} --steps 2 --batch 2 --backend reference --out ${out}`],
  ["eval", `eval --model ${bench.at("base")} --text ${bench.at("text.txt")} --targets 8 --backend reference --out ${out}`],
  ["demo", `demo --preset smoke --backend reference --out ${out}`],
];
const files: Readonly<Record<string, readonly string[]>> = {
  train: ["config.json", "model.safetensors", "training.safetensors", "metrics.jsonl"],
  extend: ["config.json", "model.safetensors", "training.safetensors", "metrics.jsonl"],
  eval: ["eval.json"],
  demo: ["results.json", "report.html", "unfinished.json", "base/model.safetensors", "plain/training.safetensors", "e2/metrics.jsonl"],
};

/** All files of a folder with their bytes. */
async function contents(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder);
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readFile(`${folder}/${name}`, "base64")])));
}

describe("where results go is checked before anything is computed", () => {
  it("for folders that cannot be", async () => {
    await writeFile(bench.at("afile"), "precious");
    await symlink("/no/such/place", bench.at("dangling"));
    await symlink(bench.at("circle"), bench.at("circle"));
    const impossible = [bench.at("afile"), bench.at("afile/below/it"), bench.at("dangling"), bench.at("dangling/x"), bench.at("circle/x")];
    impossible.push(bench.at("x".repeat(300)), "/dev/null/x", ...(process.platform === "linux" ? ["/proc/x", "/proc/x/y", "/sys/x"] : []));
    for (const out of impossible) {
      for (const [name, line] of writers(out)) {
        const found = await command(line);
        expect(found.code, `${name} ${out}`).toBe(2);
        expect(found.stderr).toMatch(/^error: the folder [^\n]+\nhint: [^\n]+\n$/);
        expect(found.stderr).toContain(out.slice(0, 60));
        expect(found.stdout).toBe("");
      }
    }
    expect(await readFile(bench.at("afile"), "utf8")).toBe("precious");
  });

  it("for folders that stand where a file has to be", async () => {
    for (const [name, line] of writers(bench.at("in-the-way"))) {
      for (const file of files[name] ?? []) {
        await mkdir(bench.at(`in-the-way/${file}`), { recursive: true });
        const found = await command(line);
        expect(found.code, `${name} ${file}`).toBe(2);
        expect(found.stderr).toMatch(/^error: [^\n]+ is a folder, and a file of that name has to be written\nhint: [^\n]+\n$/);
        rmSync(bench.at("in-the-way"), { recursive: true });
      }
    }
  });

  it("and folders that were made for a run that was refused are gone again", async () => {
    const found = await command(bench.train(`--window 5000 --steps 1 --out ${bench.at("a/b/c")}`).replace("--window 8 ", ""));
    expect(found.code).toBe(2);
    await expect(stat(bench.at("a"))).rejects.toThrow("ENOENT");
  });

  it("and folders above a new one are made", async () => {
    expect((await command(bench.train(`--steps 1 --out ${bench.at("d/e/f")}`))).code).toBe(0);
    expect(await readdir(bench.at("d/e/f"))).toEqual(["config.json", "metrics.jsonl", "model.safetensors", "training.safetensors"]);
  });
});

describe("a folder that holds a run", () => {
  it("is not overwritten by another, whatever began it", async () => {
    const before = await contents(bench.at("kept"));
    for (const [name, line] of writers(bench.at("kept")).slice(0, 2)) {
      const found = await command(line);
      expect(found.code, name).toBe(2);
      expect(found.stderr).toMatch(/^error: [^\n]+ holds a run already \(config.json, model.safetensors, training.safetensors\)/);
      expect(found.stderr).toContain("--force");
      expect(found.stderr).toContain(`--resume ${bench.at("kept")}`);
    }
    const elsewhere = await command(`train --resume ${bench.at("base")} --steps 9 --backend reference --out ${bench.at("kept")}`);
    expect(elsewhere.code).toBe(2);
    expect(await contents(bench.at("kept"))).toEqual(before);
  });

  it("is no place for a demo that would overwrite it", async () => {
    expect((await command(bench.train(`--steps 1 --out ${bench.at("runs/base")}`))).code).toBe(0);
    const found = await command(`demo --preset smoke --backend reference --out ${bench.at("runs")}`);
    expect(found.code).toBe(2);
    expect(found.stderr).toMatch(
      /error: [^\n]+ holds another run \([^\n]+runs\/base\), which this demo would replace\nhint: [^\n]*--force/,
    );
  });

  it("is replaced with --force, and gone on with by --resume", async () => {
    expect((await command(bench.train(`--steps 4 --out ${bench.at("twice")}`))).code).toBe(0);
    expect((await command(`train --resume ${bench.at("twice")} --steps 6 --backend reference`)).code).toBe(0);
    const forced = await command(bench.train(`--steps 2 --force --json --out ${bench.at("twice")}`));
    expect(JSON.parse(forced.stdout)).toMatchObject({ step: 2 });
    expect((await readFile(bench.at("twice/metrics.jsonl"), "utf8")).trimEnd().split("\n")).toHaveLength(2);
  });

  it("may be a demo's own, interrupted or finished, and no other demo's", async () => {
    await mkdir(bench.at("demos"));
    await writeFile(bench.at("demos/results.json"), JSON.stringify({ version: 1, fingerprint: "another" }));
    const finished = await command(`demo --preset smoke --backend reference --out ${bench.at("demos")}`);
    expect(finished.stderr).toContain("holds the results of another demo, which this demo would replace");
    await writeFile(
      bench.at("demos/unfinished.json"),
      JSON.stringify({ fingerprint: "another", steps: {}, train: [], draws: [], seconds: {} }),
    );
    const interrupted = await command(`demo --preset smoke --backend reference --out ${bench.at("demos")}`);
    expect(interrupted.stderr).toContain("holds an interrupted demo with other settings");
    expect([finished.code, interrupted.code]).toEqual([2, 2]);
  });
});

describe.each(["reference", "wasm"])("a training that diverges (%s)", (backend) => {
  const run = () => bench.at(`diverging-${backend}`);
  beforeAll(async () => {
    const line = bench.train(`--steps 6 --out ${run()}`).replace("--backend reference", `--backend ${backend}`);
    expect((await command(line)).code).toBe(0);
  });

  it.each(["--save-every 1", "--save-every 2", "--save-every 0", "--save-every 1 --clip 0 --warmup 0"])(
    "leaves the checkpoint that it went on from (%s), which can be gone on from again",
    async (options) => {
      const { "metrics.jsonl": _, ...before } = await contents(run());
      const found = await command(`train --resume ${run()} --steps 12 --lr 1e30 ${options} --backend ${backend}`);
      expect(found.code).toBe(1);
      expect(found.stderr).toMatch(/the checkpoint of step 6 in [^\n]+ is as it was\nerror: [^\n]+\nhint: [^\n]+\n$/);
      const { "metrics.jsonl": __, ...after } = await contents(run());
      expect(after).toEqual(before);
      const sane = await command(`train --resume ${run()} --steps 8 --lr 0.001 --out ${run()}-sane --force --json --backend ${backend}`);
      expect(JSON.parse(sane.stdout)).toMatchObject({ step: 8 });
      expect(Number.isFinite(JSON.parse(sane.stdout).loss)).toBe(true);
    },
  );

  it("saves nothing where nothing was saved before, and says so", async () => {
    const line = bench.train(`--steps 6 --lr 1e30 --warmup 0 --save-every 1 --out ${run()}-fresh`);
    const found = await command(line.replace("--backend reference", `--backend ${backend}`));
    expect(found.code).toBe(1);
    expect(found.stderr).toContain("nothing was saved yet\nerror: ");
    expect(await readdir(`${run()}-fresh`)).toEqual(["metrics.jsonl"]);
  });
});

describe("an evaluation", () => {
  const evaluate = (rest: string): string =>
    `eval --model ${bench.at("base")} --text ${bench.at("text.txt")} --targets 8 --contexts 8,16 --backend reference ${rest}`;

  it("has shown its numbers before it writes them", async () => {
    for (const flags of ["", " --json"]) {
      const out = bench.at("vanishing");
      class Vandal extends CapturedStream {
        override write(text: string): boolean {
          // The folder becomes a file while the losses are measured.
          if (/eval /.test(text)) {
            rmSync(out, { recursive: true, force: true });
            writeFileSync(out, "");
          }
          return super.write(text);
        }
      }
      const found = await command(evaluate(`--out ${out}${flags}`), { stderr: new Vandal() });
      rmSync(out, { force: true });
      expect(found.code).toBe(2);
      expect(found.stderr).toMatch(/error: [^\n]*eval.json cannot be written/);
      if (flags === "") expect(found.stdout).toContain("the line to beat");
      else expect(JSON.parse(found.stdout).rows).toHaveLength(2);
    }
  });

  it.each([
    ["the default contexts", "--sliding --stride 9", "at most 8", /--contexts \S+ /],
    ["given contexts", "--sliding --stride 9", "at most 8", undefined],
  ])("refuses a stride that leaves bytes out before it measures anything, with %s", async (_, flags, hint, drop) => {
    const line = evaluate(flags);
    const found = await command(drop === undefined ? line : line.replace(drop, ""));
    expect(found.code).toBe(2);
    expect(found.stderr).toContain(hint);
    expect(found.stderr).not.toContain("eval ");
    expect(found.stderr).not.toContain("bytes/s");
  });

  it("of weights that are no numbers says which, and gives all the rest", async () => {
    const backend = await init({ backend: "reference" });
    const model = await loadModel(bench.at("base"));
    const tensors = await Promise.all(
      tensorsOf(model).map(async ({ path, tensor }) => {
        const values = Float32Array.from((await data(tensor)) as Float32Array);
        if (path === "model.norm.weight") values[3] = Number.NaN;
        return [path, float32Tensor(values, tensor.shape)] as const;
      }),
    );
    await backend.close();
    await mkdir(bench.at("nan"));
    await writeFile(bench.at("nan/model.safetensors"), writeSafetensors(tensors, { format: "pt" }));
    await writeFile(bench.at("nan/config.json"), await readFile(bench.at("base/config.json")));

    const line = evaluate(`--sliding --by-position --out ${bench.at("nan-measured")}`).replace(bench.at("base"), bench.at("nan"));
    const words = await command(line);
    expect(words.code).toBe(1);
    expect(words.stderr).toContain("weights are NaN or infinite in model.norm.weight");
    expect(words.stderr).toContain("the loss is not a number at 8, 16 bytes of context, because the weights are not");
    expect(words.stdout).toMatch(/context +scale +nats\/byte\n +8 +1 +NaN\n +16 +1 +NaN\n/);
    expect(words.stdout).toMatch(/position +nats\/byte\n +0 … 15 +NaN\n/);

    const found = await command(`${line} --json`);
    const document = JSON.parse(found.stdout);
    expect(found.code).toBe(1);
    expect(document).toMatchObject({ window: 8, targets: 8, truncation: null, nonFinite: ["model.norm.weight"] });
    expect(document.rows).toEqual([
      { context: 8, scale: 1, nats: null, natsPerByte: null },
      { context: 16, scale: 1, nats: null, natsPerByte: null },
    ]);
    expect(JSON.parse(await readFile(bench.at("nan-measured/eval.json"), "utf8"))).toEqual(document);
  });
});

import { cp, readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { runCli } from "../../src/cli/program.js";
import { runners } from "../../src/cli/runners.js";
import { type Llama, loadModel, loadTokenizer, readingTables, ropeTensors, type Tokenizer, tensor, useBackend } from "../../src/index.js";
import { CapturedStream, FakeSignals } from "./capture.js";
import { writeTinyTokenizer } from "./tiny-tokenizer.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

describe("dawngrad logprobs", { timeout: 120_000 }, () => {
  let bench: Workbench;
  let model: Llama;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    bench = await createWorkbench();
    await writeTinyTokenizer(bench.at("tokens"));
    await command(bench.train(`--tokenizer ${bench.at("tokens")} --steps 8 --out ${bench.at("base")}`));
    tokenizer = await loadTokenizer(bench.at("base"));
  });
  afterAll(() => bench.remove());

  /** The command with words that may have spaces, and with standard input. */
  const run = async (words: readonly string[], input?: string) => {
    const [stdout, stderr] = [new CapturedStream(), new CapturedStream()];
    async function* stdin() {
      yield input as string;
    }
    const argv = ["logprobs", "--model", bench.at("base"), "--backend", "reference", ...words];
    const streams = { stdout, stderr, env: {}, runners, signals: new FakeSignals() };
    const code = await runCli(argv, { ...streams, ...(input === undefined ? {} : { stdin: stdin() }) });
    return { code, stdout: stdout.text, stderr: stderr.text };
  };
  const json = async (words: readonly string[], input?: string) => {
    const found = await run([...words, "--json"], input);
    expect(found).toMatchObject({ code: 0 });
    return JSON.parse(found.stdout);
  };

  /** ln p of every token behind a context, by one pass over that context alone. */
  const expected = async (context: Int32Array): Promise<number[]> => {
    const backend = createReferenceBackend();
    useBackend(backend);
    model = await loadModel(bench.at("base"));
    const tables = ropeTensors(readingTables(model.config, { schedule: "none", scale: 1, length: context.length, window: 8 }));
    const logits = await model.forward(tensor(context, { shape: [1, context.length] }), tables).data();
    useBackend(undefined);
    const last = Array.from(logits.subarray(-model.config.vocab_size) as Float32Array);
    const total = Math.log(last.reduce((sum, logit) => sum + Math.exp(logit), 0));
    return last.map((logit) => logit - total);
  };

  const text = "call me whale ship sea boat.\n";

  it("gives each token's ln p behind the tokens before it, its rank, and what is more probable", async () => {
    const found = await json(["--top", "3", text]);
    const tokens = tokenizer.encode(text);
    expect(found).toMatchObject({
      command: "logprobs",
      unit: "tokens",
      window: 8,
      schedule: "none",
      stride: 4,
      context: 8,
      interrupted: false,
    });
    expect(found.tokens.map(({ token }: { token: number }) => token)).toEqual([...tokens]);
    expect(found.tokens[0]).toMatchObject({ logprob: null, rank: null, top: [] });
    let sum = 0;
    for (const [i, one] of found.tokens.entries()) {
      if (i === 0) continue;
      // The first window ends before token 8, each later one four tokens on.
      const end = Math.min(tokens.length - 1, i <= 8 ? 8 : 8 + 4 * Math.ceil((i - 8) / 4));
      const all = await expected(tokens.slice(end - 8, i));
      sum += one.logprob;
      expect(one.logprob).toBeCloseTo(all[tokens[i] as number] as number, 5);
      const sorted = all.map((logprob, token) => ({ token, logprob })).sort((a, b) => b.logprob - a.logprob || a.token - b.token);
      expect(one.rank).toBe(1 + sorted.findIndex(({ token }) => token === tokens[i]));
      expect(one.top.map(({ token }: { token: number }) => token)).toEqual(sorted.slice(0, 3).map(({ token }) => token));
      expect(one).toMatchObject({ piece: tokenizer.tokenText(one.token), text: new TextDecoder().decode(tokenizer.tokenBytes(one.token)) });
    }
    expect(found.scored).toBe(tokens.length - 1);
    expect(found.logprob).toBeCloseTo(sum, 9);
    expect(found.nats).toBeCloseTo(-sum / found.scored, 9);
    const bytes = tokens.subarray(1).reduce((all, token) => all + tokenizer.tokenBytes(token).length, 0);
    expect(found.natsPerByte).toBeCloseTo(-sum / bytes, 9);
    expect(found.perplexity).toBeCloseTo(Math.exp(found.nats), 9);
  });

  it("is the same from a file, from standard input and as an argument, and however many windows are read together", async () => {
    await writeFile(bench.at("t.txt"), text);
    const logprobs = async (words: readonly string[], input?: string) =>
      (await json(words, input)).tokens.map(({ logprob }: { logprob: number }) => logprob);
    const given = await logprobs([text]);
    expect(await logprobs(["--text", bench.at("t.txt")])).toEqual(given);
    expect(await logprobs([], text)).toEqual(given);
    expect(await logprobs(["--batch", "1", "--stride", "4", "--context", "8", text])).toEqual(given);
    // A window that moves by one has all the context that fits.
    const [one, all] = [await json(["--context", "8", "--stride", "1", text]), tokenizer.encode(text)];
    expect(one.tokens.at(-1).logprob).toBeCloseTo((await expected(all.slice(-9, -1)))[all.at(-1) as number] as number, 5);
  });

  it("scores what follows a prompt alone, as multiple choice wants it", async () => {
    const found = await json(["--prompt", "call me", " whale"]);
    const tokens = tokenizer.encode("call me whale");
    const from = tokenizer.encode("call me").length;
    expect(found.scored).toBe(tokens.length - from);
    expect(found.tokens.slice(0, from).every(({ logprob }: { logprob: null }) => logprob === null)).toBe(true);
    expect(found.tokens[from].logprob).toBeCloseTo((await expected(tokens.slice(0, from)))[tokens[from] as number] as number, 5);
    expect(found.greedy).toBe(found.tokens.slice(from).every(({ rank }: { rank: number }) => rank === 1));
    // The same where the text is longer than a window, and begins behind the first.
    const [prompt, answer] = ["call me whale ship sea boat.", " whale ship sea"];
    const long = await json(["--prompt", prompt, answer]);
    const whole = await json([`${prompt}${answer}`]);
    expect(long.tokens.slice(-long.scored)).toEqual(whole.tokens.slice(-long.scored));
  });

  it("is shown as a table with a line that sums it up", async () => {
    const { stdout, stderr } = await run(["--top", "1", "whale é<|im_end|>"]);
    expect(stdout).toMatch(/^ {2}place {5}token {8}ln p {5}rank {2}text\n {6}0 +\d+ +- +- {2}"whale"\n/);
    expect(stdout).toMatch(/\n +1 +\d+ +-\d+\.\d{4} +\d+ {2}" " {2}\(.+ -\d+\.\d\d\)\n/);
    expect(stdout).toMatch(/ {2}Ã {2}\(.+\n.+ {2}© {2}\(.+\n.+ {2}<\|im_end\|> {2}\(/);
    expect(stdout).toMatch(/\n4 tokens scored, ln p -[\d.]+ in all: [\d.]+ nats per token, [\d.]+ per byte, perplexity [\d.]+\n$/);
    expect(stderr).toContain("read as it was trained");
  });

  it("reads an extended model whole at its scale, and a schedule that is named", async () => {
    const extend = `extend --model ${bench.at("base")} --text ${bench.at("text.txt")} --g-max 4 --steps 1 --batch 1 --backend reference`;
    await command(`${extend} --out ${bench.at("e2")}`);
    const own = await json(["--model", bench.at("e2"), text]);
    expect(own).toMatchObject({ schedule: "linear", scale: 2, stride: null });
    expect(own.context).toBe(own.tokens.length - 1);
    expect(await json(["--schedule", "yarn", text])).toMatchObject({ schedule: "yarn", scale: 2, stride: null });
  });

  it("warns of a text that is longer than what the model reads, of which a scale of its own is a part", async () => {
    await cp(bench.at("base"), bench.at("scaled"), { recursive: true });
    const config = JSON.parse(await readFile(bench.at("base/config.json"), "utf8"));
    const rope_scaling = { rope_type: "llama3", factor: 2, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8 };
    await writeFile(
      bench.at("scaled/config.json"),
      JSON.stringify({ ...config, max_position_embeddings: 16, rope_scaling, rope_parameters: undefined }),
    );
    const warning = async (model: string, context: number): Promise<string> =>
      (await run(["--model", bench.at(model), "--context", String(context), text])).stderr;
    expect(await warning("base", 8)).not.toContain("warning");
    expect(await warning("base", 9)).toContain("warning: 9 tokens are read at once and the model was trained on 8;");
    expect(await warning("scaled", 13)).not.toContain("warning");
    const line = `generate --model ${bench.at("scaled")} --prompt whale --backend reference --tokens`;
    expect((await command(`${line} 15`)).stderr).not.toContain("warning");
    expect((await command(`${line} 16`)).stderr).toContain(
      "have 17 tokens and the model reads 16, by the scale that its configuration states;",
    );
  });

  it("says of weights that are no numbers what they give, with the exit code of a failure, as generate does on a line of its own", async () => {
    await cp(bench.at("base"), bench.at("nan"), { recursive: true });
    const weights = await readFile(bench.at("base/model.safetensors"));
    weights.writeFloatLE(Number.NaN, weights.length - 4);
    await writeFile(bench.at("nan/model.safetensors"), weights);
    const found = await run(["--model", bench.at("nan"), "--json", text]);
    expect(found).toMatchObject({ code: 1, stderr: expect.stringContaining("warning: a probability is not a number") });
    expect(JSON.parse(found.stdout)).toMatchObject({ logprob: null, nats: null, perplexity: null });
    const written = await command(`generate --model ${bench.at("nan")} --prompt whale --tokens 2 --backend reference`);
    expect(written).toMatchObject({ code: 1, stdout: "whale\n", stderr: expect.stringMatching(/error: .+ NaN .+\nhint: /) });
  });

  it("refuses what cannot be scored in a line with advice", async () => {
    await writeFile(bench.at("empty.txt"), "");
    for (const [words, message] of [
      [["--text", bench.at("empty.txt")], "the text is empty"],
      [["whale"], "there is nothing to score: the text is one token, with nothing before it"],
      [[text, "--context", "4", "--stride", "8"], "--stride 8 is larger than --context 4"],
      [[text, "--scale", "2"], "--scale 2 has no effect"],
      [[text, "--top", "-1"], "A whole number of at least 0"],
      [["a", "--text", "b"], "a text was given, and the file b too"],
      [[], "standard input is a terminal"],
      [[text, "--model", bench.at("nowhere")], "nowhere"],
    ] as const) {
      const { code, stdout, stderr } = await run(words);
      expect([words, code, stdout]).toEqual([words, 2, ""]);
      expect(stderr).toContain(message);
      expect(stderr).toMatch(/error: [^\n]+\nhint: [^\n]+\n$/);
    }
  });
});

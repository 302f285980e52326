import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { runners } from "../../src/cli/runners.js";
import { applyChatTemplate } from "../../src/nn/chat.js";
import { loadTokenizer, type Tokenizer } from "../../src/nn/tokenizers.js";
import { CapturedStream, FakeSignals } from "./capture.js";
import { tinyTemplate, writeTinyTokenizer } from "./tiny-tokenizer.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

describe("texts of a model of tokens", { timeout: 120_000 }, () => {
  let bench: Workbench;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    bench = await createWorkbench();
    await writeTinyTokenizer(bench.at("tokens"));
    const trained = await command(bench.train(`--tokenizer ${bench.at("tokens")} --steps 30 --out ${bench.at("base")}`));
    expect(trained).toMatchObject({ code: 0 });
    tokenizer = await loadTokenizer(bench.at("base"));
  });
  afterAll(() => bench.remove());

  /** Words with spaces in them, as a shell passes them on. */
  const generate = async (...words: string[]) => {
    const [stdout, stderr] = [new CapturedStream(), new CapturedStream()];
    const argv = ["generate", "--backend", "reference", "--temperature", "0", "--tokens", "6", ...words];
    const withModel = words.includes("--model") ? argv : [...argv, "--model", bench.at("base")];
    const code = await runCli(withModel, { stdout, stderr, env: {}, runners, signals: new FakeSignals() });
    return { code, stdout: stdout.text, stderr: stderr.text };
  };
  const json = async (...words: string[]) => {
    const found = await generate("--json", ...words);
    expect(found).toMatchObject({ code: 0 });
    return JSON.parse(found.stdout);
  };

  it("end where a stop string comes, which is no part of them, with one or with several", async () => {
    const { text } = await json("--prompt", "whale", "--ignore-eos");
    for (const at of [1, Math.floor(text.length / 2), text.length - 1]) {
      const stop = text.slice(at, at + 2);
      const found = await json("--prompt", "whale", "--ignore-eos", "--stop", "nowhere", "--stop", stop);
      expect(found.text).toBe(text.slice(0, text.indexOf(stop)));
      if (found.tokens < 6) expect(found.ended).toBe("stop");
      const plain = await generate("--prompt", "whale", "--ignore-eos", "--stop", stop);
      expect(plain.stdout).toBe(`whale${found.text}\n`);
    }
  });

  it("are warned of what has no effect on the most likely token", async () => {
    const { code, stderr } = await generate("--prompt", "call", "--top-k", "3", "--min-p", "0.1");
    expect([code, stderr]).toEqual([0, expect.stringContaining("warning: --top-k, --min-p: no effect with --temperature 0")]);
    expect((await generate("--prompt", "call", "--top-k", "3", "--temperature", "1")).stderr).not.toContain("no effect");
  });

  it("end with the token that ends a text, unless that is ignored", async () => {
    const whole = await json("--prompt", "call", "--ignore-eos");
    const tokens = [...tokenizer.encode(whole.text)];
    const last = tokens[3] as number;
    await writeTinyTokenizer(bench.at("ends"));
    await writeFile(bench.at("ends/generation_config.json"), JSON.stringify({ eos_token_id: [last] }));
    const ended = await json("--prompt", "call", "--tokenizer", bench.at("ends"));
    expect(ended).toMatchObject({ text: tokenizer.decode(tokens.slice(0, tokens.indexOf(last))), ended: "stop" });
    expect(await json("--prompt", "call", "--tokenizer", bench.at("ends"), "--ignore-eos")).toMatchObject({
      text: whole.text,
      ended: "length",
    });
  });

  it("of many prompts are what each is alone, in whatever groups they are continued", async () => {
    const prompts = ["call me", " storm", "whale whale whale sea", "é"];
    await writeFile(bench.at("prompts.txt"), `${prompts.join("\n")}\n\n`);
    await writeFile(bench.at("prompts.json"), JSON.stringify(prompts));
    const alone: string[] = [];
    for (const prompt of prompts) alone.push((await json("--prompt", prompt)).text);
    for (const [file, batch] of [
      ["prompts.txt", "1"],
      ["prompts.txt", "3"],
      ["prompts.json", "8"],
    ] as const) {
      const { texts } = await json("--prompts", bench.at(file), "--batch", batch);
      expect(texts.map(({ prompt, text }: { prompt: string; text: string }) => [prompt, text])).toEqual(
        prompts.map((prompt, i) => [prompt, alone[i]]),
      );
    }
    const words = await generate("--prompts", bench.at("prompts.txt"));
    expect(words.stdout).toBe(prompts.map((prompt, i) => `${prompt}${alone[i]}\n\n`).join(""));
  });

  it("answer a conversation by the chat template of the model, and are the answer alone", async () => {
    const render = (messages: readonly { role: string; content: string }[]): Promise<string> =>
      applyChatTemplate(tinyTemplate, messages, { addGenerationPrompt: true });
    const said = [{ role: "user", content: "whale?" }];
    const system = { role: "system", content: "sea" };
    const answer = await json("--chat", "--prompt", "whale?");
    expect(answer.prompt).toBe(await render(said));
    expect((await json("--system", "sea", "--prompt", "whale?")).prompt).toBe(await render([system, ...said]));
    const messages = JSON.stringify([system, ...said]);
    await writeFile(bench.at("messages.json"), messages);
    for (const given of [messages, bench.at("messages.json")]) {
      expect((await json("--messages", given)).prompt).toBe(await render([system, ...said]));
    }
    expect((await generate("--chat", "--prompt", "whale?")).stdout).toBe(`${answer.text}\n`);
    await writeFile(bench.at("many.json"), JSON.stringify(["whale?", [system, ...said]]));
    const many = await json("--chat", "--prompts", bench.at("many.json"));
    expect(many.texts[0]).toMatchObject({ prompt: answer.prompt, text: answer.text });
    expect(many.texts[1].prompt).toBe(await render([system, ...said]));
  });

  it("are drawn by filters of the logits, each of which can leave the likeliest token alone", async () => {
    const greedy = (await json("--prompt", "whale")).text;
    const drawn = (...options: string[]) => json("--prompt", "whale", "--temperature", "1", ...options);
    for (const filter of [
      ["--top-k", "1"],
      ["--top-p", "0.000001"],
      ["--min-p", "1"],
    ]) {
      expect((await drawn(...filter)).text).toBe(greedy);
    }
    const document = await json("--prompt", "whale", "--repetition-penalty", "1.5", "--top-p", "0.9");
    expect(document).toMatchObject({ repetitionPenalty: 1.5, topP: 0.9, topK: null, minP: null });
    for (const [flag, value] of [
      ["--top-p", "0"],
      ["--top-p", "1.1"],
      ["--min-p", "-1"],
      ["--repetition-penalty", "0"],
      ["--top-k", "0"],
      ["--stop", ""],
      ["--batch", "0"],
    ] as const) {
      const refused = await generate("--prompt", "whale", flag, value);
      expect([flag, value, refused.code, refused.stdout]).toEqual([flag, value, 2, ""]);
      expect(refused.stderr).toContain(`${flag} <`);
    }
  });

  it("are refused for prompts that are none, or two, and for conversations with a model that has none", async () => {
    await writeTinyTokenizer(bench.at("bare"));
    await writeFile(bench.at("bare/tokenizer_config.json"), "{}");
    await writeFile(bench.at("blank.txt"), "\n  \n");
    const cases: readonly (readonly [message: RegExp, ...words: string[]])[] = [
      [/needs a prompt/],
      [/--prompt and --messages say two things/, "--prompt", "a", "--messages", "[]"],
      [/has no chat template/, "--chat", "--prompt", "a", "--tokenizer", bench.at("bare")],
      [/expected a list of messages/, "--messages", "[]"],
      [/message 0 has no role/, "--messages", '[{"content": "a"}]'],
      [/--messages at byte 2: expected JSON.*\nhint: write \[\{"role"/s, "--messages", "[{"],
      [/expected a list of messages\nhint: write \[\{"role"/, "--messages", '{"role": "user", "content": "x"}'],
      [/there is no such file|no such file/, "--messages", bench.at("nowhere.json")],
      [/expected prompts, found none/, "--prompts", bench.at("blank.txt")],
    ];
    for (const [message, ...words] of cases) {
      const found = await generate(...words);
      expect([words, found.code, found.stdout]).toEqual([words, 2, ""]);
      expect(found.stderr).toMatch(message);
      expect(found.stderr).toMatch(/hint: [^\n]+\n$/);
    }
  });
});

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { applyChatTemplate, type ChatMessage, FormatError, OptionError } from "../../src/index.js";

interface ChatCase {
  readonly style: string;
  readonly messages: ChatMessage[];
  readonly generate?: boolean;
  readonly tools?: unknown[];
  readonly variables?: Record<string, unknown>;
  readonly text?: string;
  readonly error?: string;
}

/** What test/golden/make_sampling.py wrote. */
const golden = (name: string): unknown => JSON.parse(readFileSync(new URL(`../golden/sampling/${name}.json`, import.meta.url), "utf8"));
const { cases } = golden("chats") as { cases: ChatCase[] };
const templates = golden("templates") as Record<string, string>;

describe("chat templates", () => {
  it.each(Object.keys(templates))("%s: the texts of transformers' apply_chat_template, and its refusals", async (style) => {
    const own = cases.filter((one) => one.style === style);
    expect(own.length).toBeGreaterThan(5);
    for (const { messages, generate = false, tools, variables, text, error } of own) {
      const made = applyChatTemplate(templates[style] as string, messages, {
        addGenerationPrompt: generate,
        bos: "<s>",
        eos: "</s>",
        ...(tools === undefined ? {} : { tools }),
        ...(variables === undefined ? {} : { variables }),
      });
      if (text !== undefined) expect(await made).toBe(text);
      else {
        await expect(made).rejects.toThrow(OptionError);
        await expect(made).rejects.toThrow(error as string);
      }
    }
  });

  it("print nothing for special tokens that are not given", async () => {
    expect(await applyChatTemplate("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", [{ role: "user", content: "a" }])).toBe("a");
  });

  it("refuse templates that are no Jinja, messages without a role, and variables that have options", async () => {
    const user = { role: "user", content: "a" };
    await expect(applyChatTemplate("{% if %}", [user])).rejects.toThrow(FormatError);
    await expect(applyChatTemplate("{{ messages", [user])).rejects.toThrow(FormatError);
    await expect(applyChatTemplate("a", [{ content: "a" } as unknown as ChatMessage])).rejects.toThrow(OptionError);
    await expect(applyChatTemplate("a", [{ role: 1 } as unknown as ChatMessage])).rejects.toThrow(/role of message 0/);
    for (const name of ["messages", "bos_token", "range"]) {
      await expect(applyChatTemplate("a", [user], { variables: { [name]: 1 } })).rejects.toThrow(OptionError);
    }
  });
});

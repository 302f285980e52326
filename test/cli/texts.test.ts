import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadTexts, readTextFile } from "../../src/cli/texts.js";
import { FormatError } from "../../src/errors.js";

let folder: string;
const path = (name: string): string => join(folder, name);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dawngrad-texts-"));
  await mkdir(path("books"));
  await mkdir(path("none"));
  await writeFile(path("books/b.txt"), "second");
  await writeFile(path("books/a.TXT"), "first\r\n");
  await writeFile(path("books/c.md"), "no text file");
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("the built-in book", () => {
  it("has the front matter, 135 chapters and the epilogue, in order", async () => {
    const documents = await loadTexts("moby-dick");
    expect(documents.length).toBe(139);
    expect(documents[3]).toMatchObject({ name: "Chapter 1. Loomings.", text: expect.stringContaining("Call me Ishmael.") });
    expect(documents[137]?.name).toBe("Chapter 135. The Chase.—Third Day.");
    expect(documents[138]?.name).toMatch(/^Epilogue\. /);
    expect(documents.every(({ text }) => text.length > 200)).toBe(true);
  });
});

describe("text from the disk", () => {
  it("is a file as one document, or the *.txt files of a folder by name", async () => {
    expect(await loadTexts(path("books/b.txt"))).toEqual([{ name: path("books/b.txt"), path: path("books/b.txt"), text: "second" }]);
    expect(await loadTexts(path("books"))).toEqual([
      { name: path("books/a.TXT"), path: path("books/a.TXT"), text: "first\r\n" },
      { name: path("books/b.txt"), path: path("books/b.txt"), text: "second" },
    ]);
  });

  it("loses its byte-order mark and nothing else", async () => {
    await writeFile(path("mark.txt"), "\ufeffWhale 🐋\r\n\t");
    expect((await readTextFile(path("mark.txt"))).text).toBe("Whale 🐋\r\n\t");
  });

  it.each([
    ["an empty file", Buffer.of(), /expected text, found an empty file/],
    ["a file with a byte-order mark alone", Buffer.from("\ufeff"), /expected text, found an empty file/],
    ["a file with a zero byte", Buffer.from("ab\0c"), /at byte 2: expected text, found a zero byte/],
    ["UTF-16", Buffer.from("\ufeffab", "utf16le"), /zero byte, as in binary files or UTF-16/],
    ["Latin-1", Buffer.from("caf\xe9 noir", "latin1"), /at byte 3: expected text in UTF-8/],
    ["UTF-8 that is cut inside of a character", Buffer.from("ab€").subarray(0, 4), /at byte 2: expected text in UTF-8/],
  ])("is refused for %s", async (_, bytes, message) => {
    await writeFile(path("bad.txt"), bytes);
    const error: unknown = await loadTexts(path("bad.txt")).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FormatError);
    expect((error as FormatError).message).toMatch(message);
    expect((error as FormatError).file).toBe(path("bad.txt"));
  });

  it("is refused where there is none", async () => {
    await expect(loadTexts(path("missing.txt"))).rejects.toThrow(/there is no such file/);
    await expect(loadTexts(path("none"))).rejects.toThrow(/a folder without \*\.txt/);
    await expect(loadTexts(path("missing.txt"))).rejects.toBeInstanceOf(FormatError);
  });
});

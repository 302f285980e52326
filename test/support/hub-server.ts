/** A server that speaks as much of the Hugging Face Hub's API as models need. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What "main" is, and what "v1" is. */
export const hubCommits = { main: "0123456789abcdef0123456789abcdef01234567", v1: "89abcdef0123456789abcdef0123456789abcdef" } as const;
const revisions: readonly string[] = [...Object.keys(hubCommits), ...Object.values(hubCommits), "refs%2Fpr%2F1"];

export interface HubRequest {
  readonly method: string;
  readonly path: string;
  readonly range?: string;
  readonly token?: string;
}

/** Environment variables that decide where models of the Hub are sought. */
const variables = ["HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"] as const;

/** Has models of the Hub sought at a server and kept in a folder. Returns what puts the environment back. */
export function useHub(endpoint: string, home: string): () => void {
  const before = variables.map((name) => [name, process.env[name]] as const);
  for (const name of variables) delete process.env[name];
  Object.assign(process.env, { HF_ENDPOINT: endpoint, HF_HOME: home });
  return () => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
}

/** Whether a file lies in large-file storage, by whose hashes weights are known. */
const isWeights = (name: string): boolean => /\.(safetensors|gguf|bin)$/.test(name);

export class HubServer {
  /** Files by name, by "owner/name"; those of "secret" need a token. */
  readonly repos = new Map<string, Map<string, Uint8Array>>();
  /** What was asked for. */
  asked: HubRequest[] = [];
  /** What goes wrong: the line breaks in the middle of weights, or a byte of them is another. */
  mishap: "none" | "cut" | "damage" = "none";
  private readonly server = createServer((request, response) => this.answer(request, response));

  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", "http://hub");
    const { range, authorization } = request.headers;
    this.asked.push({
      ...{ method: request.method ?? "", path: pathname },
      ...(range && { range }),
      ...(authorization && { token: authorization }),
    });
    if (pathname.startsWith("/api/")) await this.describe(request, response, pathname.split("/").slice(3));
    else this.send(response, pathname.split("/").slice(1), range);
  }

  /** The files of a revision, or their sizes and hashes. */
  private async describe(request: IncomingMessage, response: ServerResponse, [owner, name, what, revision]: string[]): Promise<void> {
    const json = (status: number, value: unknown): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    };
    if (owner === "secret" && request.headers.authorization === undefined) return json(401, { error: "Invalid username or password." });
    const files = this.repos.get(`${owner}/${name}`);
    if (files === undefined || !revisions.includes(revision ?? "")) return json(404, { error: "not found" });
    if (what === "revision") {
      const siblings = [...files.keys()].map((rfilename) => ({ rfilename }));
      return json(200, { _id: "1", id: `${owner}/${name}`, sha: hubCommits[revision === "v1" ? "v1" : "main"], siblings });
    }
    let body = "";
    for await (const chunk of request) body += chunk;
    const { paths } = JSON.parse(body) as { paths: string[] };
    json(
      200,
      paths.map((path) => ({ path, type: "file", size: files.get(path)?.length, ...hashOf(path, files.get(path) as Uint8Array) })),
    );
  }

  /** A file or a range of it. */
  private send(response: ServerResponse, [owner, name, , , ...path]: string[], range: string | undefined): void {
    const file = path.join("/");
    const bytes = this.repos.get(`${owner}/${name}`)?.get(file);
    if (bytes === undefined) return void response.writeHead(404, { "x-error-code": "EntryNotFound" }).end();
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "") ?? [];
    const [begin, end] = [Number(from ?? 0), to ? Math.min(bytes.length, Number(to) + 1) : bytes.length];
    const part = bytes.slice(begin, end);
    const isData = isWeights(file) && part.length > 1;
    if (this.mishap === "damage" && isData) part[part.length - 1] = (part[part.length - 1] as number) ^ 1;
    response.writeHead(range ? 206 : 200, {
      etag: '"x"',
      "content-length": part.length,
      ...(range && { "content-range": `bytes ${begin}-${end - 1}/${bytes.length}` }),
    });
    if (this.mishap === "cut" && isData) {
      response.write(part.subarray(0, part.length >> 1));
      setTimeout(() => response.destroy(), 30);
    } else response.end(part);
  }
}

function hashOf(name: string, bytes: Uint8Array): object {
  const oid = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  if (!isWeights(name)) return { oid };
  return { oid: "f".repeat(40), lfs: { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length, pointerSize: 130 } };
}

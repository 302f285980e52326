import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { translate } from "./compiled.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A server on the local host that hands out an empty page, the project's modules, each as a file of its own, and the files of golden models. */
export interface ModuleServer {
  readonly origin: string;
  close(): Promise<void>;
}

export interface ModuleServerOptions {
  /** Send the headers that isolate a page from other origins, without which browsers share no memory among threads. */
  readonly isolated?: boolean;
  /** The content security policy of everything that is served. */
  readonly policy?: string;
}

/** Serves `/` and, as `.js`, every TypeScript file under `src/` and `test/`; nothing is bundled or rewritten. */
export async function serveModules({ isolated = false, policy }: ModuleServerOptions = {}): Promise<ModuleServer> {
  const headers = {
    ...(isolated && { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" }),
    ...(policy !== undefined && { "content-security-policy": policy }),
  };
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url ?? "/", "http://localhost").pathname);
    const send = (status: number, type: string, body: string | Uint8Array): void => {
      response.writeHead(status, { "content-type": type, ...headers });
      response.end(body);
    };
    if (path === "/") send(200, "text/html", "<!doctype html><title>dawngrad</title>");
    else if (/^\/test\/golden\/[\w/.-]*$/.test(path)) {
      readFile(join(root, path)).then(
        (bytes) => send(200, "application/octet-stream", bytes),
        () => send(404, "text/plain", "Entry not found"),
      );
    } else if (!/^\/(src|test)\/.*\.js$/.test(path)) send(404, "text/plain", `${path} is not served`);
    else {
      const file = join(root, path.replace(/\.js$/, ".ts"));
      readFile(file, "utf8")
        .then(translate)
        .then(
          (text) => send(200, "text/javascript", text),
          (error: Error) => send(500, "text/plain", error.message),
        );
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error ? reject(error) : resolve()));
        server.closeAllConnections();
      }),
  };
}

/**
 * Models of the Hugging Face Hub, `hf:owner/name[@revision]`, in the cache that Python's `huggingface_hub` shares:
 *
 *     HF_HOME/hub/models--owner--name/refs/main                      the commit of a revision
 *                                     snapshots/COMMIT/config.json   a link to
 *                                     blobs/HASH                     sha256 of files in LFS, git's sha1 of others
 *
 * A file is downloaded when it is asked for. What was begun is continued, and what is not as long as the Hub says or has another hash is not kept.
 * Without a connection the cache alone is read. HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN mean what they mean there.
 */
import { FormatError, UsageError } from "../errors.js";
import { nodeModule, nodePackage, nodeProcess } from "../platform/node.js";
import { installLine, isMissing } from "../platform/optional-packages.js";
import { type ByteSource, MissingFileError } from "./byte-source.js";
import { openFile } from "./files.js";

export interface HubModel {
  /** "owner/name" */
  readonly repo: string;
  /** A branch, a tag or a commit. Default "main". */
  readonly revision: string;
  /** The file or folder within the model that is meant, "" for the model itself. */
  readonly path: string;
}

/** The parts of `hf:owner/name[@revision][/path]`, or undefined for another text. */
export function parseHubAddress(address: string): HubModel | undefined {
  const found = /^hf:([\w-][\w.-]*\/[\w-][\w.-]*)(?:@(refs\/[\w.-]+\/[\w.-]+|[\w.-]+))?(?:\/(.*?))?\/*$/i.exec(address);
  if (found === null) return undefined;
  const [, repo = "", revision = "main", path = ""] = found;
  if ([...repo.split("/"), ...revision.split("/"), ...path.split("/")].some((part) => part === "..")) return undefined;
  return { repo, revision, path };
}

const endpoint = (): string => (nodeProcess().env["HF_ENDPOINT"] ?? "https://huggingface.co").replace(/\/+$/, "");

/** Where pages find the files of a model. */
export const hubAddress = ({ repo, revision, path }: HubModel): string =>
  `https://huggingface.co/${repo}/resolve/${encodeURIComponent(revision)}${path === "" ? "" : `/${path}`}`;

/** What is used of the package. */
interface Hub {
  modelInfo(options: HubOptions & { name: string; additionalFields: string[] }): Promise<{ sha?: string; filePaths?: string[] }>;
  pathsInfo(options: HubOptions & { repo: string; paths: string[] }): Promise<PathInfo[]>;
  downloadFile(options: HubOptions & { repo: string; path: string }): Promise<Blob | null>;
}

interface HubOptions {
  readonly revision: string;
  readonly hubUrl: string;
  readonly accessToken?: string;
}

interface PathInfo {
  readonly type: string;
  readonly size: number;
  readonly oid?: string;
  readonly lfs?: { readonly oid: string; readonly size: number };
}

/** The names of a model's files, and the commit that they are of. */
interface Listing {
  readonly commit: string;
  /** undefined where the cache alone answers. */
  readonly names: readonly string[] | undefined;
}

/** The files of a model at one commit. */
export class HubFiles {
  private listing: Promise<Listing> | undefined;

  constructor(readonly model: HubModel) {}

  get name(): string {
    const { repo, revision } = this.model;
    return `hf:${repo}${revision === "main" ? "" : `@${revision}`}`;
  }

  label(file: string): string {
    return `${this.name}/${file}`;
  }

  /** Names of the files in the model, those that are in the cache where there is no connection. */
  async names(): Promise<readonly string[]> {
    const { commit, names } = await this.resolved();
    if (names !== undefined) return names;
    const { readdir } = await nodeModule("fs/promises");
    return readdir(`${await this.folder()}/snapshots/${commit}`).catch(() => []);
  }

  /** Throws MissingFileError for a file that the model does not have, FormatError where it cannot be had. */
  async open(file: string): Promise<ByteSource> {
    const { commit, names } = await this.resolved();
    const pointer = `${await this.folder()}/snapshots/${commit}/${file}`;
    const { stat } = await nodeModule("fs/promises");
    if (await stat(pointer).catch(() => undefined)) return openFile(pointer);
    if (names === undefined)
      throw new MissingFileError(this.label(file), undefined, connectOnce, `, and the Hub cannot be reached at ${endpoint()}`);
    if (!names.includes(file)) throw new MissingFileError(this.label(file), undefined, "the model has no such file");
    await this.download(file, commit, pointer);
    return openFile(pointer);
  }

  private resolved(): Promise<Listing> {
    this.listing ??= this.resolve();
    return this.listing;
  }

  private async resolve(): Promise<Listing> {
    const { revision, repo } = this.model;
    const { mkdir, readFile, stat, writeFile } = await nodeModule("fs/promises");
    const { dirname } = await nodeModule("path");
    const folder = await this.folder();
    const ref = `${folder}/refs/${revision}`;
    const known = isCommit(revision) ? revision : (await readFile(ref, "utf8").catch(() => "")).trim();
    const cached = isCommit(known) && (await stat(`${folder}/snapshots/${known}`).catch(() => undefined)) !== undefined;
    const isOffline = /^(1|true|yes|on)$/i.test(nodeProcess().env["HF_HUB_OFFLINE"] ?? "");
    if (isOffline && cached) return { commit: known, names: undefined };
    if (isOffline) throw this.offline("config.json");
    try {
      const { modelInfo } = await hubPackage();
      const { sha, filePaths } = await modelInfo({ name: repo, additionalFields: ["sha", "filePaths"], ...this.options(revision) });
      if (typeof sha !== "string" || !isCommit(sha) || !Array.isArray(filePaths)) throw this.odd("the list of files");
      if (sha !== revision) {
        await mkdir(dirname(ref), { recursive: true });
        await writeFile(ref, sha);
      }
      return { commit: sha, names: filePaths.filter((name) => typeof name === "string") };
    } catch (error) {
      if (!isUnreachable(error)) throw this.refused(error);
      if (cached) return { commit: known, names: undefined };
      throw this.offline("config.json", error);
    }
  }

  /** Puts a file into the cache, and a link to it where the snapshot has it. */
  private async download(file: string, commit: string, pointer: string): Promise<void> {
    const [{ mkdir, rename, rm, stat, symlink, copyFile }, { dirname, join, relative }] = await Promise.all([
      nodeModule("fs/promises"),
      nodeModule("path"),
    ]);
    try {
      const hub = await hubPackage();
      const [info] = await hub.pathsInfo({ repo: this.model.repo, paths: [file], ...this.options(commit) });
      const hash = info?.lfs?.oid ?? info?.oid;
      const size = info?.lfs?.size ?? info?.size;
      if (!Number.isSafeInteger(size) || (size as number) < 0 || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash ?? "")) {
        throw this.odd(`size and hash of ${file}`);
      }
      const blob = join(await this.folder(), "blobs", hash as string);
      await mkdir(dirname(blob), { recursive: true });
      await mkdir(dirname(pointer), { recursive: true });
      if (!(await stat(blob).catch(() => undefined))) {
        const incomplete = `${blob}.incomplete`;
        const body = await hub.downloadFile({ repo: this.model.repo, path: file, ...this.options(commit) });
        if (body === null) throw new MissingFileError(this.label(file), undefined, "the model has no such file");
        await this.receive(body, incomplete, { file, size: size as number, hash: hash as string });
        await rename(incomplete, blob);
      }
      await rm(pointer, { force: true });
      // Where the system makes no links, as Windows without permission, there are two copies.
      await symlink(relative(dirname(pointer), blob), pointer).catch(() => copyFile(blob, pointer));
    } catch (error) {
      throw isUnreachable(error) ? this.offline(file, error) : this.refused(error);
    }
  }

  /** Writes a body behind what an earlier download left, and holds size and hash of all of it against the Hub's. */
  private async receive(
    body: Blob,
    path: string,
    expected: { readonly file: string; readonly size: number; readonly hash: string },
  ): Promise<void> {
    const { file, size, hash } = expected;
    const [{ open, rm }, { createHash }] = await Promise.all([nodeModule("fs/promises"), nodeModule("crypto")]);
    const digest = createHash(hash.length === 64 ? "sha256" : "sha1");
    if (hash.length === 40) digest.update(`blob ${size}\0`);
    const handle = await open(path, "a+");
    let had = 0;
    try {
      const chunk = new Uint8Array(CHUNK_BYTES);
      for (let read = 1; read > 0; had += read) {
        read = (await handle.read(chunk, 0, chunk.length, had)).bytesRead;
        digest.update(chunk.subarray(0, read));
      }
      if (had < size) {
        const reader = body.slice(had, size).stream().getReader();
        for (let next = await reader.read(); !next.done && had <= size; next = await reader.read()) {
          await handle.appendFile(next.value);
          digest.update(next.value);
          had += next.value.length;
        }
        if (had > size) await reader.cancel();
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    const found = digest.digest("hex");
    if (had === size && found === hash) return;
    // What is only short is continued next time.
    if (had >= size) await rm(path, { force: true });
    throw new FormatError(
      had === size ? `expected a file with the hash ${hash}, found ${found}` : `expected a file of ${size} bytes, found ${had}`,
      { file: this.label(file), hint: "the download was damaged or cut short; try again" },
    );
  }

  private async folder(): Promise<string> {
    const { homedir } = await nodeModule("os");
    const { join } = await nodeModule("path");
    const { env } = nodeProcess();
    const home = env["HF_HOME"] ?? join(env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "huggingface");
    const cache = env["HF_HUB_CACHE"] ?? env["HUGGINGFACE_HUB_CACHE"] ?? join(home, "hub");
    return join(cache, `models--${this.model.repo.replace("/", "--")}`);
  }

  private options(revision: string): HubOptions {
    const token = nodeProcess().env["HF_TOKEN"];
    return { revision, hubUrl: endpoint(), ...(token === undefined || token === "" ? {} : { accessToken: token }) };
  }

  private offline(file: string, cause?: unknown): FormatError {
    return new FormatError(`the Hub cannot be reached at ${endpoint()}, and the file is not in the cache`, {
      file: this.label(file),
      hint: connectOnce,
      cause,
    });
  }

  private odd(what: string): FormatError {
    return new FormatError(`the Hub's answer does not tell ${what}`, {
      file: this.name,
      hint: `check HF_ENDPOINT, which is ${endpoint()}`,
    });
  }

  private refused(error: unknown): unknown {
    const status = error instanceof Error && "statusCode" in error ? error.statusCode : undefined;
    if (status === undefined) return error;
    const hidden = status === 401 || status === 403 || status === 404;
    return new FormatError(`the Hub answers ${status}${hidden ? ": there is no such model or revision, or it is not public" : ""}`, {
      file: this.name,
      hint: hidden ? "check the name; for a model that needs permission set HF_TOKEN to a token of yours" : "try again later",
      cause: error,
    });
  }
}

const CHUNK_BYTES = 4 * 2 ** 20;

const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);
const connectOnce =
  "connect once to download it, copy the cache (HF_HOME) of a machine that has it, or name a folder with the model's files";

/** What fetch throws where nobody answers, or the line breaks. */
const isUnreachable = (error: unknown): boolean =>
  error instanceof Error && !(error instanceof FormatError) && /fetch failed|terminated|network|socket/i.test(error.message);

async function hubPackage(): Promise<Hub> {
  try {
    return await nodePackage<Hub>("@huggingface/hub");
  } catch (error) {
    if (!isMissing(error, "@huggingface/hub")) throw error;
    throw new UsageError("the package @huggingface/hub, which downloads models of the Hugging Face Hub, is not installed", {
      hint: installLine("@huggingface/hub"),
      cause: error,
    });
  }
}

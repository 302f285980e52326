import { OptionError } from "../errors.js";
import { nodeModule } from "../platform/node.js";

/**
 * Makes a folder and those above it that are missing, and returns the ones that it made, the outermost first.
 *
 * One by one, because Node's own recursive mkdir never returns where the system answers for a new name as if its parent were missing, as
 * Linux does in /proc.
 *
 * @throws OptionError naming what is in the way: a file, a link to nowhere, permissions, a file system that takes no folders
 */
export async function makeFolder(path: string): Promise<string[]> {
  const [{ lstat, mkdir, stat }, { dirname }] = await Promise.all([nodeModule("fs/promises"), nodeModule("path")]);
  const fail = (reason: string, cause?: unknown): OptionError =>
    new OptionError(`the folder ${path} cannot be made: ${reason}`, { hint: "choose another folder", cause });

  const missing: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    const found = await stat(at).catch((error: NodeJS.ErrnoException) => error);
    if (!(found instanceof Error)) {
      if (found.isDirectory()) break;
      throw fail(`${at} is a file`);
    }
    if (found.code !== "ENOENT" && found.code !== "ENOTDIR") throw fail(reasonOf(found), found);
    const link = await lstat(at).catch(() => undefined);
    if (link?.isSymbolicLink()) throw fail(`${at} is a link to something that does not exist`, found);
    missing.unshift(at);
    if (dirname(at) === at) throw fail(reasonOf(found), found);
  }

  const made: string[] = [];
  for (const at of missing) {
    const error = await mkdir(at).then(
      () => undefined,
      (reason: NodeJS.ErrnoException) => reason,
    );
    if (error === undefined) made.push(at);
    // Another process may have made it meanwhile.
    else if (!(await stat(at).catch(() => undefined))?.isDirectory()) throw fail(reasonOf(error, at), error);
  }
  return made;
}

function reasonOf(error: NodeJS.ErrnoException, at?: string): string {
  switch (error.code) {
    case "EACCES":
    case "EPERM":
      return "no permission";
    case "EROFS":
      return "the disk is read-only";
    case "ENOSPC":
    case "EDQUOT":
      return "the disk is full";
    case "ENAMETOOLONG":
      return "the name is too long";
    case "ELOOP":
      return "its links go round in a circle";
    case "ENOENT":
      return at === undefined ? "no such path" : `the system takes no folder at ${at}`;
    default:
      return error.message;
  }
}

import { basename, relative } from "node:path";

/**
 * The words by which this command was called, up to its own arguments, as they can be typed again: `dawngrad`, `npx dawngrad`,
 * `node dist/cli/main.js`, or `npm run demo --`, whose script has typed the first argument itself.
 *
 * @param script `process.argv[1]`
 * @param argv the arguments after it
 */
export function invocationOf(
  script: string,
  argv: readonly string[],
  environment: { readonly env: Readonly<Record<string, string | undefined>>; readonly cwd: string },
): { readonly words: readonly string[]; readonly argv: readonly string[] } {
  const { env, cwd } = environment;
  const task = env["npm_lifecycle_event"];
  if (task !== undefined && task === argv[0] && env["npm_command"] !== "exec") {
    const rest = argv.slice(1);
    return { words: ["npm", "run", task, ...(rest.length === 0 ? [] : ["--"])], argv: rest };
  }
  if (env["npm_command"] === "exec" || /node_modules[\\/]\.bin[\\/]/.test(script)) return { words: ["npx", "dawngrad"], argv };
  if (!/\.[cm]?js$/.test(basename(script))) return { words: ["dawngrad"], argv };
  const path = relative(cwd, script);
  return { words: ["node", path.startsWith("..") ? script : path], argv };
}

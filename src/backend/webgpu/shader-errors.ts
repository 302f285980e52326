import { DeviceError } from "../../errors.js";

const CONTEXT = 3;

/** Lines `line − 3 … line + 3` (counted from 1) with their numbers, the line itself marked. */
export function excerpt(wgsl: string, line: number, column: number): string {
  const lines = wgsl.split("\n");
  const width = String(Math.min(lines.length, line + CONTEXT)).length;
  const out: string[] = [];
  for (let i = Math.max(1, line - CONTEXT); i <= Math.min(lines.length, line + CONTEXT); i++) {
    out.push(`${i === line ? ">" : " "} ${String(i).padStart(width)} | ${lines[i - 1] ?? ""}`);
    if (i === line && column > 0) out.push(`  ${" ".repeat(width)} | ${" ".repeat(column - 1)}^`);
  }
  return out.join("\n");
}

/** The error of a shader or pipeline that was refused: the compiler's message with its place, or else the pipeline's. */
export async function shaderError(label: string, wgsl: string, module: GPUShaderModule, fallback: string): Promise<DeviceError> {
  const messages = await module.getCompilationInfo().then(
    (info) => [...info.messages],
    () => [],
  );
  const first = messages.find(({ type }) => type === "error");
  const hint = "this is a defect of dawngrad's code generation or of the driver";
  if (!first) return new DeviceError(`the pipeline "${label}" was refused: ${fallback}`, { hint });
  const place = `line ${first.lineNum}, column ${first.linePos}`;
  return new DeviceError(
    `the kernel "${label}" does not compile at ${place}: ${first.message}\n${excerpt(wgsl, first.lineNum, first.linePos)}`,
    {
      hint,
    },
  );
}

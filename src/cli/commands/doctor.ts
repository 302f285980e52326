import { type Action, addCommon, type Command, type CommonOptions } from "../options.js";

export type DoctorOptions = CommonOptions;

/** Adds `dawngrad doctor`. */
export function registerDoctor(program: Command, execute: Action<DoctorOptions>): void {
  const command = program
    .command("doctor")
    .summary("what this machine can compute on, what was chosen and why")
    .description(
      "Lists the backends and GPU adapters of this machine, what they can do, which one dawngrad chooses and why, and how to get a better one.",
    )
    .addHelpText(
      "after",
      `
Examples:
  dawngrad doctor                       what is here, and what is used
  dawngrad doctor --adapter software    what would be chosen with this request
  dawngrad doctor --json > doctor.json  the same for a bug report`,
    );
  addCommon(command);
  command.action(() => execute(command.opts<DoctorOptions>()));
}

/** Methods that read beyond the trained window without training, as tables. */
export { logNTables } from "./log-n.js";
export type { MethodOptions, MethodSchedule } from "./reading.js";
export * from "./rerope.js";
export * from "./self-extend.js";
export * from "./streaming.js";

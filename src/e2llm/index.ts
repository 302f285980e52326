/** RoPE scaling, E²-LLM, tasks, and evaluation at many context lengths. */
export { type RandomStream, randomStream } from "../ir/random-stream.js";
export * from "./comparison.js";
export * from "./coverage.js";
export * from "./evaluation.js";
export * from "./extension.js";
export * from "./hf-rope.js";
export * from "./long-generation.js";
export * from "./model-frequencies.js";
export * from "./position-loss.js";
export * from "./positions/index.js";
export * from "./reading.js";
export * from "./schedules.js";
export * from "./score-bounds.js";
export * from "./statistics.js";
export * from "./tables.js";
export * from "./target-evaluation.js";
export * from "./tasks/index.js";

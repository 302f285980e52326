// Where node-llama-cpp is: in bench/peers/node_modules, or in the node_modules of the folder that the environment variable LLAMA names.
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = process.env.LLAMA ?? fileURLToPath(new URL("..", import.meta.url));
export const packageFolder = join(folder, "node_modules/node-llama-cpp");

// Writes docs/figures/explain.svg, the picture of docs/seeing-inside.md: node scripts/explain-figure.mjs (after npm run build).
import { writeFileSync } from "node:fs";
import { explain, grad, init, softmax, zeros } from "../dist/index.js";

const backend = await init({ backend: "wasm", threads: 1 });
const loss = ({ w, x }) => softmax(x.matmul(w)).log().mean().neg();
const svg = explain.object(grad(loss), { w: zeros([4, 3]), x: zeros([8, 4]) }).toSvg();
// Places in programs are those of whoever runs this.
writeFileSync("docs/figures/explain.svg", svg.replace(/[^\s<>"]*\/([\w.-]+:\d+:\d+)/g, "$1"));
await backend.close();

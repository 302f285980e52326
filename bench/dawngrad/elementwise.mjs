// How close dawngrad's memory-bound kernels come to a memcpy that moves as many bytes on as many threads. The bytes are those
// that an ideal fused kernel would read and write; a copy of n bytes moves 2n. Kernel and copy take turns, so that whatever
// else the machine does disturbs both.
import { setTimeout } from "node:timers/promises";
import { adamw, compile, key, mul, randn, realize, rmsNorm, rope, silu, softmax, sync } from "dawngrad";
import { once, report } from "../shared/case.mjs";
import { start, versions } from "./backend.mjs";
import { startMemcpy } from "./memcpy.mjs";

const { backend, threads, seconds, mebibytes } = await start({ mebibytes: { type: "string", default: "16" } });
const tensorBytes = Number(mebibytes) * 2 ** 20;
const rows = tensorBytes / 4096; // of 1024 numbers
if (!(Number.isInteger(rows) && rows >= 64)) throw new Error(`--mebibytes ${mebibytes}: one quarter of a MiB is the least, and the step`);

/** A tensor of `tensorBytes` bytes. */
const big = (seed, ...shape) => randn(key(seed), shape.length === 0 ? [rows, 1024] : shape);

const optimizer = adamw();
const update = compile((params, grads, state, lr) => optimizer.update(params, grads, state, { lr }), { donate: [0, 2] });
let params = big(1);
const grads = big(2);
let state = optimizer.init(params);

/** Name, tensors moved, function of its operands. */
const kernels = [
  ["softmax", 2, (x) => softmax(x), big(1)],
  ["rmsNorm", 2, (x, weight) => rmsNorm(x, weight), big(1), randn(key(2), [1024])],
  ["SwiGLU", 3, (a, b) => mul(silu(a), b), big(1), big(2)],
  ["rope", 2, rope, big(1, rows / 64, 4, 512, 32), randn(key(2), [1, 512, 16]), randn(key(3), [1, 512, 16])],
].map(([name, moved, f, ...operands]) => {
  const compiled = compile(f);
  const run = async () => {
    const result = compiled(...operands);
    await sync();
    result.dispose();
  };
  return { name, moved, run, operands };
});
const adamwStep = async () => {
  [params, state] = update(params, grads, state, 1e-3);
  await sync();
};
kernels.push({ name: "AdamW", moved: 7, run: adamwStep, operands: [params, grads, state] });

const most = Math.max(...kernels.map(({ moved }) => moved));
const memcpy = await startMemcpy({ threads, capacity: (most * tensorBytes) / 2 });
const [cases, copies, bytes] = [{}, {}, {}];
for (const { name, moved, run, operands } of kernels) {
  await realize(operands);
  const copy = () => memcpy.copy((moved * tensorBytes) / 2);
  await run();
  await run();
  copy();
  [cases[name], copies[name], bytes[name]] = [[], [], moved * tensorBytes];
  const end = performance.now() + seconds * 1e3;
  while (cases[name].length < 3 || performance.now() < end) {
    cases[name].push(await once(run));
    await setTimeout(1); // dawngrad's threads look for more work a moment longer before they sleep
    copies[name].push(await once(copy));
  }
}
await memcpy.close();
await backend.close();
report({ versions, adapter: backend.info.adapter, threads, cases, copies, bytes });

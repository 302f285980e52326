// Two spirals, told apart by a network of two hidden layers with each of several optimizers; some seconds on two cores.
// npm run build && node examples/two-spirals.mjs
import {
  adamw,
  createTrainStep,
  crossEntropy,
  gelu,
  init,
  key,
  Linear,
  lion,
  muon,
  sequential,
  sgd,
  split,
  tensor,
  warmupCosine,
} from "dawngrad";

const steps = Number(process.argv[2] ?? 500);
await init();

// 100 points on each arm, one and three quarters of a turn.
const arm = (sign) =>
  Array.from({ length: 100 }, (_, i) => {
    const [radius, angle] = [0.1 + 0.9 * (i / 99), 3.5 * Math.PI * (i / 99)];
    return [sign * radius * Math.cos(angle), sign * radius * Math.sin(angle)];
  });
const batch = { points: tensor([...arm(1), ...arm(-1)]), classes: tensor(Int32Array.from({ length: 200 }, (_, i) => Number(i >= 100))) };

const network = () => {
  const [a, b, c] = split(key(0), 3);
  return sequential(Linear.create(a, 2, 32), gelu, Linear.create(b, 32, 32), gelu, Linear.create(c, 32, 2));
};
const loss = (model, { points, classes }) => crossEntropy(model.forward(points), classes);

// Each optimizer with a peak that suits it.
const optimizers = {
  sgd: [sgd({ momentum: 0.9, nesterov: true }), 1],
  adamw: [adamw({ weightDecay: 0 }), 0.02],
  lion: [lion(), 0.01],
  muon: [muon({ adamw: { weightDecay: 0 } }), 0.05],
};
for (const [name, [optimizer, peak]] of Object.entries(optimizers)) {
  const step = createTrainStep({ optimizer, loss });
  const rate = warmupCosine({ warmup: Math.ceil(steps / 10), total: steps, peak });
  let [model, state, metrics] = [network(), undefined, undefined];
  state = optimizer.init(model);
  for (let i = 0; i < steps; i++) [model, state, metrics] = step(model, state, batch, rate(i));
  const right = model.forward(batch.points).argmax(-1).equal(batch.classes).cast("f32").mean();
  console.log(`${name.padEnd(6)} loss ${(await metrics.loss.item()).toFixed(4)}, ${(100 * (await right.item())).toFixed(1)} % right`);
}

"""Writes test/golden/optimizers/: ten steps of each optimizer, and rates of schedules, as PyTorch and transformers compute them in f64.

    python3 -m pip install torch transformers
    python3 test/golden/make_optimizers.py test/golden/optimizers && npx biome check --write test/golden/optimizers

optimizers.json: parameters after the first and the last step on a network of two layers, with a rate that changes.
schedules.json: the rates of the first steps.

PyTorch has no Lion, and its Muon rounds to bf16: both are written out here from their papers. Muon is held against PyTorch's, loosely.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from torch.optim import lr_scheduler

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
versions = {"torch": torch.__version__, "transformers": transformers.__version__}
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def dyadic(*shape):
    return torch.randint(-64, 65, shape).double() / 64


start = {"w1": dyadic(6, 3), "b1": dyadic(6), "w2": dyadic(2, 6), "b2": dyadic(2)}
x, y = dyadic(5, 3), dyadic(5, 2)
rates = [0.05 / (1 + step) for step in range(10)]


def numbers(tensor):
    return [float(f"{value:.15g}") for value in tensor.detach().flatten().tolist()]


def write(name, content):
    (folder / name).write_text(json.dumps({"versions": versions, **content}, separators=(",", ":")) + "\n")


def loss(params):
    hidden = torch.tanh(x @ params["w1"].T + params["b1"])
    return ((hidden @ params["w2"].T + params["b2"] - y) ** 2).mean()


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                update = torch.sign(first * m + (1 - first) * p.grad)
                p -= group["lr"] * (update + group["weight_decay"] * p)
                m.mul_(second).add_(p.grad, alpha=1 - second)


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr=0.02, momentum=0.95, nesterov=True, weight_decay=0.0, adjust="original"):
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay, "adjust": adjust})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            mu = group["momentum"]
            for p in group["params"]:
                buffer = self.state[p].setdefault("buffer", torch.zeros_like(p))
                buffer.mul_(mu).add_(p.grad, alpha=1 - mu)
                g = (1 - mu) * p.grad + mu * buffer if group["nesterov"] else buffer
                flat = g.reshape(len(g), -1)
                u, s, vh = torch.linalg.svd(flat / (flat.norm() + 1e-7), full_matrices=False)
                for _ in range(5):  # the quintic acts on singular values alone
                    s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
                rows, columns = flat.shape
                factor = max(1, rows / columns) ** 0.5 if group["adjust"] == "original" else 0.2 * max(rows, columns) ** 0.5
                p -= group["lr"] * (factor * (u * s @ vh).reshape(p.shape) + group["weight_decay"] * p)


def run(make):
    params = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizers = make(params)
    found = []
    for rate in rates:
        for optimizer, factor in optimizers:
            optimizer.zero_grad()
        loss(params).backward()
        for optimizer, factor in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
        found.append({name: numbers(value) for name, value in params.items()})
    return {"first": found[0], "last": found[-1]}


def of(cls, **options):
    return lambda params: [(cls(list(params.values()), **options), 1)]


def muon(adamw_rate, adamw, cls=Muon, **options):
    def make(params):
        matrices = [params["w1"], params["w2"]]
        rest = [params["b1"], params["b2"]]
        return [(cls(matrices, **options), 1), (torch.optim.AdamW(rest, **adamw), adamw_rate)]

    return make


optim = torch.optim
cases = [
    ("sgd", {}, of(optim.SGD)),
    ("sgd", {"momentum": 0.9, "weightDecay": 0.1}, of(optim.SGD, momentum=0.9, weight_decay=0.1)),
    ("sgd", {"momentum": 0.8, "nesterov": True, "weightDecay": 0.1}, of(optim.SGD, momentum=0.8, nesterov=True, weight_decay=0.1)),
    ("adagrad", {"weightDecay": 0.1}, of(optim.Adagrad, weight_decay=0.1)),
    ("rmsprop", {"alpha": 0.9}, of(optim.RMSprop, alpha=0.9)),
    ("rmsprop", {"momentum": 0.5, "weightDecay": 0.1, "eps": 1e-4}, of(optim.RMSprop, momentum=0.5, weight_decay=0.1, eps=1e-4)),
    ("adam", {}, of(optim.Adam)),
    ("adam", {"betas": [0.8, 0.9], "eps": 1e-3, "weightDecay": 0.1}, of(optim.Adam, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1)),
    ("adamw", {"betas": [0.9, 0.95], "weightDecay": 0.1}, of(optim.AdamW, betas=(0.9, 0.95), weight_decay=0.1)),
    ("lion", {"weightDecay": 0.1}, of(Lion, weight_decay=0.1)),
    ("adafactor", {"weightDecay": 0}, of(optim.Adafactor, eps=(2**-23, 1e-3))),
    (
        "adafactor",
        {"beta2Decay": -0.5, "eps1": 1e-3, "eps2": 0.5, "clipThreshold": 1.05, "weightDecay": 0.1},
        of(optim.Adafactor, beta2_decay=-0.5, eps=(1e-3, 0.5), d=1.05, weight_decay=0.1),
    ),
    ("muon", {"adamw": {"weightDecay": 0}}, muon(1, {"betas": (0.9, 0.95), "weight_decay": 0})),
    (
        "muon",
        {"momentum": 0.9, "nesterov": False, "weightDecay": 0.1, "adjust": "matchRmsAdamw", "adamwRate": 0.5, "adamw": {"weightDecay": 0}},
        muon(0.5, {"betas": (0.9, 0.95), "weight_decay": 0}, momentum=0.9, nesterov=False, weight_decay=0.1, adjust="match_rms"),
    ),
]

theirs = run(muon(1, {"betas": (0.9, 0.95), "weight_decay": 0}, cls=optim.Muon, weight_decay=0.0))
ours = run(cases[-2][2])
apart = max(abs(a - b) for name in start for a, b in zip(theirs["last"][name], ours["last"][name]))
assert apart < 5e-3, f"PyTorch's Muon differs by {apart}"

write(
    "optimizers.json",
    {
        "x": numbers(x),
        "y": numbers(y),
        "rates": rates,
        "start": {name: {"shape": list(value.shape), "values": numbers(value)} for name, value in start.items()},
        "cases": [{"optimizer": name, "options": options, **run(make)} for name, options, make in cases],
    },
)


def rates_of(make, peak=0.5, steps=20):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak, momentum=0.9)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(float(f"{optimizer.param_groups[0]['lr']:.15g}"))
        optimizer.step()
        scheduler.step()
    return found


write(
    "schedules.json",
    {
        "stepDecay": rates_of(lambda o: lr_scheduler.StepLR(o, step_size=4, gamma=0.5)),
        "exponentialDecay": rates_of(lambda o: lr_scheduler.ExponentialLR(o, gamma=0.9)),
        "polynomialDecay": rates_of(lambda o: lr_scheduler.PolynomialLR(o, total_iters=20, power=2)),
        "oneCycle": rates_of(lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=20, pct_start=0.3)),
        "oneCycleLinear": rates_of(
            lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=24, pct_start=0.25, anneal_strategy="linear", div_factor=10, final_div_factor=100)
        ),
        "cosine": rates_of(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=24, eta_min=0.05)),
        "linearWarmup": rates_of(lambda o: transformers.get_linear_schedule_with_warmup(o, 5, 20)),
        "wsd": rates_of(lambda o: transformers.get_wsd_schedule(o, num_warmup_steps=5, num_stable_steps=8, num_decay_steps=10, min_lr_ratio=0.1)),
        "inverseSquareRoot": rates_of(lambda o: transformers.get_inverse_sqrt_schedule(o, 5)),
    },
)

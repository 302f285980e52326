"""Writes test/golden/operations/corners.json: what PyTorch makes of zeros, infinities, bounds and equal elements, in double precision.

    python3 -m pip install torch
    python3 test/golden/make_corners.py test/golden/operations

Functions of one number are asked at `points`, those of two at all pairs of `pairs`, and functions of rows (reductions along the last axis
and what belongs to rows) at each of `rows`. For y = f(x, …) the file holds y, the gradients of Σ y and those of the sum of these, as strings
where JSON has no number. corners.test.ts has the functions of dawngrad under the same names, and says where it differs.
"""

import json
import math
import sys
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F

folder = Path(sys.argv[1])
torch.set_default_dtype(torch.float64)

inf = math.inf
points = [-inf, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, inf]
pairs = [-inf, -2.0, -1.0, 0.0, 1.0, 2.0, inf]
rows = [
    [0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [0.0, 0.0, 2.0], [0.0, 1.0, 2.0], [5.0, 5.0, 5.0], [-2.0, 2.0, 2.0], [inf, 0.0, 1.0],
    [inf, inf, 0.0], [-inf, 0.0, 1.0], [-inf, -inf, -inf], [-inf, -inf, 0.0], [inf, -inf, 0.0],
]  # fmt: skip


def numbers(x):
    return [v if math.isfinite(v) else str(v) for v in (float(f"{v:.12g}") for v in (x.detach() + 0).reshape(-1).tolist())]


def case(name, f, arguments):
    inputs = [torch.tensor(a).requires_grad_() for a in arguments]
    y = f(*inputs)
    first = torch.autograd.grad(y.sum(), inputs, create_graph=True, allow_unused=True, materialize_grads=True)
    total = sum(g.sum() for g in first)
    zeros = [torch.zeros_like(x) for x in inputs]
    second = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True) if total.requires_grad else zeros
    return {"name": name, "values": numbers(y), "first": [numbers(g) for g in first], "second": [numbers(g) for g in second]}


one = {
    **{name: getattr(torch, name) for name in """exp log sin cos tanh erf sqrt abs sign floor sigmoid relu square rsqrt expm1 log1p exp2
        log2 log10 tan asin acos atan sinh cosh asinh acosh atanh ceil trunc round""".split()},
    "recip": torch.reciprocal, "silu": F.silu, "gelu": F.gelu, "softplus": F.softplus, "logSigmoid": F.logsigmoid, "mish": F.mish,
    "leakyRelu": F.leaky_relu, "elu": lambda x: F.elu(x, 2.0),
    **{f"power {p}": (lambda p: lambda x: x**p)(p) for p in [0, 1, 2, 3, -1, -2, 0.5, 2.5]},
    **{f"power of {b}": (lambda b: lambda x: torch.pow(b, x))(b) for b in [0, 1, 2]},
    "clip": lambda x: x.clamp(0, 1), "clip from below": lambda x: x.clamp(min=0), "clip from above": lambda x: x.clamp(max=1),
    "clip to one": lambda x: x.clamp(1, 1), "clip to less than nothing": lambda x: x.clamp(1, 0), "relu6": F.relu6, "hardtanh": F.hardtanh,
    "huber": lambda x: F.huber_loss(x, torch.zeros_like(x), reduction="none"),
    "smooth l1": lambda x: F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none", beta=2),
    "l1": lambda x: F.l1_loss(x, torch.zeros_like(x), reduction="none"),
    "binary cross-entropy": lambda x: F.binary_cross_entropy_with_logits(x, torch.zeros_like(x), reduction="none"),
}  # fmt: skip
two = {
    "div": torch.div, "pow": torch.pow, "maximum": torch.maximum, "minimum": torch.minimum, "mod": torch.remainder, "atan2": torch.atan2,
    "hypot": torch.hypot, "logAddExp": torch.logaddexp, "klDiv": lambda x, t: F.kl_div(x, t.abs(), reduction="none"),
    "clip to tensors": lambda x, b: x.clamp(b, b.abs()), "clip to equal tensors": lambda x, b: x.clamp(b, b),
    "clip to a tensor from below": lambda x, b: x.clamp(min=b),
    "clip to tensors that cross": lambda x, b: x.clamp(b.abs(), b),
}  # fmt: skip


def norm(order):
    return lambda x: torch.linalg.vector_norm(x, order, dim=-1)


weights = torch.tensor([1.0, 2.0, 3.0])
ones = torch.ones(len(rows), dtype=torch.long)
of_rows = {
    "sum": lambda x: x.sum(-1), "mean": lambda x: x.mean(-1), "prod": lambda x: x.prod(-1), "max": lambda x: x.amax(-1),
    "min": lambda x: x.amin(-1), "variance": lambda x: x.var(-1, correction=0), "variance, unbiased": lambda x: x.var(-1),
    "std": lambda x: x.std(-1, correction=0), "std, unbiased": lambda x: x.std(-1), "variance of one": lambda x: x[:, :1].var(-1, correction=0),
    "std of one": lambda x: x[:, :1].std(-1, correction=0), "logSumExp of one": lambda x: x[:, :1].logsumexp(-1),
    **{f"norm {p}": norm(p) for p in [2, 1, 3, 1.5, 0.5, inf, -inf, 0]}, "logSumExp": lambda x: x.logsumexp(-1),
    "softmax": lambda x: x.softmax(-1) * weights, "logSoftmax": lambda x: x.log_softmax(-1) * weights, "cumsum": lambda x: x.cumsum(-1),
    "cumprod": lambda x: x.cumprod(-1), "cummax": lambda x: x.cummax(-1).values, "cummin": lambda x: x.cummin(-1).values,
    "cumlogsumexp": lambda x: x.logcumsumexp(-1), "sort": lambda x: x.sort(-1).values * weights, "median": lambda x: x.quantile(0.5, -1),
    "crossEntropy": lambda x: F.cross_entropy(x, ones, reduction="none"), "nllLoss": lambda x: F.nll_loss(x, ones, reduction="none"),
    "crossEntropy, smoothed": lambda x: F.cross_entropy(x, ones, reduction="none", label_smoothing=0.3),
    "layerNorm": lambda x: F.layer_norm(x, [3], weights, eps=1e-5), "cosineSimilarity": lambda x: F.cosine_similarity(x, weights[None], -1),
    "cosineSimilarity to nothing": lambda x: F.cosine_similarity(x, torch.zeros(1, 3), -1),
}  # fmt: skip

grid = [list(side) for side in zip(*product(pairs, pairs))]
tables = [(one, [points]), (two, grid), (of_rows, [rows])]
groups = [[case(name, f, arguments) for name, f in table.items()] for table, arguments in tables]
strings = json.loads(json.dumps([points, pairs, rows]).replace("-Infinity", '"-inf"').replace("Infinity", '"inf"'))
keys = ["points", "pairs", "rows", "one", "two", "ofRows"]
text = json.dumps({"torch": torch.__version__, **dict(zip(keys, [*strings, *groups]))}, separators=(",", ":"), allow_nan=False)
(folder / "corners.json").write_text(text.replace('{"name"', '\n{"name"').replace(".0,", ",").replace(".0]", "]") + "\n")

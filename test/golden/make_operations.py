"""Writes test/golden/operations/operations.json: values and derivatives of operations as PyTorch computes them in double precision.

    python3 -m pip install torch
    python3 test/golden/make_operations.py test/golden/operations

Each case is one line of a table: its name, the function in PyTorch, and its float arguments as `t(shape, low, high)`, numbers that follow a
formula, or `v(numbers)`, which are given. operations.test.ts has the same function of dawngrad under the same name. For y = f(x, …) and the
scalar s = Σ w·(y + ½y²) the file holds y, the gradients ∂s/∂x and the derivatives of Σ v·∂s/∂x by x: second derivatives in a direction. The
weights w and v follow the formula too.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.set_default_dtype(torch.float64)


def spread(shape, low, high, shift):
    """Multiples of (high − low)/64, no two of the first 64 equal."""
    count = torch.Size(shape).numel()
    numbers = [((29 * k + 17 * shift + 5) % 64) / 64 * (high - low) + low for k in range(count)]
    return torch.tensor(numbers, dtype=torch.float64).reshape(shape)


def t(shape, low=-1, high=1):
    return {"shape": list(shape), "low": low, "high": high}


def v(data, shape=None):
    return {"shape": list(shape or [len(data)]), "data": data}


def read(argument, position):
    if "data" in argument:
        return torch.tensor(argument["data"], dtype=torch.float64).reshape(argument["shape"])
    return spread(argument["shape"], argument["low"], argument["high"], position)


def rows(x):
    return [float(f"{value:.12g}") for value in x.detach().reshape(-1).tolist()]


def case(name, f, arguments):
    inputs = [read(argument, i).requires_grad_() for i, argument in enumerate(arguments)]
    y = f(*inputs)
    loss = (spread(y.shape, -1, 1, 7) * (y + y * y / 2)).sum()
    first = torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True, materialize_grads=True)
    along = sum((spread(g.shape, -1, 1, 9 + i) * g).sum() for i, g in enumerate(first))
    if along.requires_grad:
        second = torch.autograd.grad(along, inputs, allow_unused=True, materialize_grads=True)
    else:
        second = [torch.zeros_like(x) for x in inputs]
    return {
        "name": name,
        "arguments": arguments,
        "shape": list(y.shape),
        "values": rows(y),
        "first": [rows(g) for g in first],
        "second": [rows(g) for g in second],
    }


index = torch.tensor
matrix, cube = t([2, 3]), t([2, 3, 2])



def definite(x):
    return x @ x.mT + torch.eye(x.shape[-1])


def by_eigenvalues(a):
    values, vectors = torch.linalg.eigh(a)
    return vectors * values.tanh() @ vectors.mT


def by_singular_values(a):
    u, s, vt = torch.linalg.svd(a, full_matrices=False)
    return u * s.tanh() @ vt


def positive_qr(a):
    """With the signs of a diagonal of r that is positive."""
    q, r = torch.linalg.qr(a)
    signs = r.detach().diagonal().sign()
    return q * signs @ torch.ones(a.shape[1], 1) + (signs[:, None] * r).sum()


# Functions of each element: where they are asked for, and the function where the name is not PyTorch's.
unary = {
    "neg": [-1, 1], "exp": [-2, 2], "log": [0.25, 4], "sin": [-3, 3], "cos": [-3, 3], "tanh": [-2, 2], "erf": [-2, 2], "sqrt": [0.25, 4],
    "recip": [0.5, 4, torch.reciprocal], "abs": [-1, 1], "sign": [-1, 1], "floor": [-3, 3], "sigmoid": [-4, 4], "relu": [-1, 1],
    "silu": [-4, 4, F.silu], "gelu": [-3, 3, F.gelu], "square": [-1, 1], "rsqrt": [0.25, 4], "expm1": [-2, 2], "log1p": [-0.5, 2],
    "exp2": [-2, 2], "log2": [0.25, 4], "log10": [0.25, 4], "tan": [-1, 1], "asin": [-0.75, 0.75], "acos": [-0.75, 0.75], "atan": [-4, 4],
    "sinh": [-2, 2], "cosh": [-2, 2], "asinh": [-4, 4], "acosh": [1.25, 4], "atanh": [-0.75, 0.75], "softplus": [-4, 4, F.softplus],
    "logSigmoid": [-4, 4, F.logsigmoid], "mish": [-3, 3, F.mish], "ceil": [-3, 3], "trunc": [-3, 3], "round": [-3, 3],
    "leakyRelu": [-1, 1, F.leaky_relu], "elu": [-2, 2, F.elu],
}  # fmt: skip
binary = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum, "atan2": torch.atan2,
    "hypot": torch.hypot, "logAddExp": torch.logaddexp,
}  # fmt: skip
kinks = v([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0])

table = [
    *[(name, of[2] if len(of) > 2 else getattr(torch, name), [t([3], of[0], of[1])]) for name, of in unary.items()],
    *[(name, f, [t([2, 1], -2, 2), t([3], -2.25, 2)]) for name, f in binary.items()],
    ("add of a scalar", torch.add, [t([]), t([2, 2])]),
    ("mul of none", torch.mul, [t([2, 0]), t([1, 1])]),
    ("div", torch.div, [t([1, 3]), t([2, 1], 0.5, 2)]),
    ("pow", torch.pow, [t([2, 1], 0.5, 2), t([2], -2, 3)]),
    ("pow of a number", lambda x: x**3, [t([3])]),
    ("mod", torch.remainder, [t([2, 1], -3, 3), v([1.75, -1.25])]),
    ("where", lambda a, b: torch.where(index([[True], [False]]), a, b), [t([3]), t([1])]),
    # What is at the bounds themselves is in make_corners.py.
    ("clip", lambda x: x.clamp(-1, 1), [v([-2.0, -0.5, 0.25, 3.0])]),
    ("clip from below", lambda x: x.clamp(min=-0.5), [kinks]),
    ("clip from above", lambda x: x.clamp(max=0.5), [kinks]),
    ("relu where it bends", torch.relu, [kinks]),
    ("abs where it bends", torch.abs, [kinks]),
    ("sign where it jumps", torch.sign, [kinks]),
    ("maximum of equals", torch.maximum, [kinks, v([0.0] * 6)]),
    # Reductions.
    ("sum", lambda x: x.sum(-1), [cube]),
    ("sum of two axes", lambda x: x.sum((0, 2), keepdim=True), [cube]),
    ("sum of none", lambda x: x.sum(0), [t([0, 2])]),
    ("mean", lambda x: x.mean(-2), [cube]),
    ("mean of one", lambda x: x.mean(0), [t([1, 2])]),
    ("max", lambda x: x.amax((0, 1)), [cube]),
    ("min", lambda x: x.amin(-1, keepdim=True), [cube]),
    ("max of equals", lambda x: x.amax(1), [v([1.0, 2.0, 2.0, 0.0, 0.0, 0.0], [2, 3])]),
    ("variance", lambda x: x.var(-1, correction=1), [matrix]),
    ("std", lambda x: x.std((0, 1), correction=0), [matrix]),
    ("logSumExp", lambda x: torch.logsumexp(x, (0, -1)), [t([2, 2, 2], -8, 8)]),
    ("prod", lambda x: x.prod(-2), [cube]),
    ("prod with a zero", lambda x: x.prod(0), [v([2.0, 0.0, -3.0, 0.5, 1.5])]),
    ("prod with two zeros", lambda x: x.prod(0), [v([2.0, 0.0, -3.0, 0.0, 1.5])]),
    ("prod of none", lambda x: x.prod(1), [t([2, 0])]),
    ("norm", lambda x: torch.linalg.vector_norm(x, dim=(0, 1)), [cube]),
    ("norm of order 1", lambda x: torch.linalg.vector_norm(x, 1, dim=-1), [matrix]),
    ("norm of order 3", lambda x: torch.linalg.vector_norm(x, 3, dim=-1, keepdim=True), [matrix]),
    ("norm of order infinity", lambda x: torch.linalg.vector_norm(x, torch.inf, dim=1), [matrix]),
    ("largest of equal sizes", lambda x: torch.linalg.vector_norm(x, torch.inf), [v([2.0, -2.0, 1.0])]),
    ("cumsum", lambda x: x.cumsum(-2), [cube]),
    ("cumsum of many", lambda x: x.cumsum(0), [t([40])]),
    ("cumprod", lambda x: x.cumprod(1), [cube]),
    ("cumprod with zeros", lambda x: x.cumprod(0), [v([2.0, 0.0, -3.0, 0.0, 1.5])]),
    ("cummax", lambda x: x.cummax(-1).values, [t([2, 5])]),
    ("cummax of equals", lambda x: x.cummax(0).values, [v([1.0, 1.0, 0.0, 2.0, 2.0])]),
    ("cummin", lambda x: x.cummin(0).values, [t([5, 2])]),
    ("cumlogsumexp", lambda x: x.logcumsumexp(1), [t([2, 5], -4, 4)]),
    ("quantile", lambda x: x.quantile(torch.tensor([0.125, 0.5, 1.0]), 1), [t([2, 4])]),
    ("quantile of two axes", lambda x: x.permute(1, 0, 2).reshape(3, 4).quantile(0.3, 1), [cube]),
    ("median of an odd number", lambda x: x.median(0).values, [t([5, 2])]),
    ("sort", lambda x: x.sort(-2).values, [cube]),
    ("sort downwards", lambda x: x.sort(1, descending=True).values, [t([2, 5])]),
    ("sort of equals", lambda x: x.sort(stable=True).values, [v([2.0, 1.0, 2.0, 1.0, 0.0])]),
    ("topK", lambda x: x.topk(2, 0).values, [t([5, 2])]),
    ("softmax", lambda x: x.softmax(-2), [cube]),
    ("logSoftmax", lambda x: x.log_softmax(0), [t([3, 1], -4, 4)]),
    # Movement.
    ("reshape", lambda x: x.reshape(3, -1), [cube]),
    ("permute", lambda x: x.permute(2, 0, 1), [cube]),
    ("transpose", lambda x: x.transpose(0, -1), [cube]),
    ("expand", lambda x: x.expand(2, 2, 3), [t([2, 1])]),
    ("slice", lambda x: x[:, 1:, :1], [cube]),
    ("slice with steps", lambda x: x[1::2], [t([6])]),
    ("pad", lambda x: F.pad(x, (1, 0, 0, 2), value=0.5), [t([2, 2])]),
    ("pad by reflection", lambda x: F.pad(x[None], (2, 1), mode="reflect")[0], [t([2, 3])]),
    ("pad by repetition", lambda x: F.pad(x[None], (2, 1), mode="replicate")[0], [t([2, 3])]),
    ("pad around", lambda x: F.pad(x[None], (2, 1), mode="circular")[0], [t([2, 3])]),
    ("concat", lambda a, b: torch.cat([a, b], -1), [t([2, 1]), t([2, 2])]),
    ("stack", lambda a, b: torch.stack([a, b], 1), [t([2]), t([2])]),
    ("split", lambda x: torch.mul(*x.split([1, 2], 1)), [matrix]),
    ("flip", lambda x: x.flip((0, 2)), [cube]),
    ("squeeze", lambda x: x.squeeze(), [t([1, 2, 1])]),
    ("unsqueeze", lambda x: x.unsqueeze(-1), [t([2])]),
    ("ravel", lambda x: x.ravel(), [matrix]),
    ("flatten", lambda x: x.flatten(1), [cube]),
    ("moveaxis", lambda x: x.moveaxis(0, -1), [cube]),
    ("swapaxes", lambda x: x.swapaxes(0, 2), [cube]),
    ("roll", lambda x: x.roll((1, -1), (0, 1)), [matrix]),
    ("roll of all", lambda x: x.roll(2), [matrix]),
    ("tile", lambda x: x.tile(2, 1, 2), [t([2, 1])]),
    ("repeat", lambda x: x.repeat_interleave(2, -1), [matrix]),
    ("repeat by counts", lambda x: x.repeat_interleave(index([2, 0, 1]), 1), [matrix]),
    ("meshgrid", lambda a, b: torch.mul(*torch.meshgrid(a, b, indexing="ij")), [t([2]), t([3])]),
    ("diagonal", lambda x: x.diagonal(-1, 1, 2), [t([2, 3, 3])]),
    ("trace", lambda x: x.trace(), [t([3, 2])]),
    ("diagEmbed", lambda x: x.diag_embed(1), [t([2, 2])]),
    ("diag", lambda x: x.diag(-1), [t([2])]),
    ("triu", lambda x: x.triu(1), [t([3, 3])]),
    ("tril", lambda x: x.tril(), [t([2, 3, 2])]),
    # Indices.
    ("gather", lambda x: x[:, index([[1, 1], [0, 2]])], [matrix]),
    ("gather of none", lambda x: x[index([], dtype=torch.long)], [matrix]),
    ("takeAlongAxis", lambda x: x.take_along_dim(index([[2, 0, 2, 1], [0, 0, 1, 2]]), -1), [matrix]),
    ("scatterAdd", lambda x: torch.zeros(4, 2).index_add(0, index([3, 0, 3]), x), [t([3, 2])]),
    ("at", lambda x: x[-1, 1:], [cube]),
    ("at with steps and a new axis", lambda x: x[..., None, ::2], [t([2, 5])]),
    ("at by two lists", lambda x: x[index([1, 0, 1]), index([[2], [0]])], [matrix]),
    ("setAt", lambda x, y: x.index_put((index([0]), index([2])), y), [matrix, t([1])]),
    ("setAt of a range", lambda x, y: x.slice_scatter(y.expand(2, 2), 1, 1), [matrix, t([1, 2])]),
    ("putAlongAxis", lambda x, y: x.scatter(1, index([[2, 0], [1, 2]]), y), [matrix, t([2, 2])]),
    ("scatter", lambda x, y: x.index_copy(1, index([2, 0]), y), [matrix, t([2, 2])]),
    ("maskedFill", lambda x, y: x.masked_fill(index([True, False, True]), y), [matrix, t([])]),
    # Products.
    ("matmul", torch.matmul, [t([2, 1, 2, 3]), t([3, 3, 1])]),
    ("matmul of vectors", torch.matmul, [t([3]), t([3])]),
    ("matmul over none", torch.matmul, [t([2, 0]), t([0, 2])]),
    ("einsum", lambda a, b: torch.einsum("ijk,kl->li", a, b), [cube, t([2, 1])]),
    ("einsum of a diagonal", lambda a: torch.einsum("...ii->...i", a), [t([2, 3, 3])]),
    ("einsum of three", lambda a, b, c: torch.einsum("i...,ij,j->...", a, b, c), [t([2, 3]), t([2, 1]), t([1])]),
    ("outer", torch.outer, [t([2]), t([3])]),
    ("tensordot", lambda a, b: torch.tensordot(a, b, dims=([1, 0], [0, 1])), [t([2, 3, 1]), t([3, 2])]),
    ("inner", torch.inner, [matrix, t([2, 3])]),
    ("vdot", torch.vdot, [t([3]), t([3])]),
    ("kron", torch.kron, [t([2, 1]), t([1, 2])]),
    # Matrices.
    ("cholesky", lambda x: torch.linalg.cholesky(definite(x)), [t([2, 2, 2])]),
    ("triangularSolve", lambda x, b: torch.linalg.solve_triangular(definite(x), b, upper=False), [t([3, 3]), t([3, 2])]),
    ("solve", lambda x, b: torch.linalg.solve(definite(x), b), [t([3, 3]), t([3])]),
    ("inverse", lambda x: torch.linalg.inv(definite(x)), [t([2, 2])]),
    ("det", lambda x: torch.linalg.det(x), [t([2, 3, 3])]),
    ("slogdet", lambda x: torch.linalg.slogdet(definite(x)).logabsdet, [t([3, 3])]),
    ("qr", positive_qr, [t([3, 2])]),
    ("eigh", lambda x: by_eigenvalues(definite(x)), [t([3, 3])]),
    ("svd", by_singular_values, [t([3, 2])]),
    ("pinv", torch.linalg.pinv, [t([2, 3])]),
    ("expm", torch.linalg.matrix_exp, [t([2, 2])]),
    ("matrixPower", lambda x: torch.linalg.matrix_power(x, 3), [t([2, 2])]),
    # Networks.
    ("rmsNorm", lambda x, w: F.rms_norm(x, (4,), w, 1e-5), [t([2, 4]), t([4])]),
    ("layerNorm", lambda x, w, b: F.layer_norm(x, (4,), w, b, 1e-5), [t([2, 4]), t([4]), t([4])]),
    ("groupNorm", lambda x, w, b: F.group_norm(x, 2, w, b, 1e-3), [t([2, 4, 2]), t([4]), t([4])]),
    ("batchNorm", lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0, 1e-3), [t([3, 2, 2]), t([2]), t([2])]),
    ("embedding", lambda w: F.embedding(index([[1, 0], [1, 2]]), w), [t([3, 2])]),
    ("attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), [t([1, 2, 3, 2], -2, 2)] * 3),
    # Losses.
    ("mseLoss", F.mse_loss, [matrix, matrix]),
    ("l1Loss", lambda x, y: F.l1_loss(x, y, reduction="none"), [v([1.0, 2.0, 0.0]), v([1.0, 1.0, 1.0])]),
    ("huberLoss", lambda x, y: F.huber_loss(x, y, delta=0.5), [kinks, t([6], -1, 1)]),
    ("smoothL1Loss", lambda x, y: F.smooth_l1_loss(x, y, beta=0.7, reduction="sum"), [kinks, t([6], -1, 1)]),
    ("smoothL1Loss with beta 0", lambda x, y: F.smooth_l1_loss(x, y, beta=0, reduction="sum"), [kinks, t([6], -1, 1)]),
    (
        "binaryCrossEntropyWithLogits",
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=torch.tensor([1.0, 2.5, 0.5])),
        [t([2, 3], -4, 4), t([2, 3], 0, 1)],
    ),
    ("klDiv", lambda x, y: F.kl_div(x, y, reduction="sum"), [t([2, 3], -3, 0), t([2, 3], 0.125, 1)]),
    ("klDiv of logarithms", lambda x, y: F.kl_div(x, y, log_target=True), [t([2, 3], -3, 0), t([2, 3], -2, 0)]),
    ("nllLoss", lambda x: F.nll_loss(x, index([2, -100])), [t([2, 3], -3, 0)]),
    ("cosineSimilarity", lambda a, b: F.cosine_similarity(a, b, 1), [matrix, t([1, 3])]),
    ("crossEntropy", lambda x: F.cross_entropy(x, index([2, 0])), [t([2, 3], -3, 3)]),
    *[
        (
            f"crossEntropy smoothed and in part ignored, {reduction}",
            lambda x, reduction=reduction: F.cross_entropy(x, index([2, -100, 1]), label_smoothing=0.3, reduction=reduction),
            [t([3, 4], -3, 3)],
        )
        for reduction in ["none", "sum", "mean"]
    ],
]

# The other kernels of attention have no second derivatives.
with sdpa_kernel(SDPBackend.MATH):
    cases = [case(*line) for line in table]
names = [each["name"] for each in cases]
assert len(set(names)) == len(names), "two cases have one name"
text = json.dumps({"torch": torch.__version__, "cases": cases}, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
(folder / "operations.json").write_text(text.replace('{"name"', '\n{"name"') + "\n")

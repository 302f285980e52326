"""
Writes what PyTorch gives for convolutions and pooling, forward and backward, in double precision: arrays/convolutions.json.

    python make_convolutions.py

Operands hold numbers modulo 11, less 5, counted in row-major order with a stride, divided by 4. `gradients` are those of Σ y²/2 by every operand,
`curvature` is the gradient by x of Σ (∂/∂x)²/2 (of the second order).
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def numbers(shape, stride):
    count = 1
    for n in shape:
        count *= n
    return (((torch.arange(count) * stride) % 11 - 5) / 4).reshape(shape)


def rounded(t):
    return {"shape": list(t.shape), "data": [round(v, 9) for v in t.detach().flatten().tolist()]}


strides = [7, 3, 9]
convolutions = [
    ("conv1d", [2, 3, 7], [4, 3, 3], [4], {}),
    ("conv1d", [2, 4, 8], [6, 2, 3], None, {"stride": 2, "padding": 1, "groups": 2}),
    ("conv1d", [3, 9], [2, 3, 3], [2], {"dilation": 2, "padding": 2}),
    ("conv1d", [1, 2, 6], [2, 2, 4], None, {"padding": "same"}),
    ("conv1d", [1, 2, 6], [3, 2, 2], None, {"stride": 3}),
    ("conv1d", [1, 1, 1], [1, 1, 1], None, {}),
    ("conv2d", [2, 3, 5, 6], [4, 3, 3, 3], [4], {"padding": 1}),
    ("conv2d", [1, 2, 7, 6], [2, 2, 3, 2], None, {"stride": 2}),
    ("conv2d", [1, 2, 7, 8], [2, 2, 3, 3], [2], {"stride": [3, 2], "padding": [2, 1], "dilation": [1, 2]}),
    ("conv2d", [1, 4, 4, 5], [4, 1, 3, 3], [4], {"padding": 1, "groups": 4}),
    ("conv2d", [1, 4, 5, 5], [6, 2, 2, 2], None, {"groups": 2, "stride": [1, 2], "dilation": 3}),
    ("conv2d", [2, 4, 4], [3, 2, 1, 1], [3], {}),
    ("conv2d", [2, 3, 4, 4], [2, 3, 1, 1], None, {"stride": 2}),
    ("conv2d", [1, 1, 6, 9], [2, 1, 2, 3], None, {"stride": [2, 3]}),
    ("conv2d", [1, 1, 5, 4], [1, 1, 5, 4], None, {}),
    ("conv2d", [1, 2, 4, 5], [1, 2, 2, 4], None, {"padding": "same"}),
    ("conv2d", [1, 1, 1, 2], [1, 1, 3, 1], None, {"stride": 4, "padding": [3, 0]}),
    ("convTranspose1d", [2, 3, 4], [3, 2, 3], [2], {}),
    ("convTranspose1d", [1, 2, 4], [2, 2, 3], None, {"stride": 2, "padding": 1, "outputPadding": 1}),
    ("convTranspose1d", [4, 3], [4, 1, 2], None, {"groups": 2, "dilation": 2, "stride": 3}),
    ("convTranspose2d", [1, 2, 3, 4], [2, 3, 3, 2], [3], {"stride": [2, 1], "padding": [1, 0]}),
    ("convTranspose2d", [1, 2, 2, 2], [2, 1, 2, 2], None, {"stride": 2}),
]
pools = [
    ("maxPool1d", [2, 7], 3, {}),
    ("maxPool1d", [1, 2, 8], 2, {"stride": 1, "padding": 1, "dilation": 2}),
    ("maxPool2d", [2, 4, 6], 2, {}),
    ("maxPool2d", [1, 1, 5, 6], [3, 2], {"stride": [1, 2], "padding": [1, 1]}),
    ("maxPool2d", [1, 1, 7, 6], 3, {"stride": 2, "dilation": 2, "padding": 1}),
    ("avgPool1d", [2, 7], 3, {}),
    ("avgPool1d", [1, 2, 6], 4, {"stride": 1, "padding": 2, "countPadding": False}),
    ("avgPool2d", [1, 1, 5, 6], [3, 2], {"stride": [1, 2], "padding": [1, 1]}),
    ("avgPool2d", [1, 2, 5, 4], 3, {"stride": 2, "padding": 1, "countPadding": False}),
]
torch_names = {"outputPadding": "output_padding", "countPadding": "count_include_pad"}


def case(name, operands, rest, options):
    function = getattr(F, {"convTranspose1d": "conv_transpose1d", "convTranspose2d": "conv_transpose2d"}.get(name, "".join("_" + c.lower() if c.isupper() else c for c in name)))
    given = {torch_names.get(key, key): value for key, value in options.items()}
    tensors = [t.clone().requires_grad_() for t in operands]
    y = function(*tensors, *rest, **given)
    gradients = torch.autograd.grad((y * y).sum() / 2, tensors, create_graph=True)
    curvature = torch.autograd.grad((gradients[0] ** 2).sum() / 2, tensors[0])[0]
    return {
        "name": name,
        "shapes": [list(t.shape) for t in operands],
        "size": rest[0] if rest else None,
        "options": options,
        "result": rounded(y),
        "gradients": [rounded(g) for g in gradients],
        "curvature": rounded(curvature),
    }


cases = []
for name, x, weight, bias, options in convolutions:
    shapes = [x, weight] + ([] if bias is None else [bias])
    cases.append(case(name, [numbers(shape, strides[i]) for i, shape in enumerate(shapes)], [], options))
for name, x, size, options in pools:
    cases.append(case(name, [numbers(x, strides[0])], [size], options))
lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
(Path(__file__).parent / "arrays" / "convolutions.json").write_text(f"[\n{lines}\n]\n")

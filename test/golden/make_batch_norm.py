"""Writes test/golden/batch-norm.json: five steps of training of a network with batch normalisation, as PyTorch takes them in double precision.

    python3 -m pip install torch
    python3 test/golden/make_batch_norm.py test/golden/batch-norm.json

Parameters and batches follow a formula, `spread`, that batch-norm.test.ts has as well. For each momentum the file holds the losses, parameters and
running averages after the steps, and what the network then makes of the first batch as it is used, by those averages.
"""

import json
import sys

import torch
from torch import nn

torch.set_default_dtype(torch.float64)
steps = 5


def spread(shape, shift):
    """Multiples of 1/32 from −1 to 1, no two of the first 64 equal."""
    count = torch.Size(shape).numel()
    return torch.tensor([((29 * k + 17 * shift + 5) % 64) / 32 - 1 for k in range(count)]).reshape(shape)


def numbers(x):
    return [float(f"{v:.14g}") for v in x.detach().reshape(-1).tolist()]


def train(momentum):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=momentum), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(spread(parameter.shape, i))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = (model(spread([6, 3], 10 + step)) - spread([6, 2], 20 + step)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    state = {name: numbers(value) for name, value in model.state_dict().items() if value.dtype == torch.float64}
    return {"momentum": momentum, "losses": losses, "state": state, "used": numbers(model.eval()(spread([6, 3], 10)))}


text = json.dumps({"torch": torch.__version__, "cases": [train(0.1), train(None)]}, separators=(",", ":"))
open(sys.argv[1], "w").write(text.replace('{"momentum"', '\n{"momentum"') + "\n")

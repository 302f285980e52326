"""
Writes what NumPy gives for indices and for Einstein sums: arrays/indexing.json and arrays/einsum.json.

    python make_arrays.py

Every operand holds small whole numbers, so that sums and products are exact: numbers modulo 11, less 5, counted in row-major order with a stride that is
named beside them.
"""

import json
import random
from pathlib import Path

import numpy as np

folder = Path(__file__).parent / "arrays"
random.seed(7)


def numbers(shape, stride):
    count = int(np.prod(shape, dtype=np.int64))
    return ((np.arange(count) * stride) % 11 - 5).reshape(shape)


def random_range(extent):
    """A range within the axis, as [start, stop, step] with None for what is left out, and the slice that it is."""
    step = random.choice([None, None, 1, 2, -1, -2])
    backwards = step is not None and step < 0
    low, high = sorted((random.randint(0, extent), random.randint(0, extent)))
    if backwards:
        start = None if random.random() < 0.4 or high == 0 else high - 1
        stop = None if random.random() < 0.4 or low == 0 else low - 1
        if start is None and stop is not None and stop > extent - 1:
            stop = None
    else:
        start = None if random.random() < 0.4 else low
        stop = None if random.random() < 0.4 else high
    negative = lambda at: at - extent if at is not None and 0 < at < extent and random.random() < 0.4 else at
    start, stop = negative(start), negative(stop)
    return [start, stop, step], slice(start, stop, step)


def random_index():
    shape = [random.choice([1, 2, 3, 4]) for _ in range(random.randint(1, 5))]
    named = random.randint(0, len(shape))
    dots = named < len(shape) and random.random() < 0.5
    common = [random.choice([1, 2, 3]) for _ in range(random.randint(0, 2))]
    before = random.randint(0, named)
    with_tensors = random.random() < 0.7
    written, real = [], []
    axis = 0
    for i in range(named + 1):
        if dots and i == before:
            written.append("...")
            real.append(Ellipsis)
            axis += len(shape) - named
        if random.random() < 0.15:
            written.append(None)
            real.append(None)
        if i == named:
            break
        kind = random.choice(["number", "range", "tensor", "tensor"] if with_tensors else ["number", "range", "range"])
        if kind == "number":
            at = random.randint(-shape[axis], shape[axis] - 1)
            written.append(at)
            real.append(at)
        elif kind == "range":
            text, part = random_range(shape[axis])
            written.append(text)
            real.append(part)
        else:
            own = [1 if random.random() < 0.3 else n for n in common[random.randint(0, len(common)) :]]
            index = np.array([random.randint(0, shape[axis] - 1) for _ in range(int(np.prod(own, dtype=np.int64)))], dtype=np.int64).reshape(own)
            written.append({"shape": own, "data": index.ravel().tolist()})
            real.append(index)
        axis += 1
    x = numbers(shape, 7)
    found = x[tuple(real)]
    return {"shape": shape, "index": written, "result": {"shape": list(found.shape), "data": found.ravel().tolist()}}


indexing = []
while len(indexing) < 80:
    case = random_index()
    if 0 < len(case["index"]) and len(case["result"]["data"]) <= 40:
        indexing.append(case)

equations = [
    ("ij,jk->ik", [2, 3], [3, 4]),
    ("ij,jk", [2, 3], [3, 4]),
    ("ji", [2, 3]),
    ("ba,ca", [2, 3], [4, 3]),
    ("ii", [3, 3]),
    ("ii->i", [3, 3]),
    ("iij->ji", [2, 2, 3]),
    ("ijij->j", [2, 3, 2, 3]),
    ("iii", [2, 2, 2]),
    ("i,i", [3], [3]),
    ("i,j->ij", [2], [3]),
    ("i->", [3]),
    ("ij->", [2, 3]),
    ("ijk,k->", [2, 3, 2], [2]),
    (",->", [], []),
    (",i", [], [3]),
    ("->", []),
    ("ij,kl->ik", [2, 3], [2, 2]),
    ("bij,bjk->bik", [2, 2, 3], [2, 3, 2]),
    ("bqhd,bkhd->bhqk", [2, 2, 2, 3], [2, 3, 2, 3]),
    ("...ij,...jk->...ik", [2, 1, 2, 3], [3, 3, 2]),
    ("...ij,jk", [2, 2, 3], [3, 2]),
    ("i...,i...->...", [3, 2, 1], [3, 2]),
    ("...,...", [2, 1], [3]),
    ("i...i", [2, 3, 2]),
    ("...ii->...i", [2, 3, 3]),
    ("...i->...", [2, 3]),
    ("...i->i...", [2, 3, 4]),
    ("a...,...b->b...a", [2, 3], [1, 2]),
    ("ij...,j...k->...ik", [2, 3, 2], [3, 2, 2]),
    ("ij,jk,kl->il", [2, 3], [3, 4], [4, 2]),
    ("ij,jk,kl,lm", [2, 3], [3, 2], [2, 2], [2, 3]),
    ("i,ij,j", [2], [2, 3], [3]),
    ("ij,ij,ij->j", [2, 3], [2, 3], [2, 3]),
    ("i,j,k->kji", [2], [3], [2]),
    ("ab,bc,cd,de,ea->", [2, 3], [3, 2], [2, 2], [2, 3], [3, 2]),
    ("ii,jj->ij", [2, 2], [3, 3]),
    ("iji,jk->k", [2, 3, 2], [3, 2]),
    ("ij,jk->ik", [2, 1], [3, 4]),
    ("ij,ij->ij", [1, 3], [2, 3]),
    ("AB,Ba->aA", [2, 3], [3, 2]),
    (" i j , j -> i ", [2, 3], [3]),
    ("ij,jk->ik", [2, 0], [0, 3]),
    ("ij->j", [0, 3]),
    ("ij,jk->ik", [0, 2], [2, 3]),
]
strides = [7, 3, 9, 4, 8]
einsum = []
for equation, *shapes in equations:
    operands = [numbers(shape, strides[i]) for i, shape in enumerate(shapes)]
    found = np.einsum(equation, *operands)
    einsum.append({"equation": equation, "shapes": shapes, "result": {"shape": list(found.shape), "data": found.ravel().tolist()}})

for name, cases in {"indexing": indexing, "einsum": einsum}.items():
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n")

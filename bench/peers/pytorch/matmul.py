"""Square f32 matrix products in PyTorch on the CPU."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "shared"))

import torch  # noqa: E402
from case import measure, read_options, report  # noqa: E402
from llama_definition import MATMUL_SIDES, square_matrix  # noqa: E402

options = read_options()
torch.set_num_threads(options.threads)
cases = {}
with torch.inference_mode():
    for side in MATMUL_SIDES:
        a, b = square_matrix(1, side), square_matrix(2, side)
        c = torch.empty(side, side)  # one result buffer: fresh pages at every call would cost more than the product
        cases[f"matmul {side}³"] = measure(lambda a=a, b=b, c=c: torch.matmul(a, b, out=c), options.seconds)
report({"torch": torch.__version__}, cases=cases)

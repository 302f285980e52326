"""Square f32 matrix products in PyTorch."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "shared"))

import llama_definition as llama  # noqa: E402
import torch  # noqa: E402
from case import measure, read_options, report  # noqa: E402

options = read_options(
    sides={"default": ",".join(map(str, llama.MATMUL_SIDES))},
    calls={"type": int, "default": 1},
)
llama.use_device(options)
cases = {}


def product(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> None:
    for _ in range(options.calls):
        torch.matmul(a, b, out=c)  # one result buffer: fresh pages at every call would cost more than the product


with torch.inference_mode():
    for side in map(int, options.sides.split(",")):
        a, b = llama.square_matrix(1, side), llama.square_matrix(2, side)
        c = torch.empty(side, side)
        milliseconds = measure(lambda a=a, b=b, c=c: product(a, b, c), options.seconds)
        cases[f"matmul {side}³"] = [each / options.calls for each in milliseconds]
report({"torch": torch.__version__}, cases=cases, adapter=llama.device_of(options))

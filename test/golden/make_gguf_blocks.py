"""Writes gguf/blocks.gguf: blocks of random bytes of every quantised type, and the numbers that the Python package gguf reads from them.

    pip install gguf numpy && python test/golden/make_gguf_blocks.py
"""

from pathlib import Path

import gguf
import numpy as np

FOLDER = Path(__file__).parent / "gguf"
# Where a block has its scales in f16: random bits would be infinite or NaN now and then.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}

random = np.random.default_rng(7)
FOLDER.mkdir(exist_ok=True)
writer = gguf.GGUFWriter(FOLDER / "blocks.gguf", "llama")
for name, places in HALVES.items():
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (2, 2, size), dtype=np.uint8)
    for place in places:
        # Normal, subnormal and negative halves.
        scales = (random.normal(size=(2, 2)) * [[1e-2, 3e-7], [0.2, 5.0]]).astype(np.float16)
        blocks[:, :, place : place + 2] = scales.view(np.uint8).reshape(2, 2, 2)
    rows = blocks.reshape(2, 2 * size)
    writer.add_tensor(name, rows, raw_dtype=kind)
    writer.add_tensor(f"{name}.numbers", gguf.quants.dequantize(rows, kind).astype(np.float32))
values = random.normal(size=(3, 64)).astype(np.float32)
values[1, :32] = 0
values[2, 5] = -400
writer.add_tensor("to be quantised", values)
writer.add_tensor("to be quantised.Q8_0", gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

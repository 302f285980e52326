"""Writes gguf/llama.gguf: the model of make_llama.py in the types of GGUF, as llama.cpp's converter names and orders what it holds.

    pip install gguf numpy safetensors && python test/golden/make_gguf_model.py
"""

from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

FOLDER = Path(__file__).parent
HEADS, KV_HEADS = 4, 2
TYPES = {
    "embed_tokens": "Q8_0", "lm_head": "F16", "q_proj": "F32", "k_proj": "BF16", "v_proj": "Q8_0",
    "o_proj": "Q8_0", "gate_proj": "F16", "up_proj": "BF16", "down_proj": "F32",
}


def permute(weights, heads):
    """Halves of a head become pairs side by side, as in convert_hf_to_gguf.py."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


writer = gguf.GGUFWriter(FOLDER / "gguf" / "llama.gguf", "llama")
writer.add_name("a Llama of test/golden")
writer.add_context_length(32)
writer.add_embedding_length(32)
writer.add_block_count(2)
writer.add_feed_forward_length(48)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KV_HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_freq_base(10000.0)
writer.add_rope_dimension_count(8)
writer.add_vocab_size(61)
writer.add_tokenizer_model("llama")
writer.add_token_list(["<unk>", "<s>", "</s>"] + [f"▁{i}" for i in range(3, 61)])
writer.add_token_scores([-float(i) for i in range(61)])
writer.add_token_types([2, 3, 3] + [1] * 58)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
for name, weights in load_file(FOLDER / "llama" / "model.safetensors").items():
    part = next((part for part in TYPES if part in name), None)
    kind = gguf.GGMLQuantizationType[TYPES.get(part, "F32")]
    if part in ("q_proj", "k_proj"):
        weights = permute(weights, HEADS if part == "q_proj" else KV_HEADS)
    target = names.get_name(name, try_suffixes=(".weight",))
    writer.add_tensor(target, gguf.quants.quantize(np.ascontiguousarray(weights), kind), raw_dtype=kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

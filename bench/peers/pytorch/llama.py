"""The small Llama in PyTorch: the losses of tokens, with fused attention."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "shared"))

import llama_definition as llama  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402


class SmallLlama:
    """For texts [B, T]; `checkpointing` computes each layer a second time in the backward pass."""

    def __init__(self, batch: int, length: int, checkpointing: bool = False) -> None:
        self.batch, self.length, self.checkpointing = batch, length, checkpointing
        self.cos, self.sin = llama.rope_angles(length)
        self.weights = {name: weight.requires_grad_() for name, weight in llama.initial_weights().items()}

    def _rope(self, x: torch.Tensor) -> torch.Tensor:
        """Split-half rotation, [B, H, T, D]."""
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * self.cos - second * self.sin, second * self.cos + first * self.sin], dim=-1)

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, (llama.WIDTH,), self.weights[name], llama.NORM_EPS)

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.weights[name])

    def _heads(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """[B, T, C] → [B, H, T, D]"""
        return self._linear(x, name).view(self.batch, self.length, llama.HEADS, llama.HEAD_DIM).transpose(1, 2)

    def _layer(self, x: torch.Tensor, layer: str) -> torch.Tensor:
        y = self._norm(x, f"{layer}.input_layernorm.weight")
        q, k, v = (self._heads(y, f"{layer}.self_attn.{part}_proj.weight") for part in "qkv")
        y = F.scaled_dot_product_attention(self._rope(q), self._rope(k), v, is_causal=True)
        y = y.transpose(1, 2).reshape(self.batch, self.length, llama.WIDTH)
        x = x + self._linear(y, f"{layer}.self_attn.o_proj.weight")
        y = self._norm(x, f"{layer}.post_attention_layernorm.weight")
        gate, up = (self._linear(y, f"{layer}.mlp.{part}_proj.weight") for part in ("gate", "up"))
        return x + self._linear(F.silu(gate) * up, f"{layer}.mlp.down_proj.weight")

    def losses(self, inputs: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        x = F.embedding(inputs, self.weights["model.embed_tokens.weight"])
        for i in range(llama.LAYERS):
            layer = f"model.layers.{i}"
            x = checkpoint(self._layer, x, layer, use_reentrant=False) if self.checkpointing else self._layer(x, layer)
        logits = self._linear(self._norm(x, "model.norm.weight"), "lm_head.weight")
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)

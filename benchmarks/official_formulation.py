"""Self-attention of DSFormer the way the official code computes it where its CUDA operator is not built.

The position encoding's value term gathers a vector for every pair of tokens, an (L, L, head_dim) table, and multiplies
each head's attention with it. `relative_position.py` sums attention per bucket instead; the results agree to rounding.
"""

import copy
from types import MethodType

import torch
from torch import Tensor

from dsformer_core.models.dual_scale_former import HEAD_DIM, DualScaleFormer, Grid, SelfEncoder, split_heads
from dsformer_core.models.relative_position import BUCKETS, grid_buckets


def attend(encoder: SelfEncoder, qkv: Tensor, grid: Grid) -> Tensor:
    """Stands in for `SelfEncoder.attend`: (B, L, 3 * C) -> (B, heads, L, HEAD_DIM)."""
    queries, keys, values = split_heads(qkv)
    keys = keys * HEAD_DIM**-0.5
    logits = queries @ keys.transpose(-2, -1)
    if encoder.position is None:
        return logits.softmax(-1) @ values
    buckets = torch.from_numpy(grid_buckets(*grid))  # (L, L)
    logits = logits + pairs(queries @ encoder.position.of_queries, buckets)
    logits = logits + pairs(keys @ encoder.position.of_keys, buckets).transpose(-2, -1)
    attention = logits.softmax(-1)
    table = encoder.position.of_values[:, buckets.flatten()].view(1, *buckets.shape, HEAD_DIM)  # (1, L, L, head_dim)
    # (heads, L, B, L) @ (1, L, L, head_dim) -> (heads, L, B, head_dim)
    positions = torch.matmul(attention.permute(1, 2, 0, 3), table).permute(2, 0, 1, 3)
    return attention @ values + positions


def pairs(per_bucket: Tensor, buckets: Tensor) -> Tensor:
    """(B, heads, L, 49) by (L, L) -> (B, heads, L, L)."""
    batch, heads, length, _ = per_bucket.shape
    flat = buckets + torch.arange(length)[:, None] * BUCKETS
    return per_bucket.flatten(2)[:, :, flat.flatten()].view(batch, heads, length, length)


def official_formulation(former: DualScaleFormer) -> DualScaleFormer:
    """A twin of `former` that shares its weights and computes self-attention as above."""
    twin = copy.deepcopy(former, memo={id(parameter): parameter for parameter in former.parameters()})
    for module in twin.modules():
        if isinstance(module, SelfEncoder):
            module.attend = MethodType(attend, module)  # type: ignore[method-assign]
    return twin

"""Relative position encoding of the self-encoder: iRPE, contextual, product method (Wu et al., ICCV 2021).

The offset between a query and a key falls, per axis, into one of 7 buckets; the 7 x 7 pairs are 49 buckets, each with a
learned vector that all heads share. Equation 5 of the DSFormer paper names three functions of it. What the released
weights were trained with, and what stands here, is

    logits[q, k] = query[q] . key[k] / sqrt(d)  +  query[q] . K[bucket(q - k)]  +  key[k] / sqrt(d) . Q[bucket(k - q)]
    output[q]    = sum over k of attention[q, k] * (value[k] + V[bucket(q - k)])

with the tables K, Q and V: the query enters its term unscaled, the key scaled.

FlexAttention does not serve here: its `score_mod` could look the logits' terms up, but V's vector depends on query and
key together, so its term needs the attention's sum per bucket, which no fused kernel hands out. The attention would be
formed all the same, and on CPUs FlexAttention is nothing without compiling.
"""

import functools
import importlib
import math
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Offsets up to ALPHA have a bucket each, larger ones share buckets logarithmically until GAMMA; the largest is BETA.
RATIO = 1.9
ALPHA, BETA, GAMMA = 1 * RATIO, 2 * RATIO, 8 * RATIO
LARGEST = int(BETA)
AXIS_BUCKETS = 2 * LARGEST + 1
BUCKETS = AXIS_BUCKETS**2


def piecewise_index(offset: int) -> int:
    """Signed bucket of an offset along one axis: 0, 1, 2, 2, 3, 3, ... for 0, 1, 2, 3, 4, 5, ... (iRPE's g(x))."""
    distance = abs(offset)
    if distance <= ALPHA:
        return offset
    logarithmic = ALPHA + math.log(distance / ALPHA) / math.log(GAMMA / ALPHA) * (BETA - ALPHA)
    return int(math.copysign(min(round(logarithmic), BETA), offset))


# Cached as arrays: a cached tensor would carry inference mode, or an exporter's tracing, into the next call.
@functools.lru_cache(maxsize=32)
def axis_buckets(length: int) -> np.ndarray:
    """(length, length) int64 in [0, 7): bucket of (query - key) along one axis."""
    return np.array([[piecewise_index(query - key) + LARGEST for key in range(length)] for query in range(length)])


@functools.lru_cache(maxsize=32)
def grid_buckets(height: int, width: int) -> np.ndarray:
    """(L, L) int64 in [0, 49): bucket of every (query, key) pair of a grid with L = height * width, row by row."""
    rows, columns = axis_buckets(height), axis_buckets(width)
    pairs = rows[:, None, :, None] * AXIS_BUCKETS + columns[None, :, None, :]
    return pairs.reshape(height * width, height * width)


def _membership(length: int, like: Tensor) -> Tensor:
    """(query, key, 7): 1 where the pair's offset along one axis falls into the bucket, else 0."""
    return torch.from_numpy(np.eye(AXIS_BUCKETS)[axis_buckets(length)]).to(like)


class RelativePositionEncoding(nn.Module):
    """The three tables, each a vector per bucket, and what they add to attention.

    They start at zero, that is, without effect. Grids of any size share them.
    """

    _buckets: Tensor
    _rows: Tensor
    _columns: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self._held: tuple[int, int] | None = None
        self.of_queries = nn.Parameter(torch.zeros(1, head_dim, BUCKETS))
        self.of_keys = nn.Parameter(torch.zeros(1, head_dim, BUCKETS))
        self.of_values = nn.Parameter(torch.zeros(1, BUCKETS, head_dim))

    def hold(self, grid: tuple[int, int]) -> None:
        """Keeps what one grid needs beside the tables and on their device, instead of making it for every batch.

        Copies from the host would each wait for a GPU, and cannot be part of a CUDA graph. Not part of the weights.
        """
        height, width = self._held = grid
        like = self.of_values.detach()
        held = {
            "_buckets": torch.from_numpy(grid_buckets(*grid)).to(like.device),
            "_rows": _membership(height, like),
            "_columns": _membership(width, like),
        }
        for name, tensor in held.items():
            self.register_buffer(name, tensor, persistent=False)

    def logits(self, queries: Tensor, scaled_keys: Tensor, grid: tuple[int, int]) -> Tensor:
        """What is added to the attention logits.

        Args:
            queries: (B, heads, L, head_dim), unscaled.
            scaled_keys: (B, heads, L, head_dim), divided by sqrt(head_dim).
            grid: height and width of the token grid, L = height * width.

        Returns:
            (B, heads, L, L).
        """
        buckets = self._buckets if grid == self._held else torch.from_numpy(grid_buckets(*grid)).to(queries.device)
        terms = _per_pair(queries @ self.of_queries, buckets)
        terms += _per_pair(scaled_keys @ self.of_keys, buckets).transpose(-2, -1)
        return terms

    def values(self, attention: Tensor, grid: tuple[int, int]) -> Tensor:
        """What is added to the attended values: for each query the mean of the bucket vectors, weighted by attention.

        Attention is summed per bucket first, along one axis of the keys and then along the other, so that no table of
        L x L vectors is ever made.

        Args:
            attention: (B, heads, L, L).
            grid: height and width of the token grid.

        Returns:
            (B, heads, L, head_dim).
        """
        height, width = grid
        leading = attention.shape[:-2]
        if grid == self._held:
            rows, columns = self._rows.to(attention.dtype), self._columns.to(attention.dtype)
        else:
            rows, columns = _membership(height, attention), _membership(width, attention)
        pairs = attention.reshape(-1, height, width, height, width)  # query row, query column, key row, key column
        per_row = rows.transpose(1, 2)[:, None] @ pairs  # (B * heads, height, width, 7, width)
        per_bucket = torch.einsum("nijrl,jlc->nijrc", per_row, columns)  # (B * heads, height, width, 7, 7)
        return per_bucket.reshape(*leading, height * width, BUCKETS) @ self.of_values


def _per_pair(per_bucket: Tensor, buckets: Tensor) -> Tensor:
    """(B, heads, L, 49) by (L, L) -> (B, heads, L, L): each token's value for the bucket of each other token."""
    operator = _compiled_operator() if per_bucket.is_cuda else None
    if operator is not None:
        pairs: Tensor = _CompiledLookup.apply(per_bucket.float(), buckets.int(), operator)
        return pairs.to(per_bucket.dtype)
    batch, heads, length, _ = per_bucket.shape
    return per_bucket.gather(-1, buckets.expand(batch, heads, length, length))


@functools.cache
def _compiled_operator() -> ModuleType | None:
    """The CUDA operator of the iRPE authors' `rpe_index` package, where somebody has built it."""
    try:
        operator = importlib.import_module("rpe_index_cpp")
    except ImportError:
        return None
    return operator if hasattr(operator, "forward_gpu") else None  # it may have been built without CUDA


class _CompiledLookup(torch.autograd.Function):
    """`rpe_index` with its gradient: float32 (B, heads, L, 49) by int32 (L, L) -> (B, heads, L, L)."""

    @staticmethod
    def forward(ctx: Any, per_bucket: Tensor, buckets: Tensor, operator: ModuleType) -> Tensor:
        ctx.save_for_backward(buckets)
        ctx.shape, ctx.operator = per_bucket.shape, operator
        return operator.forward_gpu(per_bucket.contiguous(), buckets)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        (buckets,) = ctx.saved_tensors
        gradient = gradients[0].new_zeros(ctx.shape)
        ctx.operator.backward_gpu(gradient, gradients[0].contiguous(), buckets)
        return gradient, None, None

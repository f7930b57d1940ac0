"""The hash branch of SelaVPR++: features -> 512 numbers whose signs are a code of 64 bytes."""

from typing import Any

import torch
from torch import Tensor

from dsformer_core.models.pooling import ProjectedGeM

CODE_BITS = 512


class HashBranch(ProjectedGeM):
    """Feature maps -> hash floats, of which `signs` makes the code: linear, L2, GeM, linear to 512, L2.

    Args:
        channels: of each feature map.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__(channels, CODE_BITS)


class _StraightThroughSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hash_floats: Tensor) -> Tensor:
        return torch.where(hash_floats >= 0, 1.0, -1.0).to(hash_floats.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        return gradients[0]


def signs(hash_floats: Tensor) -> Tensor:
    """+1 where a number is zero or more, -1 elsewhere; of the same type and shape.

    The gradient passes as if nothing had happened, however large the number (the straight-through estimator of Bengio
    et al., "Estimating or propagating gradients through stochastic neurons", 2013, without clipping).
    """
    coded: Tensor = _StraightThroughSign.apply(hash_floats)
    return coded

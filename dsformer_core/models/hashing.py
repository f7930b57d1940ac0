"""The hash branch of SelaVPR++: features -> 512 numbers whose signs are a code of 64 bytes."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dsformer_core.described import CODE_BITS
from dsformer_core.models.pooling import ProjectedGeM


class HashBranch(ProjectedGeM):
    """Feature maps -> hash floats, of which `signs` makes the code: linear, L2, GeM, linear to 512, L2.

    Args:
        channels: of each feature map.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__(channels, CODE_BITS)

    def begin_as(self, pools: Iterable[nn.Module], fc: tuple[Tensor, Tensor]) -> None:
        """Begins as a trained head that pools the same maps: codes are then the signs of what that gives.

        Args:
            pools: GeM of each map.
            fc: weight (512, sum of channels) and bias (512,) of its linear layer.
        """
        weight, bias = fc
        with torch.no_grad():
            for projection, own, pool in zip(self.projections, self.pools, pools, strict=True):
                assert isinstance(projection, nn.Linear)
                nn.init.eye_(projection.weight)
                nn.init.zeros_(projection.bias)
                own.load_state_dict(pool.state_dict())
            self.fc.weight.copy_(weight)
            self.fc.bias.copy_(bias)


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

"""From a feature map to one vector: GeM pooling, and projections that need no training."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Aggregation(nn.Module):
    """One way to make a vector of a feature map."""

    def outputs(self, channels: int) -> int:
        """Numbers of the vector that it makes of a map of so many channels."""
        raise NotImplementedError

    def forward(self, feature_map: Tensor, class_token: Tensor | None = None) -> Tensor:
        """(B, C, H, W), and (B, C) where it is needed -> (B, outputs)."""
        raise NotImplementedError


class GeM(Aggregation):
    """Generalised-mean pooling: (mean over positions of x^p)^(1/p), per channel.

    With p = 1 it is the average and with growing p it approaches the maximum; p is learned (Radenovic et al.,
    "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018, equation 3).
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), p))
        self.eps = eps  # negative features are raised to it: a power of them would be NaN

    def outputs(self, channels: int) -> int:
        """As many as the map has channels."""
        return channels

    def forward(self, feature_map: Tensor, class_token: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C), of the same type; a class token is not looked at."""
        p = self.p.float()  # and features too: small ones, cubed, would be lost in float16
        return feature_map.float().clamp(min=self.eps).pow(p).mean((-2, -1)).pow(1 / p).to(feature_map.dtype)


class ProjectedGeM(nn.Module):
    """Feature maps -> one vector: per map a linear layer, L2 over channels and GeM; one linear layer over all; L2.

    Args:
        channels: of each feature map.
        outputs: numbers of the vector.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(count, count) for count in channels)
        self.pools = nn.ModuleList(GeM() for _ in channels)
        self.fc = nn.Linear(sum(channels), outputs)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """One (B, Ci, Hi, Wi) per map -> (B, outputs), unit L2 norm."""
        pooled = []
        for projection, pool, feature_map in zip(self.projections, self.pools, maps, strict=True):
            projected = projection(feature_map.movedim(1, -1)).movedim(-1, 1)
            pooled.append(pool(F.normalize(projected, dim=1)))
        return F.normalize(self.fc(torch.cat(pooled, dim=-1)), dim=-1)


def orthogonal_projection(inputs: int, outputs: int) -> Tensor:
    """A fixed projection that keeps angles as well as one may hope without training.

    It takes `outputs` rows of a Hadamard matrix whose columns have random signs (a subsampled randomised Hadamard
    transform). Only integers take part and the random bits come straight from the generator, so it has the same bits on
    every machine and with every version of numpy: maps tell models apart by the hash of their weights.

    Args:
        inputs: 2^k, 12 * 2^k or 20 * 2^k.
        outputs: at most `inputs`.

    Returns:
        (outputs, inputs) float32 with orthonormal rows.
    """
    bits = np.random.PCG64(seed=0)
    rows = np.argsort(bits.random_raw(inputs), kind="stable")[:outputs]
    signs = 1 - 2 * (bits.random_raw(inputs) >> 63).astype(np.int8)
    matrix = _hadamard(inputs)[rows] * signs
    return torch.from_numpy((matrix / np.sqrt(inputs)).astype(np.float32))


def _hadamard(order: int) -> np.ndarray:
    """(order, order) matrix of +1 and -1 with orthogonal rows: Paley's construction, doubled after Sylvester."""
    if order == 1:
        return np.ones((1, 1), np.int8)
    if order in (12, 20):
        prime = order - 1
        squares = {i * i % prime for i in range(1, prime)}
        residue = np.array([0] + [1 if i in squares else -1 for i in range(1, prime)], np.int8)
        skew = np.zeros((order, order), np.int8)
        skew[0, 1:], skew[1:, 0] = 1, -1
        skew[1:, 1:] = residue[np.subtract.outer(np.arange(prime), np.arange(prime)) % prime]
        return skew + np.eye(order, dtype=np.int8)
    if order % 2:
        raise ValueError(f"no Hadamard matrix of order {order} is known here")
    half = _hadamard(order // 2)
    return np.block([[half, half], [half, -half]])

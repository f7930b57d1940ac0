"""A projection that knows what to ignore, before the first iteration.

Learned whitening (Mikolajczyk and Matas, ICCV 2007; Radenovic et al., TPAMI 2018): over the pooled features f of
augmented pictures, with the mean m_c of each class c and the mean m of those,

    S_W = mean over pictures of (f - m_c)(f - m_c)^T        what differs between pictures of one place
    S_B = mean over classes of (m_c - m)(m_c - m)^T         what differs between places
    S_B v = lambda S_W v,   v^T S_W v = 1                   the 512 largest lambda give the rows v of P
    d   = P (f - m)

It costs one look at a few pictures of each class, and what light and viewpoint change is no longer a reason to be told
apart. Features whose variance within places is small by chance would be blown up: `RIDGE` times the mean variance is
added to the diagonal of S_W.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.linalg import eigh
from torch import Tensor, nn

from dsformer_core.errors import UsageError
from dsformer_core.training.data import ClassPictures, Draw, TrainingData

RIDGE = 1.0
BATCH = 32

FloatArray = npt.NDArray[np.float64]


class PooledModel(Protocol):
    """A model whose descriptor begins as a linear function of pooled features."""

    projection: nn.Linear

    def pooled(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, D)."""
        ...


def learn_projection(
    model: nn.Module,
    data: TrainingData,
    augment: Callable[[Tensor], Tensor],
    pictures_per_class: int,
    *,
    seed: int,
    device: torch.device,
) -> list[list[Tensor]]:
    """Sets the projection of a model to the learned whitening of its pooled features.

    Args:
        model: one with `pooled` and `projection`; changed in place, on `device`.
        data: all groups and views are looked at.
        augment: as in training.
        pictures_per_class: at least 2.
        seed: decides which pictures, and what augmentation makes of them.
        device: where to compute.

    Returns:
        per group and view (classes, 512) float32: the mean of each class's projected pictures, of unit length.

    Raises:
        UsageError: the model has no projection of pooled features.
        DsformerError: no picture of a class can be read.
    """
    if not (hasattr(model, "pooled") and isinstance(getattr(model, "projection", None), nn.Linear)):
        raise UsageError("model.whitening_pictures: this model has no projection of pooled features; leave it at 0")
    pooled_model: PooledModel = model  # type: ignore[assignment]
    model.to(device).eval()
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    features, classes = [], []
    for number, pictures in enumerate(_batches(data, pictures_per_class, random)):
        with torch.inference_mode():
            features.append(pooled_model.pooled(augment(pictures.to(device))).double().cpu().numpy())
        classes.append(np.full(len(pictures), number))
    projection, mean = whitening(
        np.concatenate(features), np.concatenate(classes), pooled_model.projection.out_features
    )
    with torch.no_grad():
        pooled_model.projection.weight.copy_(torch.from_numpy(projection))
        pooled_model.projection.bias.copy_(torch.from_numpy(-projection @ mean))
    projected = F.normalize(torch.from_numpy((np.stack(features) - mean) @ projection.T).float(), dim=-1)
    means = iter(F.normalize(projected.mean(dim=1), dim=-1))
    return [[torch.stack([next(means) for _ in range(len(view))]) for view in group] for group in data.groups]


def _batches(data: TrainingData, pictures_per_class: int, random: np.random.Generator) -> Iterable[Tensor]:
    """The pictures of one class at a time, (pictures_per_class, 3, H, W) uint8."""
    views: list[ClassPictures] = [view for group in data.groups for view in group]
    for view in views:
        for index in range(len(view)):
            draws = [Draw(index, int(number)) for number in random.integers(0, 1 << 62, pictures_per_class)]
            yield torch.stack([view[draw][0] for draw in draws])


def whitening(features: FloatArray, classes: npt.NDArray[np.int64], outputs: int) -> tuple[FloatArray, FloatArray]:
    """P and m of the module's docstring.

    Args:
        features: (N, D).
        classes: (N,) class of each.
        outputs: rows of P, at most D.

    Returns:
        (outputs, D), the largest lambda first, and (D,).
    """
    _, own = np.unique(classes, return_inverse=True)
    counts = np.bincount(own)
    means = np.zeros((len(counts), features.shape[1]))
    np.add.at(means, own, features)
    means /= counts[:, None]
    mean = means.mean(axis=0)
    within = features - means[own]
    between = means - mean
    scatter = within.T @ within / len(features)
    scatter += RIDGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    last = len(scatter) - 1
    _, vectors = eigh(between.T @ between / len(means), scatter, subset_by_index=(last - outputs + 1, last))
    return vectors.T[::-1].copy(), mean

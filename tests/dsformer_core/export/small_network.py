"""A network that is traced in a second."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsformer_core.models import DescriptorModel, Preprocessing
from dsformer_core.models.registry import Features


class Small(DescriptorModel):
    """One convolution, pooled."""

    map_channels = (512,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 512, 16, stride=16)
        self.name, self.options, self.preprocessing = "small", {}, Preprocessing((64, 64))

    def represent(self, images: Tensor) -> Features:
        return Features((self.convolution(images).relu(),))

    def aggregate(self, features: Features) -> Tensor:
        return F.normalize(features.maps[0].mean((-2, -1)), dim=-1)


def small() -> Small:
    return Small().eval().requires_grad_(False)  # type: ignore[return-value]


ABOUT = {"model": "small", "weights": "random", "weights_sha256": "0" * 64}

"""A network as small as they come, for tests and benchmarks of what surrounds the network."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dsformer_core.extractor import Extractor
from dsformer_core.models.registry import DescriptorModel, Features, Preprocessing


class StubNetwork(DescriptorModel):
    """A fixed random projection of 16x16 pixels: equal pictures get equal descriptors, others do not."""

    preprocessing = Preprocessing(size=(16, 16))
    descriptor_dim = 64
    map_channels = (3,)
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(self.descriptor_dim, 3 * 16 * 16, generator=random))

    def represent(self, images: Tensor) -> Features:
        return Features((images,))

    def aggregate(self, features: Features) -> Tensor:
        return F.normalize(F.linear(features.maps[0].flatten(1), self.weight), dim=-1)


def stub_extractor() -> Extractor:
    return Extractor.of_model(StubNetwork(), "stub", device="cpu")

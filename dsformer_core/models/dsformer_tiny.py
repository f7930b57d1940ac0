"""A small DSFormer over MobileNetV2, for computers without a GPU; trained on the sample world and shipped with it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from dsformer_core.models.dual_scale_former import DualScaleFormer, DualScaleHead
from dsformer_core.models.pooling import GeM, orthogonal_projection
from dsformer_core.models.registry import (
    DESCRIPTOR_DIM,
    DescriptorModel,
    Features,
    NamedWeights,
    Preprocessing,
    register_model,
)
from dsformer_core.models.released import MOBILENET_V2_CHANNELS, MOBILENET_V2_IMAGENET, torchvision_mobilenet_v2

FINE = 14  # features before this index have a stride of 16, those after it 32
FROZEN = 7  # features before this index have a stride of 8 and see edges and textures
DIM = 128
GATE = 0.3

RENDERED_TOWNS = NamedWeights(
    name="rendered-towns",
    file_name="dsformer_tiny.safetensors",
    url="",
    licence="Apache-2.0 (dsformer_ros); begun with torchvision's MobileNetV2, BSD-3-Clause",
    size=8_288_008,
    sha256="b11448f5a20dc0dff1c4cb556e169da5c263bb432438848350acbafd62018635",
    package=("dsformer_core", "models/dsformer_tiny.safetensors"),
)


@register_model(
    "dsformer_tiny",
    preprocessing=Preprocessing(size=(224, 224)),
    weights=[RENDERED_TOWNS, MOBILENET_V2_IMAGENET],
    layouts=[torchvision_mobilenet_v2(leaves_untrained=True)],
)
class DSFormerTiny(DescriptorModel):
    """Strides 16 and 32 of a MobileNetV2: 14 x 14 and 7 x 7 tokens of 128 numbers, added to a GeM descriptor.

    The descriptor is the sum of two: that of `gem_mobilenet_v2`, whose projection is learned from where that model's
    stands fixed, and the dual-scale former's, weighted by a gate that starts low. So training on a small world begins
    with what ImageNet taught and adds to it.

    Args:
        layers: of the dual-scale former, 0 to 4.
        drop_ratio: of DropKey, in training only.
        aggregation: of the former's tokens, "gem" or "boq".
    """

    map_channels = (DIM, DIM, MOBILENET_V2_CHANNELS)

    def __init__(self, layers: int = 1, drop_ratio: float = 0.0, aggregation: str = "gem") -> None:
        super().__init__()
        self.features = mobilenet_v2(weights=None).features
        self.pool = GeM()
        self.projection = nn.Linear(MOBILENET_V2_CHANNELS, DESCRIPTOR_DIM)
        self.former = DualScaleFormer(
            (96, MOBILENET_V2_CHANNELS),
            ((14, 14), (7, 7)),
            layers,
            relative_position=True,
            self_encoder=True,
            cross_encoder=True,
            drop_ratio=drop_ratio,
            dim=DIM,
        )
        self.head = DualScaleHead(DIM, aggregation)
        self.gate = nn.Parameter(torch.full((1,), GATE))
        with torch.no_grad():
            self.projection.weight.copy_(orthogonal_projection(MOBILENET_V2_CHANNELS, DESCRIPTOR_DIM))
            self.projection.bias.zero_()
        self.early_frozen = False

    def represent(self, images: Tensor) -> Features:
        """(B, 3, H, W) normalised float -> both maps of the former, and the features that are pooled beside it."""
        fine, coarse = self.scales(images)
        return Features((*self.former(fine, coarse), coarse))

    def aggregate(self, features: Features) -> Tensor:
        """Features -> (B, 512), unit L2 norm."""
        *scales, coarse = features.maps
        pooled = self.projection(self.pool(F.normalize(coarse, dim=1)))
        return F.normalize(F.normalize(pooled, dim=-1) + self.gate * self.head(scales), dim=-1)

    def begin_hash_branch(self) -> None:
        """Under GeM, codes begin as signs of nearly the descriptors: of their two parts, not yet normalised."""
        assert self.hash_branch is not None
        if not all(isinstance(pool, GeM) for pool in self.head.pools):
            return
        parts = [self.gate * self.head.fc.weight, self.projection.weight]
        fc = torch.cat(parts, dim=1), self.gate * self.head.fc.bias + self.projection.bias
        self.hash_branch.begin_as([*self.head.pools, self.pool], fc)

    def scales(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised float -> (B, 96, H/16, W/16) and (B, 1280, H/32, W/32)."""
        fine = self.features[:FINE](images)
        return fine, self.features[FINE:](fine)

    def pooled(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, 1280), what the projection sees."""
        return self.pool(F.normalize(self.scales(images)[1], dim=1))

    def freeze_early(self) -> None:
        """Freezes features of stride 8 and less, and the statistics of all normalisations: both know real streets."""
        self.early_frozen = True
        self.features[:FROZEN].requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "DSFormerTiny":
        """Like every module's, but frozen normalisations stay in evaluation mode."""
        super().train(mode)
        if self.early_frozen:
            self.features.eval()  # nothing else in it depends on the mode
        return self

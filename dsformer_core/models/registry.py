"""The models by name: each is registered by a decorator, together with its preprocessing and its released weights."""

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dsformer_core.errors import UsageError
from dsformer_core.models.hashing import HashBranch, signs

DESCRIPTOR_DIM = 512

# Variants of every model: the descriptor alone, or a hash branch beside it.
STANDARD, RERANK = "standard", "rerank"

# What a model has for its codes alone, by the names of its parts.
HASH_PARTS = ("hash_branch", "hash_adapters")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """What a picture must go through before it enters a network.

    Attributes:
        size: height and width in pixels to which the whole picture is resized.
        mean: per channel (RGB), subtracted from values in [0, 1].
        std: per channel (RGB), divides the difference.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True)
class KeyLayout:
    """How somebody else's checkpoint names the tensors of one of our models.

    Attributes:
        marker: prefix of tensor names by which a file of this layout is recognised.
        rules: (pattern, replacement) pairs that turn our names into the file's; the first that matches is applied.
        part: prefix of our names that such a file fills; the empty string is the whole model.
        unused: tensors of the file, by their shapes, for which the model has no use.
        optional: suffix of names (the file's) that old files may lack.
        leaves_untrained: True where the tensors outside `part` need training before descriptors mean anything.
    """

    marker: str
    rules: tuple[tuple[str, str], ...] = ()
    part: str = ""
    unused: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    optional: str | None = None
    leaves_untrained: bool = False


@dataclass(frozen=True)
class NamedWeights:
    """Weights that their authors released as a file.

    Attributes:
        name: what a user calls them, e.g. ``"imagenet"``.
        file_name: name of the released file, by which it is found on disk.
        url: where the authors offer it; empty where it comes with this package only.
        licence: under which they do.
        size: of the file in bytes; None while unknown.
        sha256: hexadecimal digest of the file or, where only that much is published, the beginning of it;
            None while unknown.
        by_browser: True where `url` is a page for a person and not the file.
        package: installed Python package that also holds the file, and the path of the file in it.
        hint: another way to get the file, in words.
        options: of the architecture that they were made with, where that has any that change tensors.
        note: what else there is to know, in words.
    """

    name: str
    file_name: str
    url: str
    licence: str
    size: int | None = None
    sha256: str | None = None
    by_browser: bool = False
    package: tuple[str, str] | None = None
    hint: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


class Features(NamedTuple):
    """What descriptors are made of.

    Attributes:
        maps: (B, Ci, Hi, Wi) each.
        class_token: (B, C), where the backbone has one.
    """

    maps: tuple[Tensor, ...]
    class_token: Tensor | None = None


class DescriptorModel(nn.Module):
    """A network that turns (B, 3, H, W) normalised float pictures into (B, D) descriptors of unit L2 norm.

    In the variant "rerank" it has a hash branch beside, and gives a code of 512 bits to search with as well.

    Attributes:
        name: under which it is registered.
        options: constructor arguments it was made with.
        preprocessing: what its pictures must go through.
        descriptor_dim: D.
        map_channels: channels of its feature maps.
        hash_branch: makes the codes; None where the variant has none.
        descriptors_trained: False while weights are random, or of a backbone alone where more of it needs training.
    """

    name: str
    options: dict[str, Any]
    preprocessing: Preprocessing
    descriptor_dim: int = DESCRIPTOR_DIM
    map_channels: tuple[int, ...]

    def __init__(self) -> None:
        super().__init__()
        self.hash_branch: HashBranch | None = None
        self.descriptors_trained = False
        self.descriptors_frozen = False

    @classmethod
    def options_in(cls, names: Collection[str]) -> dict[str, Any]:
        """The options that the tensors of somebody else's checkpoint, by their names, were made with."""
        return {}

    def represent(self, images: Tensor) -> Features:
        """(B, 3, H, W) normalised float -> what `aggregate` makes descriptors of."""
        raise NotImplementedError

    def aggregate(self, features: Features) -> Tensor:
        """Features -> (B, D), unit L2 norm."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, D), unit L2 norm."""
        return self.aggregate(self.represent(images))

    @property
    def has_codes(self) -> bool:
        """Whether it has a hash branch."""
        return self.hash_branch is not None

    def hash_floats(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, 512), unit L2 norm, whose signs are the codes.

        Raises:
            UsageError: the model has no hash branch.
        """
        return self._hash_branch(self.represent(images).maps)

    def branches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised float -> descriptors (B, D) and hash floats (B, 512), in one pass.

        Raises:
            UsageError: the model has no hash branch.
        """
        features = self.represent(images)
        return self.aggregate(features), self._hash_branch(features.maps)

    def codes(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, 512) int8, +1 or -1.

        Raises:
            UsageError: the model has no hash branch.
        """
        return signs(self.hash_floats(images)).to(torch.int8)

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised float -> descriptors (B, D) and codes (B, 512) int8, in one pass.

        Raises:
            UsageError: the model has no hash branch.
        """
        descriptors, hash_floats = self.branches(images)
        return descriptors, signs(hash_floats).to(torch.int8)

    @property
    def _hash_branch(self) -> HashBranch:
        if self.hash_branch is None:
            raise UsageError(
                f"this {self.name} has no hash branch, so no codes: it is of the variant "
                f"{self.options.get('variant', STANDARD)!r}; {RERANK!r} has both branches"
            )
        return self.hash_branch

    def add_hash_branch(self) -> None:
        """Puts an untrained hash branch beside the descriptor.

        Its projections begin as the identity: features that were trained need no first mixing, and codes learn faster.
        """
        self.hash_branch = HashBranch(self.map_channels)
        for projection in self.hash_branch.projections:
            assert isinstance(projection, nn.Linear)
            nn.init.eye_(projection.weight)
            nn.init.zeros_(projection.bias)

    def begin_hash_branch(self) -> None:
        """Called once the rest has its weights and the hash branch has none: here it may take over some of them."""

    def freeze_descriptors(self) -> None:
        """Freezes all but the hash branch, the statistics of normalisations included."""
        self.descriptors_frozen = True
        for name, part in self.named_children():
            if name not in HASH_PARTS:
                part.requires_grad_(False)
        for parameter in self.parameters(recurse=False):
            parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "DescriptorModel":
        """Like every module's, but frozen parts stay in evaluation mode."""
        super().train(mode)
        if self.descriptors_frozen:
            for name, part in self.named_children():
                if name not in HASH_PARTS:
                    part.eval()
        return self


@dataclass(frozen=True)
class ModelEntry:
    """One registered model."""

    name: str
    architecture: type[DescriptorModel]
    preprocessing: Preprocessing
    weights: tuple[NamedWeights, ...]
    layouts: tuple[KeyLayout, ...]

    def build(self, **options: Any) -> DescriptorModel:
        """The network with freshly drawn weights, in evaluation mode.

        Raises:
            UsageError: the architecture has no such option, or not such a value of it.
        """
        self.check_options(options)
        own = inspect.signature(self.architecture).parameters
        model = self.architecture(**{key: value for key, value in options.items() if key in own})
        if "variant" not in own:
            variant = options.get("variant", STANDARD)
            if variant not in (STANDARD, RERANK):
                raise UsageError(f"{self.name} has no variant {variant!r}; its variants are: {STANDARD}, {RERANK}")
            if variant == RERANK:
                model.add_hash_branch()
        model.name, model.options, model.preprocessing = self.name, options, self.preprocessing
        return model.eval()

    def check_options(self, names: Collection[str]) -> None:
        """Refuses options that the architecture has not.

        Raises:
            UsageError: names them, and those that it has.
        """
        if unknown := sorted(set(names) - set(self.defaults)):
            raise UsageError(
                f"{self.name} has no option {', '.join(unknown)}; its options are: {', '.join(self.defaults)}"
            )

    @property
    def defaults(self) -> dict[str, Any]:
        """Every option with its default."""
        own = inspect.signature(self.architecture).parameters
        return {"variant": STANDARD} | {key: parameter.default for key, parameter in own.items()}


_ENTRIES: dict[str, ModelEntry] = {}


def register_model(
    name: str,
    *,
    preprocessing: Preprocessing,
    weights: Sequence[NamedWeights] = (),
    layouts: Sequence[KeyLayout] = (),
) -> Callable[[type[DescriptorModel]], type[DescriptorModel]]:
    """Class decorator that makes an architecture known by name.

    Args:
        name: for people, maps and checkpoints; never changes once released.
        preprocessing: what pictures must go through.
        weights: released weights; the first are the ones used when nobody names any.
        layouts: of foreign checkpoint files; our own names need none.
    """

    def register(architecture: type[DescriptorModel]) -> type[DescriptorModel]:
        if name in _ENTRIES:
            raise ValueError(f"two models are called {name}")
        _ENTRIES[name] = ModelEntry(name, architecture, preprocessing, tuple(weights), tuple(layouts))
        return architecture

    return register


def model_entry(name: str) -> ModelEntry:
    """The registered model of that name.

    Raises:
        UsageError: there is none; the message names those that come close, or all.
    """
    if name not in _ENTRIES:
        close = difflib.get_close_matches(name, _ENTRIES)
        raise UsageError(f"no model is called {name!r}; there are: {', '.join(close or list_models())}")
    return _ENTRIES[name]


def list_models() -> list[str]:
    """Names of all models, sorted."""
    return sorted(_ENTRIES)


def preprocessing_of(name: str) -> Preprocessing:
    """What pictures must go through before they enter the model of that name."""
    return model_entry(name).preprocessing

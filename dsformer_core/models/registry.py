"""The models by name: each is registered by a decorator, together with its preprocessing and its released weights."""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from dsformer_core.errors import UsageError

DESCRIPTOR_DIM = 512

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


class DescriptorModel(nn.Module):
    """A network that turns (B, 3, H, W) normalised float pictures into (B, 512) descriptors of unit L2 norm.

    Attributes:
        name: under which it is registered.
        options: constructor arguments it was made with.
        preprocessing: what its pictures must go through.
    """

    name: str
    options: dict[str, Any]
    preprocessing: Preprocessing

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised float -> (B, 512), unit L2 norm."""
        raise NotImplementedError


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
        known = list(inspect.signature(self.architecture).parameters)
        if unknown := sorted(set(options) - set(known)):
            raise UsageError(
                f"{self.name} has no option {', '.join(unknown)}; its options are: {', '.join(known) or 'none'}"
            )
        model = self.architecture(**options)
        model.name, model.options, model.preprocessing = self.name, options, self.preprocessing
        return model.eval()


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

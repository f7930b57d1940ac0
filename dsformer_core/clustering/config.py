"""What a user may decide about how locations become classes."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from dsformer_core.errors import UsageError

Config = TypeVar("Config", bound="_Checked")

EXCLUSIONS = ("greedy", "remove_both")
DIRECTIONS = ("surroundings", "headings", "singular_vectors")
SIDES = ("north", "south")


class _Checked:
    """Checks of a frozen dataclass whose fields are numbers within ranges and names out of lists."""

    _RANGES: ClassVar[Mapping[str, tuple[float, float]]]
    _CHOICES: ClassVar[Mapping[str, tuple[str, ...]]]

    def __post_init__(self) -> None:
        for name, (lowest, highest) in self._RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UsageError(f"{name} = {value!r} is not a number")
            if not lowest <= value <= highest:
                raise UsageError(f"{name} = {value} is out of range: it must lie between {lowest:g} and {highest:g}")
            if isinstance(lowest, int) and value != int(value):
                raise UsageError(f"{name} = {value} is not a whole number")
        for name, choices in self._CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} = {getattr(self, name)!r} is not one of {', '.join(choices)}")

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """The configuration with some values changed.

        Raises:
            UsageError: a name is unknown, or a value is out of its range.
        """
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for name in values:
            if name not in known:
                raise UsageError(f"clustering has no setting {name!r}: it has {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)  # type: ignore[call-overload]


@dataclass(frozen=True)
class BlockClusteringConfig(_Checked):
    """Settings of `cluster_blocks`. Defaults are the paper's (section IV) and, where it is silent, the official code's.

    Attributes:
        block_width: M, metres: width of a strip along east or north (equation 7).
        groups: N: every N-th strip belongs to the same group (equation 7).
        radius: r, metres: a class holds what lies this close to its peak, the location with most others that close.
        min_distance: l, metres: the peaks of two classes of a group lie at least this far apart.
        focal_distance: F, metres: from a class's mean position to its focal points (equation 9).
        min_cluster_size: of HDBSCAN: points from which on a group is a cluster.
        min_samples: of HDBSCAN: the core distance is that to this many other points.
        min_images: locations from which on what is left of a cluster is a class.
        exclusion: of two classes that are too close, ``greedy`` keeps the one with more locations. ``remove_both`` is
            the official code's rule: both go where both are of strips along the same axis, else the north one.
        direction: how a class finds its street: ``headings`` asks where its vehicles headed and, where that is unknown,
            does as ``surroundings``, which looks at the tracks of all locations around it; ``singular_vectors`` takes
            the class's own locations alone, as the paper does.
        lateral_side: on which side of the street the lateral focal point lies. The frontal one lies 90 degrees
            clockwise of it for ``north``, counterclockwise for ``south``, so it is always the street's eastern end.
            On a street due north, ``north`` is west.

    Raises:
        UsageError: a value is out of its range, no number, or unknown.
    """

    block_width: float = 10.0
    groups: int = 5
    radius: float = 7.5
    min_distance: float = 40.0
    focal_distance: float = 15.0
    min_cluster_size: int = 15
    min_samples: int = 15
    min_images: int = 10
    exclusion: str = "greedy"
    direction: str = "headings"
    lateral_side: str = "north"

    _RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "block_width": (0.1, 1e5),
        "groups": (1, 1000),
        "radius": (0.1, 1e4),
        "min_distance": (0.0, 1e5),
        "focal_distance": (0.1, 1e4),
        "min_cluster_size": (2, 100_000),
        "min_samples": (1, 100_000),
        "min_images": (1, 100_000),
    }
    _CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "exclusion": EXCLUSIONS,
        "direction": DIRECTIONS,
        "lateral_side": SIDES,
    }


@dataclass(frozen=True)
class GridConfig(_Checked):
    """Settings of `grid_partition`, the squares of CosPlace and EigenPlaces. Defaults are EigenPlaces' published ones.

    Attributes:
        cell_size: metres: side of a square; a square is a class.
        groups: every so many squares along east and along north belong to the same group: groups² groups.
        focal_distance: metres from a class's mean position to its focal points.
        min_images: locations from which on a square is a class.
        direction: see `BlockClusteringConfig`; EigenPlaces' is ``singular_vectors``.
        lateral_side: see `BlockClusteringConfig`.

    Raises:
        UsageError: a value is out of its range, no number, or unknown.
    """

    cell_size: float = 15.0
    groups: int = 3
    focal_distance: float = 10.0
    min_images: int = 10
    direction: str = "singular_vectors"
    lateral_side: str = "north"

    _RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "cell_size": (0.1, 1e5),
        "groups": (1, 1000),
        "focal_distance": (0.1, 1e4),
        "min_images": (1, 100_000),
    }
    _CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {"direction": DIRECTIONS, "lateral_side": SIDES}

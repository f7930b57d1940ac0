"""Which references of a map somebody means."""

import fnmatch
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import UsageError
from dsformer_core.place_map.changes.areas import Area
from dsformer_core.place_map.place_map import PlaceMap

# Of a map's sources in a message; a map may have thousands.
_SOURCES_NAMED = 8

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Selection:
    """References to which all of this applies; of what is given several times, one is enough.

    Attributes:
        match: patterns of ids, as a shell has them; case matters, and ``*`` stands for ``/`` too.
        ids: names of references; None for any. An empty set is of none.
        sources: what references were read from.
        within: areas.
        bbox: west, south, east and north in degrees; where west is larger than east it reaches over the date line.
        after: seconds since 1970 from which on; references without a time are never meant where a time is.
        before: seconds since 1970 up to which, exclusive.

    Raises:
        UsageError: nothing is said, or the box or the times are empty.
    """

    match: Sequence[str] = ()
    ids: frozenset[str] | None = None
    sources: Sequence[str] = ()
    within: Sequence[Area] = ()
    bbox: tuple[float, float, float, float] | None = None
    after: float = math.nan
    before: float = math.nan

    def __post_init__(self) -> None:
        timed = not (math.isnan(self.after) and math.isnan(self.before))
        if not (self.match or self.ids is not None or self.sources or self.within or self.bbox or timed):
            raise UsageError("say which references: by id, source, area or time")
        if self.bbox is not None:
            _, south, _, north = self.bbox
            if not (all(map(math.isfinite, self.bbox)) and south <= north):
                raise UsageError(f"the box {self.bbox} is empty: give west, south, east and north in degrees")
        if self.before <= self.after:
            raise UsageError("the time before which lies before the time after which")

    def rows(self, place_map: PlaceMap) -> npt.NDArray[np.int64]:
        """The rows of a map that are meant, ascending."""
        chosen = np.ones(place_map.count, dtype=bool)
        if self.match:
            pattern = re.compile("|".join(fnmatch.translate(glob) for glob in self.match))
            chosen &= _those(place_map.ids, lambda name: pattern.match(name) is not None)
        if self.ids is not None:
            ids = self.ids
            chosen &= _those(place_map.ids, ids.__contains__)
        if self.sources:
            chosen &= _those(place_map.sources, frozenset(self.sources).__contains__)
        if self.bbox is not None:
            chosen &= _in_box(place_map, self.bbox)
        if self.within:
            inside = [area.holds(place_map.latitude, place_map.longitude) for area in self.within]
            chosen &= np.any(inside, axis=0)
        if not math.isnan(self.after):
            chosen &= place_map.timestamps >= self.after
        if not math.isnan(self.before):
            chosen &= place_map.timestamps < self.before
        return np.flatnonzero(chosen)

    def met_by_none(self, place_map: PlaceMap) -> list[str]:
        """Patterns and sources that no reference of a map has, each in a line that says what there is."""
        lines = []
        for glob in self.match:
            pattern = re.compile(fnmatch.translate(glob))
            if not any(map(pattern.match, place_map.ids)):
                lines.append(f"no id matches {glob!r}; the first is {place_map.ids[0]!r}")
        if self.sources:
            there = list(dict.fromkeys(place_map.sources))
            known = ", ".join(map(repr, there[:_SOURCES_NAMED])) + (", …" if len(there) > _SOURCES_NAMED else "")
            lines += [
                f"no reference is of source {name!r}; there are {known}" for name in self.sources if name not in there
            ]
        return lines


def _those(names: Iterable[str], meant: Callable[[str], bool]) -> Mask:
    return np.fromiter(map(meant, names), dtype=bool)


def read_ids(path: Path) -> frozenset[str]:
    """Names of references, one a line.

    Raises:
        UsageError: there is no such file, it is no text, or it names none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no list of ids, one a line ({error})") from error
    names = frozenset(line for line in lines if line)
    if not names:
        raise UsageError(f"{path} names no ids")
    return names


def _in_box(place_map: PlaceMap, bbox: tuple[float, float, float, float]) -> Mask:
    west, south, east, north = bbox
    longitude, latitude = place_map.longitude, place_map.latitude
    beside = (longitude >= west, longitude <= east)
    across = beside[0] & beside[1] if west <= east else beside[0] | beside[1]
    return across & (latitude >= south) & (latitude <= north)

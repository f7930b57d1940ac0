"""What became of a map: its references by their ids, before and after."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.place_map.building.placement import EARTH_RADIUS
from dsformer_core.place_map.place_map import PlaceMap

# Below this a reference did not move: positions and headings are kept to the bit, those of CSV files to some digits.
_MOVED_M = 0.001
_TURNED_RAD = 1e-6

_AT_ONCE = 8_192


@dataclass(frozen=True, eq=False)
class Difference:
    """Two maps compared; references are the same where their ids are.

    Attributes:
        before: number of references of the earlier map.
        after: number of references of the later map.
        added: ids that only the later map has, in its order.
        removed: ids that only the earlier map has, in its order.
        moved: ids in both, with another position or heading, in the later map's order.
        moved_m: how far each of these was moved, metres.
        described_anew: ids in both, with another descriptor; where one map keeps float16, rounded to that.
        properties: what the maps say of themselves differently: name -> before and after.
    """

    before: int
    after: int
    added: list[str]
    removed: list[str]
    moved: list[str]
    moved_m: npt.NDArray[np.float64]
    described_anew: list[str]
    properties: dict[str, tuple[Any, Any]]

    @property
    def none(self) -> bool:
        """Whether there is no difference."""
        return not (self.added or self.removed or self.moved or self.described_anew or self.properties)


def difference(
    before: PlaceMap, after: PlaceMap, *, on_progress: Callable[[int], None] = lambda count: None
) -> Difference:
    """Compares two maps.

    Args:
        before: the earlier one.
        after: the later one.
        on_progress: called with the number of references compared since its last call.
    """
    row_of = {name: row for row, name in enumerate(before.ids)}
    names = list(after.ids)
    old = np.array([row_of.get(name, -1) for name in names], dtype=np.int64)
    added = [name for name, row in zip(names, old, strict=True) if row < 0]
    stayed = np.zeros(before.count, dtype=bool)
    new = np.flatnonzero(old >= 0)
    old = old[new]
    stayed[old] = True
    removed = [name for name, stays in zip(row_of, stayed, strict=True) if not stays]

    positions = np.column_stack([before.latitude, before.longitude]), np.column_stack([after.latitude, after.longitude])
    metres = _metres(positions[0][old], positions[1][new])
    headings = np.radians(before.heading_deg[old]), np.radians(after.heading_deg[new])
    moved = (metres > _MOVED_M) | _differ(*headings)
    anew = np.zeros(len(new), dtype=bool)
    for start in range(0, len(new), _AT_ONCE):
        chunk = slice(start, start + _AT_ONCE)
        anew[chunk] = _described_anew(before.descriptors[old[chunk]], after.descriptors[new[chunk]])
        on_progress(len(new[chunk]))
    said = _properties(before), _properties(after)
    return Difference(
        before=before.count,
        after=after.count,
        added=added,
        removed=removed,
        moved=[names[row] for row in new[moved]],
        moved_m=metres[moved],
        described_anew=[names[row] for row in new[anew]],
        properties={name: (value, said[1][name]) for name, value in said[0].items() if value != said[1][name]},
    )


def _described_anew(old: npt.NDArray[np.floating], new: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """(N,) whether descriptors (N, D) and (N, E) differ."""
    if old.shape != new.shape:
        return np.ones(len(old), dtype=bool)
    coarser = min(old.dtype, new.dtype, key=lambda dtype: dtype.itemsize)
    differing: npt.NDArray[np.bool_] = (old.astype(coarser) != new.astype(coarser)).any(axis=1)
    return differing


def _properties(place_map: PlaceMap) -> dict[str, Any]:
    datum = place_map.datum
    details = (f"{key} {value}" for key, value in place_map.index.details().items())
    return {
        "model": place_map.model_name,
        "weights": f"{place_map.weights} ({place_map.weights_sha256[:12]})",
        "precision": place_map.precision,
        "descriptors": f"{place_map.descriptor_dim} x {place_map.descriptors.dtype}",
        "index": ", ".join([place_map.index_kind, *details]),
        "utm_zone": str(place_map.zone),
        "datum": f"{datum.latitude:.7f}, {datum.longitude:.7f}, {datum.altitude:.2f}",
        "altitude_reference": place_map.altitude_reference,
        "thumbnails": place_map.has_thumbnails,
    }


def _metres(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distances (N,) between positions (N, 2) in degrees, by the great circle: the maps may have different zones."""
    latitudes, longitudes = np.radians(first[:, 0]), np.radians(first[:, 1])
    north, east = np.radians(second[:, 0]) - latitudes, np.radians(second[:, 1]) - longitudes
    half = np.sin(north / 2) ** 2 + np.cos(latitudes) * np.cos(latitudes + north) * np.sin(east / 2) ** 2
    return 2 * EARTH_RADIUS * np.arcsin(np.sqrt(half))


def _differ(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether angles differ; unknown ones do from known ones."""
    turned = np.abs(np.remainder(second - first + np.pi, 2 * np.pi) - np.pi)
    return (np.isnan(first) != np.isnan(second)) | (turned > _TURNED_RAD)

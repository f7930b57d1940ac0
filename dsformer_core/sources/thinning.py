"""Fewer pictures where a vehicle stood still or crept: one every so many metres, and one after every turn."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import UsageError
from dsformer_core.sources.source import GeotaggedPicture, Skipped, Source
from dsformer_core.tangent_plane import metres_per_degree

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Thinning:
    """When a picture is kept: enough was gone, or enough was turned, since the last one that was.

    Attributes:
        every_metres: distance that suffices; 0 keeps every picture, infinity makes distance no reason.
        every_degrees: turn that suffices; 0 keeps every picture, infinity makes turning no reason.
    """

    every_metres: float = math.inf
    every_degrees: float = math.inf

    def __post_init__(self) -> None:
        for name, value in (("--every-metres", self.every_metres), ("--every-degrees", self.every_degrees)):
            if not value >= 0:
                raise UsageError(f"{name} is {value}: it must be 0 or more")

    def keep(self, latitude: Array, longitude: Array, heading_deg: Array) -> npt.NDArray[np.bool_]:
        """Which of the pictures of one camera, in their order, are kept: the first, and what differs enough.

        Args:
            latitude: (N,) degrees.
            longitude: (N,) degrees.
            heading_deg: (N,) degrees; NaN, where unknown, is no turn.

        Returns:
            (N,) bool.
        """
        kept = np.zeros(len(latitude), np.bool_)
        per_latitude, per_longitude = metres_per_degree(latitude)
        last = -1
        for row in range(len(latitude)):
            if last >= 0:
                north = (latitude[row] - latitude[last]) * per_latitude[row]
                east = ((longitude[row] - longitude[last] + 180) % 360 - 180) * per_longitude[row]
                turn = abs((heading_deg[row] - heading_deg[last] + 180) % 360 - 180)
                # Not the other way round: a turn that is unknown is no reason.
                if not (math.hypot(north, east) >= self.every_metres or turn >= self.every_degrees):
                    continue
            kept[row] = True
            last = row
        return kept


class ThinnedSource:
    """Any source with fewer pictures. Those in one folder, or of one topic, are one camera's."""

    def __init__(self, source: Source, thinning: Thinning) -> None:
        """Nothing is read yet."""
        self.name = source.name
        self._source = source
        self._thinning = thinning

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Finds the source's pictures and keeps some of them. See `Source.scan`."""
        pictures, skipped = self._source.scan(on_progress)
        rows_of: dict[str, list[int]] = {}
        for row, picture in enumerate(pictures):
            rows_of.setdefault(PurePosixPath(picture.id).parent.as_posix(), []).append(row)
        kept: list[int] = []
        for rows in rows_of.values():
            columns = [(pictures[row].latitude, pictures[row].longitude, pictures[row].heading_deg) for row in rows]
            kept += np.array(rows)[self._thinning.keep(*np.array(columns).T)].tolist()
        return [pictures[row] for row in sorted(kept)], skipped

"""Where a drive's pictures were taken, which is known long before they are described."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsformer_core.geodesy import to_utm
from dsformer_core.localization.fusion.replay import Drive
from dsformer_core.place_map import PlaceMap
from dsformer_core.sources.source import GeotaggedPicture, Skipped, Source


@dataclass(eq=False)
class ScannedSource:
    """A source that was looked through once, and is not again.

    Attributes:
        name: the source's.
        pictures: in its order.
        skipped: what was left out, and why.
    """

    name: str
    pictures: list[GeotaggedPicture]
    skipped: list[Skipped]

    @classmethod
    def of(cls, source: Source) -> "ScannedSource":
        """Looks through a source.

        Raises:
            DsformerError: it cannot be read.
        """
        return cls(source.name, *source.scan())

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """What was found, as `Source.scan` gives it."""
        if on_progress is not None:
            on_progress(len(self.pictures))
        return self.pictures, self.skipped

    def mapped(self, place_map: PlaceMap) -> NDArray[np.bool_]:
        """(N,) what `Drive.mapped` tells of the pictures."""
        latitude = np.array([picture.latitude for picture in self.pictures])
        longitude = np.array([picture.longitude for picture in self.pictures])
        unknown = np.full(len(self.pictures), np.nan)
        return Drive(unknown, to_utm(latitude, longitude, place_map.zone), unknown, []).mapped(place_map)

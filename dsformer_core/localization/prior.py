"""Where the robot is, roughly, as somebody else knows it: GPS in a street canyon, a filter, a person with a mouse."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsformer_core.errors import DsformerError
from dsformer_core.geodesy import check_latlon, to_utm
from dsformer_core.localization.verdict import Verdict
from dsformer_core.place_map import PlaceMap

MOST_NEAR = 20_000
"""References in a circle beyond which all of the map is searched: those of a circle are compared one by one, read from
disk, and more of them would take longer than the index takes for the whole map."""


@dataclass(frozen=True, eq=False)
class Prior:
    """A rough position, around which a map is searched and nowhere else.

    Attributes:
        utm: (2,) easting, northing in the map's zone, metres.
        radius: metres around it, > 0.
        source: where it is from, for people.
    """

    utm: NDArray[np.float64]
    radius: float
    source: str

    @classmethod
    def at_latlon(cls, place_map: PlaceMap, latitude: float, longitude: float, radius: float, source: str) -> "Prior":
        """From WGS-84 degrees.

        Raises:
            DsformerError: that is no position, or lies where the map's zone has no coordinates.
        """
        check_latlon(latitude, longitude)
        return cls(np.asarray(to_utm(latitude, longitude, place_map.zone), np.float64).reshape(2), radius, source)

    @classmethod
    def at_local(cls, place_map: PlaceMap, x: float, y: float, radius: float, source: str) -> "Prior":
        """From metres in the ROS `map` frame.

        Raises:
            DsformerError: a number is not finite.
        """
        if not (math.isfinite(x) and math.isfinite(y)):
            raise DsformerError(f"{source}: {x}, {y} is no position")
        return cls(np.asarray(place_map.frame.to_utm(np.array([x, y])), np.float64).reshape(2), radius, source)

    def look(self, place_map: PlaceMap) -> "Look":
        """How a map is searched with it: around it, or everywhere where that is hardly more."""
        near = place_map.count_near(self.utm, self.radius)
        where = f"within {self.radius:.0f} m of {self.source}"
        if near > MOST_NEAR:
            return Look({}, f"everywhere: {near:,} references are {where}")
        return Look({"near": self.utm, "radius": self.radius}, where if near else f"{where}, where no reference is")


@dataclass(frozen=True, eq=False)
class Look:
    """Where a map is searched.

    Attributes:
        circle: what `PlaceMap.search` takes of it.
        words: the same for people; empty where nothing was known.
    """

    circle: dict[str, Any]
    words: str

    def told(self, verdict: Verdict) -> Verdict:
        """A verdict that says so, too."""
        return replace(verdict, reason=f"{verdict.reason}; looked {self.words}") if self.words else verdict


def look(prior: Prior | None, place_map: PlaceMap) -> Look:
    """How a map is searched with what is known of the position, or, with None, nothing."""
    return Look({}, "") if prior is None else prior.look(place_map)


def radius_of(covariance: ArrayLike, *, sigmas: float, least: float) -> float:
    """Metres around a position in which the truth is to be looked for.

    Args:
        covariance: (2, 2) in m^2, east and north; all zero where it is not known.
        sigmas: how many standard deviations, along the direction in which the position is least certain.
        least: metres.

    Returns:
        At least `least`.

    Raises:
        DsformerError: it is no covariance.
    """
    matrix = np.asarray(covariance, np.float64)
    if matrix.shape != (2, 2) or not np.isfinite(matrix).all():
        raise DsformerError("the covariance of a prior has numbers that are not finite")
    smallest, largest = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    if smallest < -1e-6 * max(1.0, abs(largest)):
        raise DsformerError("the covariance of a prior has a negative variance")
    return max(least, sigmas * math.sqrt(max(largest, 0.0)))

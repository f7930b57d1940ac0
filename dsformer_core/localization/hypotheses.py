"""Retrieved references, grouped into places, each place a pose hypothesis."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import wrap_angle
from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.places import REFERENCE_STD, place_leaders
from dsformer_core.place_map.pseudo_queries import CANDIDATES

YAW_FLOOR = np.radians(15.0)
"""Radians. A picture is recognised although it looks some way past its reference: half of the 30 degrees between
neighbouring views of the field's data sets is how well a reference's direction tells the query's."""

UNKNOWN_YAW_VARIANCE = np.pi**2
"""rad^2, of a yaw about which nothing is known; a known one never has more."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A coarse pose.

    Attributes:
        utm: (2,) float64 easting, northing in the map's zone.
        altitude: metres, NaN where no reference has one.
        yaw: of base_frame, radians in (-pi, pi], ENU about the grid's axes; NaN where no reference has one.
        covariance: (3, 3) over (east, north, yaw), m^2 and rad^2. Given that the place is right: positive definite,
            at least max(the map's spacing, `REFERENCE_STD`) along every direction, unless a drive taught that the map
            is better than that; yaw variance pi^2 where unknown.
        probability: that this is the place, in (0, 1).
        similarity: of its best reference, cosine.
        references: (R,) int64 rows of the map, best first.
    """

    utm: NDArray[np.float64]
    altitude: float
    yaw: float
    covariance: NDArray[np.float64]
    probability: float
    similarity: float
    references: NDArray[np.int64]

    @property
    def position_std(self) -> float:
        """Metres, standard deviation along the direction in which the position is least certain."""
        (east, mixed), (_, north) = self.covariance[:2, :2].tolist()
        return math.sqrt((east + north) / 2 + math.hypot((east - north) / 2, mixed))


def localize(
    matches: Matches, place_map: PlaceMap, config: LocalizationConfig | None = None, *, camera_yaw: float = 0.0
) -> list[Hypothesis]:
    """Turns the matches of one query into pose hypotheses.

    Hypotheses are the places that the map's calibration was fitted to (`places.place_leaders`): the best reference and
    all within `config.radius` of it that look the same way, then the same with the rest. Two directions along one
    street are two hypotheses. The position is the mean of the place's references, each weighted by
    exp(similarity / impostor spread), and so within `config.radius` of the best one. Its covariance is their scatter
    plus, along both axes, max(spacing of the map, `REFERENCE_STD`)^2: a query lies between references, and these are
    only as exact as GPS. Probabilities come from the map's calibration; a drive that taught better (`dsformer map
    calibrate`) corrects both.

    Args:
        matches: of one query; more than `config.top_k` are cut.
        place_map: the map that was searched.
        config: the defaults when None.
        camera_yaw: yaw of the camera's optical axis in base_frame, radians.

    Returns:
        Hypotheses, most probable first. Their probabilities sum to less than 1; the rest is "none of these".

    Raises:
        UsageError: `matches` are of several queries, or `camera_yaw` is not finite.
    """
    config = config or LocalizationConfig()
    if len(matches) != 1:
        raise UsageError(f"localize takes the matches of one query, these are of {len(matches)}: index them")
    if not np.isfinite(camera_yaw):
        raise UsageError(f"camera_yaw = {camera_yaw} is not an angle")
    rows, similarities = matches.indices[0][: config.top_k], matches.similarities[0][: config.top_k].astype(np.float64)
    if not len(rows):
        return []
    # Ties in the order of rows, whatever order they came in.
    order = np.lexsort((rows, -similarities))
    rows, similarities = rows[order], similarities[order]
    calibration = place_map.calibration
    weights = np.exp((similarities - similarities[0]) / calibration.impostor_spread)
    # Relative to the best match: sums of UTM northings would lose the last digits.
    origin = place_map.utm[rows[0]]
    offsets, yaw = place_map.utm[rows] - origin, place_map.yaw[rows]

    leader = place_leaders(offsets[None], yaw[None], config.radius)[0]
    leads = np.unique(leader)
    elsewhere = None
    among = place_map.count if matches.among is None else int(matches.among[0])
    if len(leads) == 1 and len(rows) < min(CANDIDATES, among):
        # Too few matches to see a rival place: the best one may score as much as the last match.
        elsewhere = float(similarities[-1])
    correction = place_map.recalibration.single
    probabilities = correction.probabilities(calibration.probabilities(similarities[leads], elsewhere=elsewhere))

    belongs = leader[None, :] == leads[:, None]
    weight = np.where(belongs, weights, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    position = weight @ offsets
    away = offsets[None] - position[:, None]
    floor = max(place_map.spacing, REFERENCE_STD) ** 2
    covariance = np.zeros((len(leads), 3, 3))
    # Entry by entry: symmetric to the last bit.
    for one, other in ((0, 0), (0, 1), (1, 1)):
        covariance[:, one, other] = covariance[:, other, one] = (weight * away[..., one] * away[..., other]).sum(axis=1)
    covariance[:, (0, 1), (0, 1)] += floor
    covariance[:, :2, :2] *= correction.spread
    group_yaw, covariance[:, 2, 2] = _mean_yaw(yaw, weight)
    group_yaw = wrap_angle(group_yaw - camera_yaw)
    altitude = _mean_altitude(place_map.altitude[rows], weight)
    return [
        Hypothesis(
            utm=origin + position[group],
            altitude=float(altitude[group]),
            yaw=float(group_yaw[group]),
            covariance=covariance[group],
            probability=float(probabilities[group]),
            similarity=float(similarities[leads[group]]),
            references=rows[belongs[group]],
        )
        for group in range(len(leads))
    ]


def _mean_yaw(yaw: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Circular mean of the known yaws (R,) under each of (G, R) weights, and its variance; NaN, pi^2 where none is.

    The variance is that of the wrapped normal distribution with the same resultant length R, -2 ln R, plus `YAW_FLOOR`
    squared.
    """
    known = np.where(np.isfinite(yaw), weight, 0.0)
    total = known.sum(axis=1)
    some = total > 0
    resultant = known @ np.exp(1j * np.nan_to_num(yaw)) / np.where(some, total, 1.0)
    spread = np.maximum(-2 * np.log(np.maximum(np.abs(resultant), 1e-12)), 0.0)
    variance = np.where(some, np.minimum(spread + YAW_FLOOR**2, UNKNOWN_YAW_VARIANCE), UNKNOWN_YAW_VARIANCE)
    return np.where(some, np.angle(resultant), np.nan), variance


def _mean_altitude(altitude: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) metres, of the known ones among (R,); NaN where none is known."""
    known = np.where(np.isfinite(altitude), weight, 0.0)
    total = known.sum(axis=1)
    mean = known @ np.nan_to_num(altitude) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, np.nan)

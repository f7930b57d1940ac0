"""Retrieved references, grouped into places, each place a pose hypothesis."""

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
            at least max(the map's spacing, `REFERENCE_STD`) along every direction; yaw variance pi^2 where unknown.
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
        return float(np.sqrt(np.linalg.eigvalsh(self.covariance[:2, :2])[-1]))


def localize(
    matches: Matches, place_map: PlaceMap, config: LocalizationConfig | None = None, *, camera_yaw: float = 0.0
) -> list[Hypothesis]:
    """Turns the matches of one query into pose hypotheses.

    Hypotheses are the places that the map's calibration was fitted to (`places.place_leaders`): the best reference and
    all within `config.radius` of it that look the same way, then the same with the rest. Two directions along one
    street are two hypotheses. The position is the mean of the place's references, each weighted by
    exp(similarity / impostor spread), and so within `config.radius` of the best one. Its covariance is their scatter
    plus, along both axes, max(spacing of the map, `REFERENCE_STD`)^2: a query lies between references, and these are
    only as exact as GPS. Probabilities come from the map's calibration.

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
    groups = [np.flatnonzero(leader == column) for column in np.unique(leader)]
    best = similarities[[members[0] for members in groups]]
    elsewhere = None
    among = place_map.count if matches.among is None else int(matches.among[0])
    if len(groups) == 1 and len(rows) < min(CANDIDATES, among):
        # Too few matches to see a rival place: the best one may score as much as the last match.
        elsewhere = float(similarities[-1])
    probabilities = calibration.probabilities(best, elsewhere=elsewhere)

    floor = max(place_map.spacing, REFERENCE_STD) ** 2
    hypotheses = []
    for members, probability in zip(groups, probabilities, strict=True):
        weight = weights[members] / weights[members].sum()
        position = weight @ offsets[members]
        group_yaw, yaw_variance = _mean_yaw(yaw[members], weight)
        # Roots of the weights on both sides: a matrix times its own transpose is symmetric to the last bit.
        scatter = np.sqrt(weight)[:, None] * (offsets[members] - position)
        covariance = np.diag([floor, floor, yaw_variance])
        covariance[:2, :2] += scatter.T @ scatter
        altitude = place_map.altitude[rows[members]]
        known = np.isfinite(altitude)
        hypotheses.append(
            Hypothesis(
                utm=origin + position,
                altitude=float(np.average(altitude[known], weights=weight[known])) if known.any() else float("nan"),
                yaw=float(wrap_angle(group_yaw - camera_yaw)),
                covariance=covariance,
                probability=float(probability),
                similarity=float(similarities[members[0]]),
                references=rows[members],
            )
        )
    return hypotheses


def _mean_yaw(yaw: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Circular mean of the known yaws and its variance; (NaN, pi^2) where none is known.

    The variance is that of the wrapped normal distribution with the same resultant length R, -2 ln R, plus `YAW_FLOOR`
    squared.
    """
    known = np.isfinite(yaw)
    if not known.any():
        return float("nan"), float(UNKNOWN_YAW_VARIANCE)
    resultant = np.average(np.exp(1j * yaw[known]), weights=weight[known])
    spread = -2 * np.log(max(float(np.abs(resultant)), 1e-12))
    return float(np.angle(resultant)), float(min(max(spread, 0.0) + YAW_FLOOR**2, UNKNOWN_YAW_VARIANCE))

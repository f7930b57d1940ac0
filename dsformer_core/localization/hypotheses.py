"""Retrieved references, grouped into places, each place a pose hypothesis."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import wrap_angle
from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.calibration import CANDIDATES, compatible_yaw

YAW_FLOOR = np.radians(15.0)
"""Radians. A picture is recognised although it looks some way past its reference: half of the 30 degrees between
neighbouring views of the field's data sets is how well a reference's direction tells the query's."""

UNKNOWN_YAW_VARIANCE = np.pi**2
"""rad^2, of a yaw about which nothing is known; a known one never has more."""

_MAX_SHIFTS = 20
_SETTLED = 0.01


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A coarse pose.

    Attributes:
        utm: (2,) float64 easting, northing in the map's zone.
        altitude: metres, NaN where no reference has one.
        yaw: of base_frame, radians in (-pi, pi], ENU about the grid's axes; NaN where no reference has one.
        covariance: (3, 3) over (east, north, yaw), m^2 and rad^2. Given that the place is right: positive definite,
            at least the map's spacing along every direction; yaw variance pi^2 where the yaw is unknown.
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

    References belong to one hypothesis when mean shift (flat kernel of `config.radius`) leads them to the same mode and
    they look the same way: two directions along one street are two hypotheses. A reference without a yaw joins
    any direction. The position is the mean of the group's references, each weighted by exp(similarity / impostor
    spread); its covariance their scatter plus the squared spacing of the map, for a query lies between references.
    Probabilities come from the map's calibration.

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

    groups = _group(offsets, yaw, weights, config.radius)
    best = similarities[[members[0] for members in groups]]
    elsewhere = None
    if len(groups) == 1 and len(rows) < min(CANDIDATES, place_map.count):
        # Too few matches to see a rival place: the best one may score as much as the last match.
        elsewhere = float(similarities[-1])
    probabilities = calibration.probabilities(best, elsewhere=elsewhere)

    hypotheses = []
    for members, probability in zip(groups, probabilities, strict=True):
        weight = weights[members] / weights[members].sum()
        position = weight @ offsets[members]
        group_yaw, yaw_variance = _mean_yaw(yaw[members], weight)
        # Roots of the weights on both sides: a matrix times its own transpose is symmetric to the last bit.
        scatter = np.sqrt(weight)[:, None] * (offsets[members] - position)
        covariance = np.diag([place_map.spacing**2, place_map.spacing**2, yaw_variance])
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


def _group(
    offsets: NDArray[np.float64], yaw: NDArray[np.float64], weights: NDArray[np.float64], radius: float
) -> list[NDArray[np.int64]]:
    """Mode seeking: groups of row numbers, each best first, in the order of their best."""
    # Positions as complex numbers: one array operation per step instead of one per axis.
    points = offsets[:, 0] + 1j * offsets[:, 1]
    same_way = compatible_yaw(yaw[:, None], yaw[None, :])
    weighted = same_way * weights
    modes = points
    for _ in range(_MAX_SHIFTS):
        pull = weighted * (np.abs(modes[:, None] - points) <= radius)
        total = pull.sum(axis=1)
        # A mode with nothing in reach stays where it is.
        shifted = np.where(total > 0, pull @ points / np.maximum(total, np.finfo(float).tiny), modes)
        moved = np.abs(shifted - modes).max()
        modes = shifted
        if moved < _SETTLED:
            break
    together = same_way & (np.abs(modes[:, None] - modes) <= radius / 2)
    groups = []
    free = np.ones(len(offsets), dtype=bool)
    for leader in range(len(offsets)):
        if free[leader]:
            members = np.flatnonzero(free & together[leader])
            free[members] = False
            groups.append(members)
    return groups


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

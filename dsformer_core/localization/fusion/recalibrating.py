"""What a drive teaches about a map's promises: both corrections of `place_map.recalibration`, and how honest it is.

Each picture is asked twice, as the map's own references were when it was built: as it is, and in a map without what
lies within 50 m of it. Half of the ground is unmapped then, which is what probabilities promise for. slope and offset
maximise

    2 h / N Σ_q ln P_q - ½ ((ln slope / 0.5)² + (offset / 2)²)

with P_q the probability of what was right (the places within 25 m together, or "none of these"), and h the number of
stretches of 25 m, the witnesses, whatever the number N of pictures. `spread` is such that ellipses of 95 % hold as
many of the right best hypotheses, of the drive as it is.

What fusion is off by depends on how far odometry is off, which is one draw for a drive: where it is made, the drive is
driven `DRAWS` times, lest one lucky or unlucky odometry be taken for the map's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.replay import Answers, Drive, ask_fused, ask_singly, made_odometry
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS
from dsformer_core.place_map.recalibration import Correction, Recalibration

ELLIPSE_95 = 5.991
"""Squared Mahalanobis distance in two dimensions within which 95 % lie."""

BINS = 10
DRAWS = 3
_SLOPE_STD, _OFFSET_STD = 0.5, 2.0
_LEAST = 1e-12
_SPREADS = (0.05, 20.0)


@dataclass(frozen=True)
class Honesty:
    """How answers keep what they promise.

    Attributes:
        calibration_error: expected, of the best hypothesis of each picture: the mean difference between what was
            promised and what share was right, over ten steps of probability, each counted by its pictures.
        held: share of right best hypotheses whose 95 % ellipse holds the truth; NaN without any.
        steps: (promised share, kept share, how many) of each step.
    """

    calibration_error: float
    held: float
    steps: list[tuple[float, float, int]]

    @classmethod
    def of(cls, answers: Sequence[Answers]) -> "Honesty":
        """Of some drives together."""
        probability = np.concatenate([one.probability for one in answers])
        error = np.concatenate([one.error for one in answers])
        distance = np.concatenate([one.distance for one in answers])
        right = error <= RIGHT_PLACE_RADIUS
        which = np.minimum((probability * BINS).astype(int), BINS - 1)
        steps = [
            (float(probability[which == step].mean()), float(right[which == step].mean()), int((which == step).sum()))
            for step in range(BINS)
            if (which == step).any()
        ]
        gap = sum(count * abs(promised - kept) for promised, kept, count in steps) / max(len(probability), 1)
        held = float((distance[right] <= ELLIPSE_95).mean()) if right.any() else float("nan")
        return cls(float(gap), held, steps)


def learn(
    place_map: PlaceMap,
    drive: Drive,
    *,
    odometry: NDArray[np.float64] | None = None,
    covariances: NDArray[np.float64] | None = None,
    localization: LocalizationConfig | None = None,
    config: FusionConfig | None = None,
) -> Recalibration:
    """Fits both corrections to a drive.

    Args:
        place_map: the map; what it learnt before is not looked at.
        drive: through it, on another day than its own.
        odometry: (M, 4) stamp, x, y, yaw; `made_odometry` of the drive when None.
        covariances: see `ask_fused`.
        localization: the defaults when None.
        config: the defaults when None.
    """
    localization = localization or LocalizationConfig()
    moves = [made_odometry(drive, seed) for seed in range(DRAWS)] if odometry is None else [odometry]
    unmapped = drive.unmapped(place_map, localization.top_k)
    witnesses = max(1000 * drive.kilometres / RIGHT_PLACE_RADIUS, 1.0)
    learnt = Recalibration()
    with _as_if(place_map, learnt):
        single = _fit(*([ask_singly(place_map, one, localization)] for one in (drive, unmapped)), witnesses=witnesses)
    learnt = Recalibration(single=single, pictures=len(drive))
    with _as_if(place_map, learnt):
        asked = (
            [ask_fused(place_map, one, move, localization, config, covariances=covariances) for move in moves]
            for one in (drive, unmapped)
        )
        fused = _fit(*asked, witnesses=witnesses)
    return replace(learnt, fused=fused)


def honesty(
    place_map: PlaceMap,
    drive: Drive,
    *,
    odometry: NDArray[np.float64] | None = None,
    covariances: NDArray[np.float64] | None = None,
) -> dict[str, Honesty]:
    """Of "single" pictures and of what is "fused" from them, on a drive of which half is as if it were not mapped.

    Args:
        place_map: the map, with what it learnt.
        drive: through it.
        odometry: (M, 4) stamp, x, y, yaw; `made_odometry` of the drive when None, another than `learn` has.
        covariances: see `ask_fused`.
    """
    both = (drive, drive.unmapped(place_map, LocalizationConfig().top_k))
    moves = made_odometry(drive, seed=1) if odometry is None else odometry
    return {
        "single": Honesty.of([ask_singly(place_map, one) for one in both]),
        "fused": Honesty.of([ask_fused(place_map, one, moves, covariances=covariances) for one in both]),
    }


class _as_if:  # noqa: N801 - reads as a statement
    """A map as if it had learnt something, for a while."""

    def __init__(self, place_map: PlaceMap, learnt: Recalibration) -> None:
        self._map, self._learnt, self._before = place_map, learnt, place_map.recalibration

    def __enter__(self) -> None:
        self._map.recalibration = self._learnt

    def __exit__(self, *_: object) -> None:
        self._map.recalibration = self._before


def _fit(mapped: Sequence[Answers], unmapped: Sequence[Answers], *, witnesses: float) -> Correction:
    logs, right, none = _table([*mapped, *unmapped])
    weight = 2 * witnesses / len(none)  # asked twice
    exists = np.isfinite(logs)
    finite = np.where(exists, logs, 0.0)
    lost = ~right.any(axis=1)

    def loss(parameters: NDArray[np.float64]) -> float:
        slope, offset = float(np.exp(parameters[0])), parameters[1]
        raised = np.where(exists, slope * finite + offset, -np.inf)
        total = logsumexp(np.column_stack([raised, slope * none]), axis=1)
        chosen = logsumexp(np.where(right, raised, -np.inf), axis=1)
        said = np.where(lost, slope * none, chosen) - total
        prior = (parameters[0] / _SLOPE_STD) ** 2 + (offset / _OFFSET_STD) ** 2
        return float(-weight * said.sum() + 0.5 * prior)

    found = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    slope, offset = float(np.clip(np.exp(found[0]), 0.05, 5)), float(np.clip(found[1], -10, 10))
    distance = np.concatenate([one.distance[one.error <= RIGHT_PLACE_RADIUS] for one in mapped])
    spread = 1.0
    if len(distance):
        spread = float(np.clip(np.quantile(distance, 0.95) / ELLIPSE_95, *_SPREADS))
    return Correction(slope, offset, spread)


def _table(answers: Sequence[Answers]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """(Q, H) logarithms of probabilities, -inf where there are fewer, which are right, and (Q,) those of none."""
    probabilities = [some for one in answers for some in one.probabilities]
    rights = [some for one in answers for some in one.right]
    most = max(max(map(len, probabilities)), 1)
    logs = np.full((len(probabilities), most), -np.inf)
    right = np.zeros(logs.shape, dtype=bool)
    for row, (some, correct) in enumerate(zip(probabilities, rights, strict=True)):
        logs[row, : len(some)] = np.log(np.maximum(some, _LEAST))
        right[row, : len(some)] = correct
    none = np.log(np.maximum([1.0 - some.sum() for some in probabilities], _LEAST))
    return logs, right, none

"""A drive asked of a map as a robot would ask it: what fusing pictures with odometry is worth there."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_core.errors import UsageError
from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.recalibrating import ELLIPSE_95, Honesty
from dsformer_core.localization.fusion.replay import Answers, Drive, ask_fused, ask_singly, made_odometry
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS

PIECE_M = 100.0
"""Metres of drive, at least, between two kidnappings: so long a robot has to find itself."""

STD_STEPS_M = (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 25.0, math.inf)


@dataclass(frozen=True)
class Kidnapping:
    """One, counted from the first picture at the new place; infinite where it did not happen before the next one.

    Attributes:
        picture: number of that picture.
        was_localized: whether the robot was, rightly, just before.
        noticed_m: metres to the first verdict that is no answer at a wrong place.
        noticed_s: seconds to it.
        regained_m: metres to the first right answer.
        regained_s: seconds to it.
    """

    picture: int
    was_localized: bool
    noticed_m: float
    noticed_s: float
    regained_m: float
    regained_s: float


@dataclass(frozen=True, eq=False)
class Sequence:
    """A drive, and what was answered.

    Attributes:
        place_map: that was asked.
        drive: as it was given to the robot, with its kidnappings.
        odometry: where it came from, in words.
        single: answers to each picture by itself.
        fused: answers of a `Tracker`.
        starts: numbers of the first pictures after kidnappings.
    """

    place_map: PlaceMap
    drive: Drive
    odometry: str
    single: Answers
    fused: Answers
    starts: list[int]

    @property
    def way(self) -> NDArray[np.float64]:
        """(N,) metres driven up to each picture."""
        return np.asarray(np.cumsum(self.drive.steps))

    def kidnappings(self, answers: Answers) -> list[Kidnapping]:
        """What became of each."""
        found, way, stamps = [], self.way, self.drive.stamps
        right = answers.localized & (answers.error <= RIGHT_PLACE_RADIUS)
        for first, last in pairwise([*self.starts, len(self.drive)]):

            def until(happened: NDArray[np.bool_], first: int = first, last: int = last) -> tuple[float, float]:
                when = np.flatnonzero(happened[first:last])
                if not len(when):
                    return math.inf, math.inf
                row = first + int(when[0])
                return float(way[row] - way[first]), float(stamps[row] - stamps[first])

            found.append(Kidnapping(first, bool(right[first - 1]), *until(~answers.false), *until(right)))
        return found

    def unnoticed(self, answers: Answers) -> NDArray[np.bool_]:
        """(N,) false fixes right after a kidnapping, up to the first verdict that is none: nobody could know better."""
        found = np.zeros(len(self.drive), dtype=bool)
        for first, last in pairwise([*self.starts, len(self.drive)]):
            found[first:last] = np.logical_and.accumulate(answers.false[first:last])
        return found

    def numbers(self) -> dict[str, Any]:
        """All of it in plain values: metres, seconds, shares of 1; None where nothing is known."""
        described: dict[str, Any] = {
            "map": str(self.place_map.directory),
            "pictures": len(self.drive),
            "kilometres": self.drive.kilometres,
            "odometry": self.odometry,
            "kidnappings": len(self.starts),
        }
        return described | {name: self._numbers(one) for name, one in (("single", self.single), ("fused", self.fused))}

    def _numbers(self, answers: Answers) -> dict[str, Any]:
        honesty, km = Honesty.of([answers]), max(self.drive.kilometres, 1e-9)
        first = np.flatnonzero(answers.localized & (answers.error <= RIGHT_PLACE_RADIUS))
        unnoticed = self.unnoticed(answers)
        false = answers.false & ~unnoticed
        errors = answers.error[answers.localized]
        kidnappings = self.kidnappings(answers)
        noticed = [one for one in kidnappings if one.was_localized]
        return {
            "answers": int(answers.localized.sum()),
            "availability": float(answers.localized.mean()),
            "false_fixes": int(false.sum()),
            "false_fixes_per_km": float(false.sum() / km),
            "false_fixes_before_noticed": int(unnoticed.sum()),
            "median_error_m": float(np.median(errors)) if len(errors) else None,
            "first_fix_s": float(self.drive.stamps[first[0]] - self.drive.stamps[0]) if len(first) else None,
            "first_fix_m": float(self.way[first[0]]) if len(first) else None,
            "kidnappings": [_finite(vars(one)) for one in kidnappings],
            "noticed_median_s": _median([one.noticed_s for one in noticed]),
            "noticed_median_m": _median([one.noticed_m for one in noticed]),
            "regained_median_m": _median([one.regained_m for one in kidnappings]),
            "calibration_error": honesty.calibration_error,
            "ellipses_95_hold": honesty.held if math.isfinite(honesty.held) else None,
            "reliability": [{"promised": p, "kept": k, "count": n} for p, k, n in honesty.steps],
            "error_by_std": error_by_std(answers),
        }


def evaluate_sequence(
    place_map: PlaceMap,
    drive: Drive,
    *,
    odometry: NDArray[np.float64] | None,
    odometry_words: str,
    covariances: NDArray[np.float64] | None = None,
    kidnap: int = 0,
    seed: int = 0,
    localization: LocalizationConfig | None = None,
    config: FusionConfig | None = None,
) -> Sequence:
    """Asks the drive of the map.

    Args:
        place_map: the map.
        drive: pictures with times and positions.
        odometry: (M, 4) stamp, x, y, yaw of the drive, with `kidnap` 0; None for `made_odometry`; (0, 4) for none.
        odometry_words: where it came from.
        covariances: (M, 3, 3) of its poses, see `ask_fused`.
        kidnap: how many times the robot is carried: the drive is cut into pieces that are driven in another order.
        seed: of their order, and of the odometry that is made.
        localization: the defaults when None.
        config: the defaults when None.

    Raises:
        UsageError: the drive is too short for so many kidnappings.
    """
    starts: list[int] = []
    if kidnap:
        drive, starts = carried(drive, kidnap, seed)
    moves = made_odometry(drive, seed) if odometry is None else odometry
    single = ask_singly(place_map, drive, localization)
    fused = ask_fused(place_map, drive, moves, localization, config, covariances=covariances)
    return Sequence(place_map, drive, odometry_words, single, fused, starts)


def carried(drive: Drive, kidnap: int, seed: int = 0) -> tuple[Drive, list[int]]:
    """The drive in pieces, of which none follows its own predecessor, and where all but the first begin.

    Raises:
        UsageError: a piece would be shorter than `PIECE_M`.
    """
    pieces = kidnap + 1
    if 1000 * drive.kilometres < pieces * PIECE_M:
        raise UsageError(
            f"{1000 * drive.kilometres:.0f} m of drive are too few for {kidnap} kidnappings: "
            f"each piece must be {PIECE_M:.0f} m long"
        )
    bounds = np.searchsorted(np.cumsum(drive.steps), np.linspace(0, 1000 * drive.kilometres, pieces + 1)[1:-1])
    rows = np.split(np.arange(len(drive)), bounds)
    # Two pieces are driven in reverse order, more in a shuffled one without neighbours that belong together.
    random, order = np.random.default_rng(seed), np.arange(pieces)[::-1]
    for _ in range(100):
        tried = random.permutation(pieces)
        if pieces > 2 and not (np.diff(tried) == 1).any():
            order = tried
            break
    gap = float(np.median(np.diff(drive.stamps)))
    stamps: list[NDArray[np.float64]] = []
    for piece in order:
        own = drive.stamps[rows[piece]]
        stamps.append(own - own[0] + (stamps[-1][-1] + gap if stamps else drive.stamps[0]))
    taken = np.concatenate([rows[piece] for piece in order])
    cuts = np.cumsum([len(rows[piece]) for piece in order])[:-1].tolist()
    matches = [drive.matches[row] for row in taken]
    mountings = None if drive.mountings is None else drive.mountings[taken]
    return Drive(np.concatenate(stamps), drive.utm[taken], drive.yaw[taken], matches, tuple(cuts), mountings), cuts


def error_by_std(answers: Answers) -> list[dict[str, Any]]:
    """What right hypotheses were off, by the standard deviation that they promised."""
    right, found = answers.error <= RIGHT_PLACE_RADIUS, []
    for low, high in pairwise(STD_STEPS_M):
        here = right & (answers.std >= low) & (answers.std < high)
        if here.any():
            found.append(
                {
                    "std_from_m": low,
                    "std_to_m": high if math.isfinite(high) else None,
                    "count": int(here.sum()),
                    "median_error_m": float(np.median(answers.error[here])),
                    "p95_error_m": float(np.percentile(answers.error[here], 95)),
                    "ellipses_95_hold": float((answers.distance[here] <= ELLIPSE_95).mean()),
                }
            )
    return found


def _median(values: list[float]) -> float | None:
    """None of nothing, and where half of them are infinite."""
    middle = float(np.median(values)) if values else math.inf
    return middle if math.isfinite(middle) else None


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(one, float) and math.isinf(one) else one for name, one in values.items()}

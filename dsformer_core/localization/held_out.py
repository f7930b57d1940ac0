"""What to expect of a map: some of its references are asked of it, without themselves and their immediate neighbours.

They are asked as the calibration of the map plays its queries (`place_map/calibration.py`), but of other references,
through the map's own index, `localize` and `judge`. They were taken in the light and the traffic of the map; a robot
on another day has it harder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.localization.hypotheses import localize
from dsformer_core.localization.verdict import State, judge
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS, immediate_neighbourhoods
from dsformer_core.place_map.inspection.aliasing import describe_rows
from dsformer_core.place_map.inspection.coverage import squares
from dsformer_core.place_map.places import SAME_SPOT, compatible_yaw

HELD_OUT = 300
"""References that are asked: a share of one in twenty is then known to about one in eighty."""

# What is said of probabilities is said of answers between these.
_STEPS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
_AT_ONCE = 16


@dataclass(frozen=True)
class Reliable:
    """How often hypotheses of about one probability were right.

    Attributes:
        low: probability from which on they are counted here.
        high: probability up to which.
        count: of queries whose best hypothesis was so probable.
        promised: mean of their probabilities, NaN without any.
        kept: share that lay within `RIGHT_PLACE_RADIUS`, NaN without any.
    """

    low: float
    high: float
    count: int
    promised: float
    kept: float


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What Q held-out references were answered.

    Attributes:
        rows: (Q,) int64 rows of the map.
        in_reach: (Q,) bool, whether the map still held a view of the same place: where not, silence is right.
        probability: (Q,) of the best hypothesis, 0 where there was none.
        error: (Q,) metres from the reference to the best hypothesis, infinite where there was none.
        localized: (Q,) bool, whether it was given as an answer.
    """

    rows: npt.NDArray[np.int64]
    in_reach: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    localized: npt.NDArray[np.bool_]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(Q,) whether the best hypothesis lies within `RIGHT_PLACE_RADIUS`."""
        return self.error <= RIGHT_PLACE_RADIUS

    def errors(self) -> npt.NDArray[np.float64]:
        """Metres, of all answers to references in reach."""
        return self.error[self.localized & self.in_reach]

    def reliability(self) -> list[Reliable]:
        """Probabilities against what came of them, all references together."""
        found = []
        for low, high in pairwise(_STEPS):
            chosen = (self.probability >= low) & ((self.probability < high) | (high == _STEPS[-1]))
            some = bool(chosen.any())
            promised = float(self.probability[chosen].mean()) if some else float("nan")
            kept = float(self.right[chosen].mean()) if some else float("nan")
            found.append(Reliable(low, high, int(chosen.sum()), promised, kept))
        return found


def hold_out(
    place_map: PlaceMap,
    *,
    sample: int = HELD_OUT,
    seed: int = 1,
    config: LocalizationConfig | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> HeldOut:
    """Asks a map for some of its own references.

    Args:
        place_map: the map.
        sample: how many at most; no two of one square metre, so that a robot that stood still is asked once.
        seed: of the sample and of the neighbourhoods; 0 is what calibrations are fitted with.
        config: of localization; the defaults when None.
        on_progress: called with how many were answered, and how many will be.
    """
    config = config or LocalizationConfig()
    random = np.random.default_rng(seed)
    shuffled = random.permutation(place_map.count)
    _, _, square = squares(place_map.utm[shuffled], SAME_SPOT, place_map.count)
    rows = shuffled[np.sort(np.unique(square, return_index=True)[1])[:sample]]
    radii = immediate_neighbourhoods(place_map.spacing, len(rows), random)
    tree = cKDTree(place_map.utm)
    in_reach = np.zeros(len(rows), dtype=bool)
    probability, error = np.zeros(len(rows)), np.full(len(rows), np.inf)
    localized = np.zeros(len(rows), dtype=bool)
    on_progress(0, len(rows))
    for start in range(0, len(rows), _AT_ONCE):
        asked = range(start, min(start + _AT_ONCE, len(rows)))
        removed = [
            np.union1d(near, row).astype(np.int64)
            for near, row in zip(
                tree.query_ball_point(place_map.utm[rows[asked]], radii[asked]), rows[asked], strict=True
            )
        ]
        k = min(place_map.count, config.top_k + max(len(one) for one in removed))
        matches = place_map.search(describe_rows(place_map, rows[asked]), k)
        for number, found, without in zip(asked, matches, removed, strict=True):
            in_reach[number] = _in_reach(place_map, tree, rows[number], without)
            left = ~np.isin(found.indices[0], without)
            hypotheses = localize(Matches(found.indices[:, left], found.similarities[:, left]), place_map, config)
            if hypotheses:
                probability[number] = hypotheses[0].probability
                error[number] = np.hypot(*(hypotheses[0].utm - place_map.utm[rows[number]]))
                localized[number] = judge(hypotheses, config).state is State.LOCALIZED
        on_progress(asked.stop, len(rows))
    return HeldOut(rows, in_reach, probability, error, localized)


def _in_reach(place_map: PlaceMap, tree: cKDTree, row: np.int64, removed: npt.NDArray[np.int64]) -> bool:
    """Whether the place of a reference is in the map without those removed."""
    around = np.array(tree.query_ball_point(place_map.utm[row], RIGHT_PLACE_RADIUS), dtype=np.int64)
    left = np.setdiff1d(around, removed)
    return bool(compatible_yaw(place_map.yaw[left], place_map.yaw[row]).any())

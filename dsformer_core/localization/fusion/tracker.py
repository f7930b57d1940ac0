"""A recursive Bayes filter over one map: what all pictures and odometry together say of where the robot is.

Pictures come late and out of order: a network takes its time, and cameras take different ones. The belief after each
picture of the last `FusionConfig.history` seconds is kept. A late picture is put where its stamp belongs, and what came
after it is applied again, so that the belief is the one that pictures in order would have given; moving the late one
forward instead would count its motion noise twice and could not tell what a picture in between has already said.
Odometry that fills in what was known less well has the pictures after it applied again, too. What is older than all
that is kept is left out.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsformer_core.errors import UsageError
from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.localization.fusion.belief import LOST_STD, Belief
from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.judgement import judge_belief
from dsformer_core.localization.fusion.measurement import Circle, Observation
from dsformer_core.localization.fusion.mixture import VAGUE_HEADING, Mixture
from dsformer_core.localization.fusion.odometry import Odometry
from dsformer_core.localization.hypotheses import UNKNOWN_YAW_VARIANCE, Hypothesis, localize
from dsformer_core.localization.verdict import State, Verdict
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.places import REFERENCE_STD

PRIOR_SHARE = 0.9
"""What a given pose weighs: people click on the wrong crossing now and then."""

UNTHOUGHT_OF = 0.05
"""Of that weight, what a hypothesis of its own gets beside those that agree with it: as much as theirs where they had
this weight before."""

AGREES = 13.3
"""Squared Mahalanobis distance, over position and heading vector, up to which a hypothesis agrees with a given pose:
99 % of those that are meant lie within."""

NOWHERE_NEAR = 100.0
"""Metres, beside three standard deviations, from the nearest reference beyond which a given pose is none of the map."""

MOST_EVENTS = 512
"""Pictures that are remembered at most, however many come in a second."""

LEAST_YAW_STD = math.radians(3.0)
"""Radians. The direction of a reference is that of a compass or of a drive, no surer, however many agree."""

MERGE_RADIUS = 4.0
"""Metres within which two hypotheses are one: what a reference's position is worth."""

WELL_KNOWN = 0.1
"""Seconds after an odometry message for which the motion is known well enough: the next message changes it too little
for a picture to be applied again."""

STANDS = 3.0, 0.5
"""Seconds, and metres: a robot that went no further meanwhile stands."""

DRIVE_ON = "the robot stands, and pictures from one place say little: drive on"
"""What helps then."""

PUBLISHED = 1e-3
"""Probability below which a place is of no use to anybody; it counts as elsewhere."""

_CELL = 25.0

_stamp: Callable[["Observation | _Given | Belief"], float] = attrgetter("stamp")


@dataclass(frozen=True, eq=False)
class Estimate:
    """What is known of the robot's pose at one moment.

    Attributes:
        stamp: seconds.
        hypotheses: places, most probable first, with fused probabilities and covariances; the rows are those of the
            last picture that supported them.
        elsewhere: probability of none of them.
        verdict: whether the first is an answer, with hysteresis, and why or why not.
        singles: what the last picture alone said, for people.
    """

    stamp: float
    hypotheses: list[Hypothesis]
    elsewhere: float
    verdict: Verdict
    singles: list[Hypothesis]


@dataclass(frozen=True, eq=False)
class _Given:
    """A rough pose that somebody gave."""

    stamp: float
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def update(self, belief: Belief) -> Belief:
        """The belief in which the pose is right with `PRIOR_SHARE`, whoever said so how often before.

        It only says which hypotheses are meant: it moves none, and is no picture that would confirm one.
        """
        mixture = belief.mixture
        away = mixture.mean - self.mean
        inverse = np.linalg.inv(mixture.covariance + self.covariance)
        agrees = (away[:, None, :] @ inverse @ away[:, :, None])[:, 0, 0] <= AGREES
        agreed = float(mixture.weight[agrees].sum())
        if agreed >= PRIOR_SHARE:
            return belief
        born = PRIOR_SHARE * UNTHOUGHT_OF / (UNTHOUGHT_OF + agreed)
        others = (1 - PRIOR_SHARE) / (1 - agreed)
        raised = (PRIOR_SHARE - born) / max(agreed, 1e-300)
        given = Mixture.blank(1)
        given.weight, given.mean, given.covariance = born, self.mean, self.covariance
        given.doubted, given.similarity, given.altitude = (0.0, 0.0, 0.0, np.inf), np.nan, np.nan
        after = Mixture.joined(mixture, given)
        after.weight[:-1] *= np.where(agrees, raised, others)
        return replace(belief, mixture=after, outside=belief.outside * others, anywhere=belief.anywhere * others)


class Tracker:
    """Tracks one robot in one map.

    Not for several threads at a time. What a picture costs is bounded, whatever the size of the map.

    Attributes:
        odometry: what `add_odometry` took in.

    Args:
        place_map: the map that pictures are searched in.
        localization: how matches become places; the defaults when None.
        config: of the filter; the defaults when None.
    """

    def __init__(
        self,
        place_map: PlaceMap,
        localization: LocalizationConfig | None = None,
        config: FusionConfig | None = None,
    ) -> None:
        self.place_map = place_map
        self.localization = localization or LocalizationConfig()
        self.config = config or FusionConfig()
        self._origin = place_map.utm[0].copy() if place_map.count else np.zeros(2)
        self._places = _count_places(place_map)
        self._floor = max(place_map.spacing, REFERENCE_STD) ** 2
        # A map whose references lie far apart never tells a position better than that, and must come to answers, too.
        coarsest = min(max(self.config.max_std, 2 * math.sqrt(self._floor)), 1000.0)
        self._judged_by = replace(self.config, max_std=coarsest)
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the pictures, the odometry, and where the robot was."""
        self.odometry = Odometry(self.config)
        self._events: list[Observation | _Given] = []
        self._beliefs: list[Belief] = []  # after each event; one more in front, from which all began
        self._stale_from = math.inf
        self._forgotten = -math.inf
        self._last_judged: tuple[Belief | None, Any] = (None, None)

    def add_odometry(
        self, stamp: float, x: float, y: float, yaw: float, covariance: NDArray[np.float64] | None = None
    ) -> None:
        """Takes in a pose of base_frame in the odometry frame, which is continuous and drifts.

        Late and repeated ones are put where their stamps belong. Numbers that are not finite are left out.

        Args:
            stamp: seconds.
            x: metres.
            y: metres.
            yaw: radians.
            covariance: (3, 3) over (x, y, yaw); None where unknown. Its growth is used, where it grows.
        """
        self._stale_from = min(self._stale_from, self.odometry.add(stamp, x, y, yaw, covariance))

    def add_picture(
        self,
        stamp: float,
        matches: Matches,
        *,
        camera_yaw: float = 0.0,
        camera: int = 0,
        singles: list[Hypothesis] | None = None,
        within: tuple[ArrayLike, float] | None = None,
    ) -> Estimate:
        """Takes in what a search found for one picture.

        Args:
            stamp: seconds, of the picture.
            matches: of one query.
            camera_yaw: of the camera's optical axis in base_frame, radians; NaN where the mounting is unknown.
            camera: which one, where there are several.
            singles: what `localize` says of the matches with this `camera_yaw`, where that is known already.
            within: (2,) easting and northing, and radius in metres, of the circle outside of which was not searched;
                None for all of the map.

        Returns:
            What is known at the newest stamp; that is without the picture where it is older than all that is
            remembered.

        Raises:
            UsageError: `matches` are of several queries, or `stamp` is not finite.
        """
        _check_stamp(stamp)
        if singles is None:
            mounted = camera_yaw if math.isfinite(camera_yaw) else 0.0
            singles = localize(matches, self.place_map, self.localization, camera_yaw=mounted)
        circle = None
        if within is not None:
            among = self.place_map.count if matches.among is None else int(matches.among[0])
            middle = np.asarray(within[0], np.float64) - self._origin
            circle = Circle(middle, float(within[1]), among / max(self.place_map.count, 1))
        event = Observation.of(
            stamp, matches, singles, self._origin, camera_yaw, camera, circle, top_k=self.localization.top_k
        )
        self._insert(event)
        newest = self._events[-1].stamp if self._events else stamp
        return self._estimate(newest, event.singles)

    def set_prior(self, stamp: float, utm: ArrayLike, covariance: ArrayLike, yaw: float = math.nan) -> bool:
        """Takes in a rough pose that somebody gave: a strong hypothesis; others and "elsewhere" stay possible.

        It is no answer before a picture confirms it, and the same pose given again says nothing new.

        Args:
            stamp: seconds.
            utm: (2,) easting and northing in the map's zone, metres.
            covariance: (2, 2) over east and north, or (3, 3) over east, north and yaw, m^2 and rad^2.
            yaw: radians, NaN where unknown.

        Returns:
            Whether it counts; a pose older than all that is remembered does not.

        Raises:
            UsageError: a number is not finite, the covariance is none, or the map has nothing near the pose.
        """
        _check_stamp(stamp)
        position, matrix = np.asarray(utm, np.float64), np.array(covariance, np.float64)
        if position.shape != (2,) or not np.isfinite(position).all():
            raise UsageError(f"{position} is no position")
        if matrix.shape not in ((2, 2), (3, 3)) or not np.isfinite(matrix).all():
            raise UsageError("the covariance of a given pose is no (2, 2) or (3, 3) matrix of finite numbers")
        matrix = matrix / 2 + matrix.T / 2
        variances, axes = np.linalg.eigh(matrix[:2, :2])
        # Each by itself: a yaw that is as good as unknown excuses no negative variance of the position.
        if variances[0] < -1e-6 * max(1.0, variances[1]) or (len(matrix) == 3 and matrix[2, 2] < -1e-6):
            raise UsageError("the covariance of a given pose has a negative variance")
        deviation = math.sqrt(max(float(variances[1]), 0.0))
        nearest = float(np.hypot(*(self.place_map.utm - position).T).min()) if self.place_map.count else math.inf
        if nearest > NOWHERE_NEAR + 3 * deviation:
            raise UsageError(
                f"the given pose lies {nearest:,.0f} m from the nearest reference of {self.place_map.name}"
            )
        mean, spread = np.zeros(4), np.zeros((4, 4))
        mean[:2] = position - self._origin
        # Wider than what is lost it says nothing, and rounds everything else away.
        spread[:2, :2] = axes @ np.diag(variances.clip(0, (2 * LOST_STD) ** 2)) @ axes.T + np.eye(2)
        variance = float(matrix[2, 2]) if len(matrix) == 3 else math.radians(20.0) ** 2
        if math.isfinite(yaw) and variance < UNKNOWN_YAW_VARIANCE:
            mean[2:] = math.cos(yaw), math.sin(yaw)
            spread[2, 2] = spread[3, 3] = (1 - math.exp(-2 * max(variance, LEAST_YAW_STD**2))) / 2
        else:
            spread[2, 2] = spread[3, 3] = 0.5
        return self._insert(_Given(stamp, mean, spread))

    def estimate(self, stamp: float | None = None) -> Estimate:
        """What is known at a moment, moved there by odometry.

        Args:
            stamp: seconds; that of the newest picture when None.

        Raises:
            UsageError: `stamp` is not finite.
        """
        if stamp is not None:
            _check_stamp(stamp)
        self._refresh()
        last = next((event for event in reversed(self._events) if isinstance(event, Observation)), None)
        newest = self._events[-1].stamp if self._events else 0.0
        return self._estimate(newest if stamp is None else stamp, last.singles if last else [])

    def _insert(self, event: Observation | _Given) -> bool:
        """Puts an event where it belongs and applies what follows from it; False where it comes too late for that."""
        if event.stamp < self._forgotten:
            return False
        at = bisect_right(self._events, event.stamp, key=_stamp)
        if isinstance(event, Observation):
            here = self._events[bisect_left(self._events, event.stamp, key=_stamp) : at]
            if any(isinstance(one, Observation) and event.same_as(one) for one in here):
                return True
        if not self._beliefs:
            self._beliefs.append(Belief.nothing(event.stamp))
        elif at == 0 and event.stamp < self._beliefs[0].stamp:
            # Before the very first: nothing was known then, either.
            self._beliefs[0] = Belief.nothing(event.stamp)
        self._events.insert(at, event)
        self._beliefs = self._beliefs[: at + 1]
        self._refresh()
        oldest = self._events[-1].stamp - self.config.history
        old = max(bisect_left(self._events, oldest, key=_stamp), len(self._events) - MOST_EVENTS)
        if old > 0:
            self._forgotten = self._beliefs[old].stamp
            del self._events[:old], self._beliefs[:old]
        return True

    def _refresh(self) -> None:
        """Applies all events again that follow on something new."""
        kept = bisect_right(self._beliefs, self._stale_from + WELL_KNOWN, key=_stamp)
        del self._beliefs[max(kept, 1) :]
        self._stale_from = math.inf
        for event in self._events[len(self._beliefs) - 1 :] if self._beliefs else []:
            self._beliefs.append(self._applied(self._beliefs[-1], event))

    def _applied(self, belief: Belief, event: Observation | _Given) -> Belief:
        moved = self._moved(belief, event.stamp)
        if isinstance(event, _Given):  # noqa: SIM108 - one line would be too long for its types
            after = event.update(moved)
        else:
            after = event.update(moved, self._places, self.config)
        if after is not moved:
            after = after.holding(after.mixture.merged(MERGE_RADIUS, int(self.config.hypotheses), spread=True))
        found = self._judged(after)
        hypotheses, _, verdict = found
        answered = np.zeros(len(after), bool)
        if verdict.state is State.LOCALIZED:
            away = after.mixture.mean[:, :2] - (hypotheses[0].utm - self._origin)
            answered |= np.hypot(away[:, 0], away[:, 1]) <= self.localization.radius
        after = after.answering(answered)
        self._last_judged = after, found
        return after

    def _moved(self, belief: Belief, stamp: float) -> Belief:
        if stamp <= belief.stamp:
            return belief
        return belief.moved(self.odometry.between(belief.stamp, stamp), stamp, self.config)

    def _estimate(self, stamp: float, singles: list[Hypothesis]) -> Estimate:
        at = bisect_right(self._beliefs, stamp, key=_stamp) - 1
        belief = self._moved(self._beliefs[at], stamp) if at >= 0 else Belief.nothing(stamp)
        hypotheses, elsewhere, verdict = self._judged(belief)
        if stamp < self._forgotten:
            too_late = f"{self._events[-1].stamp - stamp:.1f} s older than the newest picture, and no more remembered"
            verdict = Verdict(State.NO_MATCH, too_late)
        return Estimate(stamp, hypotheses, elsewhere, verdict, singles)

    def _judged(self, belief: Belief) -> tuple[list[Hypothesis], float, Verdict]:
        judged, found = self._last_judged
        if judged is belief:
            return found
        places = belief.mixture.merged(
            self.localization.radius, int(self.config.hypotheses), spread=False, least=PUBLISHED / 10
        )
        places = places[places.weight >= PUBLISHED]
        promised = self.place_map.recalibration.fused.probabilities(places.weight)
        elsewhere = max(1.0 - float(promised.sum()), 0.0)
        hypotheses = self._hypotheses(places, promised)
        verdict = judge_belief(
            hypotheses,
            places.doubted[0].tolist() if len(places) else [0.0] * 4,
            elsewhere,
            self._judged_by,
            answered=bool(len(places) and places.answered[0] > 0),
            pictures=len(self._events),
        )
        seconds, metres = STANDS
        stands = verdict.state is not State.LOCALIZED and self.odometry.stood(
            belief.stamp - seconds, belief.stamp, metres
        )
        if stands and len(places):
            verdict = replace(verdict, reason=f"{verdict.reason}; {DRIVE_ON}")
        found = hypotheses, elsewhere, verdict
        self._last_judged = belief, found
        return found

    def _hypotheses(self, places: Mixture, promised: NDArray[np.float64]) -> list[Hypothesis]:
        """What is published of the places of a belief, given the probability of each."""
        scale = self.place_map.recalibration.fused.spread
        yaws, covariances = [], []
        # As Python's numbers: there are seldom many places, and steps on arrays that short cost more.
        for (_, _, cosine, sine), spread in zip(places.mean.tolist(), places.covariance.tolist(), strict=True):
            yaw, variance = _yaw(cosine, sine, spread[2][2], spread[2][3], spread[3][3])
            a, b, d = _at_least(spread[0][0], spread[0][1], spread[1][1], self._floor)
            yaws.append(yaw)
            covariances.append([[scale * a, scale * b, 0.0], [scale * b, scale * d, 0.0], [0.0, 0.0, variance]])
        utm, covariance, references = places.mean[:, :2] + self._origin, np.array(covariances), places.references()
        altitudes, similarities = places.altitude.tolist(), places.similarity.tolist()
        return [
            Hypothesis(
                utm=utm[number],
                altitude=altitudes[number],
                yaw=yaws[number],
                covariance=covariance[number],
                probability=min(probability, 1 - 1e-9),
                similarity=similarities[number],
                references=references[number],
            )
            for number, probability in enumerate(promised.tolist())
        ]


def _yaw(cosine: float, sine: float, a: float, b: float, d: float) -> tuple[float, float]:
    """Yaw and its variance, of a mean heading vector and its covariance [a b; b d]; NaN where as good as unknown."""
    length = math.hypot(cosine, sine)
    variance = (sine * sine * a - 2 * sine * cosine * b + cosine * cosine * d) / max(length, 1e-9) ** 4
    if not (length >= VAGUE_HEADING and variance < UNKNOWN_YAW_VARIANCE / 4):
        return math.nan, UNKNOWN_YAW_VARIANCE
    return math.atan2(sine + 0.0, cosine), max(variance, LEAST_YAW_STD**2)


def _at_least(a: float, b: float, d: float, floor: float) -> tuple[float, float, float]:
    """a, b and d of V = [a b; b d] with no direction surer than `floor`, m^2, what the map is.

    V = m I + D with m half its trace has the eigenvalues m ± r, r the root of half the sum of the squares of D, and
    l I + (s / r) D the eigenvalues l ± s along the same directions.
    """
    middle, aside = (a + d) / 2, (a - d) / 2
    radius = math.hypot(aside, b)
    largest, smallest = max(middle + radius, floor), max(middle - radius, floor)
    middle, stretch = (largest + smallest) / 2, (largest - smallest) / 2 / max(radius, 1e-300)
    return middle + stretch * aside, stretch * b, middle - stretch * aside


def _count_places(place_map: PlaceMap) -> float:
    """How many places that could be told apart a map has: squares of 25 m, by quarters of the compass."""
    utm, yaw = place_map.utm, place_map.yaw
    if not len(utm):
        return 1.0
    cells = np.floor((utm - utm[0]) / _CELL).astype(np.int64)
    quarter = np.where(np.isfinite(yaw), np.floor(np.nan_to_num(yaw) / (np.pi / 2) + 0.5) % 4, 4).astype(np.int64)
    keys = (cells[:, 0] + 2**24) * 2**33 + (cells[:, 1] + 2**24) * 8 + quarter
    return float(len(np.unique(keys)))


def _check_stamp(stamp: float) -> None:
    if not math.isfinite(stamp):
        raise UsageError(f"stamp = {stamp} is no time")

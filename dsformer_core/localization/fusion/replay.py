"""A drive with known positions, given to a map as a robot would: what it answered, and how far off that was."""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dsformer_core.described import Described
from dsformer_core.errors import DsformerError
from dsformer_core.geodesy import grid_convergence, heading_to_yaw, to_utm, wrap_angle
from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.tracker import Tracker
from dsformer_core.localization.hypotheses import Hypothesis, localize
from dsformer_core.localization.verdict import State, judge
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS, SURROUNDINGS_RADIUS
from dsformer_core.sources.source import Skipped, Source

if TYPE_CHECKING:
    from dsformer_core.extractor import Extractor

SPEED = 5.0
"""Metres per second at which pictures without a time follow one another."""

TELEPORT = 100.0
"""Metres between two pictures from which on the robot did not drive from one to the other."""

ODOMETRY_SCALE_STD, ODOMETRY_YAW_STD = 0.02, math.radians(0.5)
"""Of odometry that is made of the truth: its scale, and its yaw on a metre."""

ODOMETRY_EVERY, LONGEST_STEP = 0.2, 60.0
"""Seconds between its messages, and between pictures up to which there are any in between."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Drive:
    """N pictures in the order of time.

    Attributes:
        stamps: (N,) seconds, ascending.
        utm: (N, 2) easting and northing in the map's zone, metres: the truth.
        yaw: (N,) radians, of the vehicle.
        matches: of each, more than are asked for, so that some can be left out.
        carried: numbers of the pictures before which the robot was carried; besides, it was wherever two pictures are
            further apart than `TELEPORT`.
        mountings: (N,) radians counter-clockwise from straight ahead to where the camera looked; None where all look
            ahead. Pictures of one mounting are one camera's.
    """

    stamps: Numbers
    utm: Numbers
    yaw: Numbers
    matches: list[Matches]
    carried: tuple[int, ...] = ()
    mountings: Numbers | None = None

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def steps(self) -> Numbers:
        """(N,) metres from the picture before; 0 where the robot did not drive from there."""
        steps = np.append(0.0, np.hypot(*np.diff(self.utm, axis=0).T))
        steps[list(self.carried)] = 0.0
        return np.where(steps > TELEPORT, 0.0, steps)

    @property
    def kilometres(self) -> float:
        """Driven together."""
        return float(self.steps.sum() / 1000)

    def unmapped(self, place_map: PlaceMap, top_k: int) -> "Drive":
        """The same in a map without the surroundings of each picture: whatever is found is wrong."""
        kept = []
        for matches, truth in zip(self.matches, self.utm, strict=True):
            rows = matches.indices[0]
            far = np.hypot(*(place_map.utm[rows] - truth).T) > SURROUNDINGS_RADIUS
            kept.append(Matches(rows[far][None, :top_k], matches.similarities[:, far][:, :top_k]))
        return replace(self, matches=kept)

    def mapped(self, place_map: PlaceMap) -> NDArray[np.bool_]:
        """(N,) whether a picture was taken where the map has a reference near enough to be the right place."""
        nearest, _ = cKDTree(place_map.utm).query(self.utm)
        return np.asarray(nearest <= RIGHT_PLACE_RADIUS)

    def cameras(self) -> list[tuple[int, float]]:
        """Of each picture, the number of its camera, and how that is mounted."""
        if self.mountings is None:
            return [(0, 0.0)] * len(self)
        _, numbers = np.unique(self.mountings, return_inverse=True)
        return list(zip(numbers.tolist(), self.mountings.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Answers:
    """What N pictures were answered.

    Attributes:
        localized: (N,) bool, whether that was an answer.
        probability: (N,) of the best hypothesis, 0 without one.
        error: (N,) metres from it to the truth, infinite without one.
        distance: (N,) the same as squared Mahalanobis distance of its position.
        std: (N,) metres, its standard deviation along the less certain axis; NaN without one.
        probabilities: N arrays, of all hypotheses.
        right: N arrays of bool, whether each lies within `RIGHT_PLACE_RADIUS`.
    """

    localized: NDArray[np.bool_]
    probability: Numbers
    error: Numbers
    distance: Numbers
    std: Numbers
    probabilities: list[Numbers]
    right: list[NDArray[np.bool_]]

    @property
    def false(self) -> NDArray[np.bool_]:
        """(N,) whether there was an answer, and a wrong one."""
        return self.localized & (self.error > RIGHT_PLACE_RADIUS)

    @classmethod
    def of(cls, said: Sequence[tuple[bool, Sequence[Hypothesis]]], utm: Numbers) -> "Answers":
        """From verdicts and hypotheses."""
        count = len(said)
        table = np.tile([0.0, np.inf, np.inf, np.nan], (count, 1))
        probabilities, right = [], []
        for row, ((_, hypotheses), truth) in enumerate(zip(said, utm, strict=True)):
            away = np.array([one.utm - truth for one in hypotheses]).reshape(-1, 2)
            probabilities.append(np.array([one.probability for one in hypotheses]))
            right.append(np.hypot(*away.T) <= RIGHT_PLACE_RADIUS)
            if hypotheses:
                best = hypotheses[0]
                squared = float(away[0] @ np.linalg.solve(best.covariance[:2, :2], away[0]))
                table[row] = best.probability, float(np.hypot(*away[0])), squared, best.position_std
        localized = np.array([flag for flag, _ in said], dtype=bool)
        probability, error, distance, std = table.T
        return cls(localized, probability, error, distance, std, probabilities, right)


def describe_drive(
    source: Source,
    extractor: "Extractor",
    place_map: PlaceMap,
    *,
    top_k: int = 20,
    batch_size: int = 8,
    workers: int = 2,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_skipped: Callable[[Skipped], None] = lambda skipped: None,
) -> Drive:
    """Describes the pictures of a source and searches the map for them.

    Args:
        source: of pictures with positions.
        extractor: of the map's model and weights.
        place_map: that is searched.
        top_k: references that will be asked for.
        batch_size: pictures that enter the network at a time.
        workers: threads that decode.
        on_progress: called with how many are finished, and how many there are.
        on_skipped: called with what cannot be used.

    Raises:
        DsformerError: there is nothing to go by.
    """
    pictures, skipped = source.scan()
    for one in skipped:
        on_skipped(one)
    if all(math.isfinite(picture.timestamp) for picture in pictures):
        pictures = sorted(pictures, key=lambda picture: picture.timestamp)
    rows, found = [], []
    loaders = [picture.load for picture in pictures]
    with closing(extractor.extract_pictures(loaders, batch_size=batch_size, workers=workers)) as described:
        for index, said in described:
            if isinstance(said, Described):
                rows.append(index)
                found.append(place_map.search(said, k=4 * top_k)[0])
            else:
                on_skipped(Skipped(pictures[index].image, str(said)))
            on_progress(index + 1, len(pictures))
    if len(rows) < 2:
        raise DsformerError(f"{source.name}: of {len(pictures)} pictures {len(rows)} can be used: that is no drive")
    used = [pictures[row] for row in rows]
    latitude = np.array([picture.latitude for picture in used])
    longitude = np.array([picture.longitude for picture in used])
    utm = np.asarray(to_utm(latitude, longitude, place_map.zone), np.float64)
    heading = np.array([picture.heading_deg for picture in used])
    looks = np.asarray(heading_to_yaw(heading, grid_convergence(latitude, longitude, place_map.zone)), np.float64)
    mountings = np.radians([picture.camera_yaw_deg for picture in used])
    yaw = _known_yaw(wrap_angle(looks - mountings), utm)
    return Drive(_stamps([picture.timestamp for picture in used], utm), utm, yaw, found, mountings=mountings)


def made_odometry(drive: Drive, seed: int = 0) -> Numbers:
    """(M, 4) stamp, x, y, yaw: the truth with errors of wheels, for drives that come without odometry.

    Its scale is off by 2 % (normally distributed, once for a drive), and its yaw walks by 0.5 degrees on each metre.
    Where the drive jumps by more than `TELEPORT`, it stands: the robot was carried.
    """
    random = np.random.default_rng(seed)
    scale = 1 + random.normal(0, ODOMETRY_SCALE_STD)
    rows = np.zeros((len(drive), 4))
    rows[:, 0] = drive.stamps
    steps = drive.steps
    for number in range(1, len(drive)):
        rows[number, 1:] = rows[number - 1, 1:]
        if steps[number] > 0:
            before, now = drive.yaw[number - 1], rows[number, 3]
            east, north = scale * (drive.utm[number] - drive.utm[number - 1])
            turn = now - before
            rows[number, 1] += math.cos(turn) * east - math.sin(turn) * north
            rows[number, 2] += math.sin(turn) * east + math.cos(turn) * north
            rows[number, 3] += math.remainder(drive.yaw[number] - before, 2 * math.pi)
            rows[number, 3] += random.normal(0, ODOMETRY_YAW_STD * math.sqrt(steps[number]))
    # As often as a robot would say it, but not through the night between two drives.
    pieces = [
        np.arange(start, end, ODOMETRY_EVERY) if end - start < LONGEST_STEP else np.array([start])
        for start, end in pairwise(rows[:, 0].tolist())
    ]
    stamps = np.unique(np.concatenate([*pieces, rows[:, 0]]))
    return np.column_stack([stamps, *(np.interp(stamps, rows[:, 0], column) for column in rows[:, 1:].T)])


def ask_singly(place_map: PlaceMap, drive: Drive, config: LocalizationConfig | None = None) -> Answers:
    """Each picture by itself."""
    said = []
    for matches in drive.matches:
        hypotheses = localize(matches, place_map, config)
        said.append((judge(hypotheses, config).state is State.LOCALIZED, hypotheses))
    return Answers.of(said, drive.utm)


def ask_fused(
    place_map: PlaceMap,
    drive: Drive,
    odometry: Numbers | None,
    localization: LocalizationConfig | None = None,
    config: FusionConfig | None = None,
    *,
    covariances: Numbers | None = None,
) -> Answers:
    """All of them one after the other, with odometry where there is some.

    Args:
        place_map: that was searched.
        drive: through it.
        odometry: (M, 4) stamp, x, y, yaw of the vehicle; None for none. A row whose x is NaN says that what follows it
            is of another frame.
        localization: the defaults when None.
        config: the defaults when None.
        covariances: (M, 3, 3) over x, y, yaw of odometry's poses, NaN where unknown; None where all are.
    """
    localization = localization or LocalizationConfig()
    tracker = Tracker(place_map, localization, config)
    moves = np.empty((0, 4)) if odometry is None else odometry
    order = np.argsort(moves[:, 0], kind="stable")
    stamps, done, said = moves[order, 0], 0, []
    for stamp, matches, (camera, mounting) in zip(drive.stamps, drive.matches, drive.cameras(), strict=True):
        until = int(np.searchsorted(stamps, stamp, side="right"))
        for row in order[done:until]:
            covariance = None if covariances is None or np.isnan(covariances[row, 0, 0]) else covariances[row]
            moved, x, y, yaw = moves[row].tolist()
            if math.isnan(x):
                tracker.odometry.begin_anew()
                continue
            tracker.add_odometry(moved, x, y, yaw, covariance)
        done = until
        estimate = tracker.add_picture(float(stamp), matches, camera=camera, camera_yaw=mounting)
        said.append((estimate.verdict.state is State.LOCALIZED, estimate.hypotheses))
    return Answers.of(said, drive.utm)


def _stamps(timestamps: list[float], utm: Numbers) -> Numbers:
    """Ascending; by the way at `SPEED` where times are unknown."""
    stamps = np.array(timestamps)
    if not np.isfinite(stamps).all():
        return np.append(0.0, np.cumsum(np.hypot(*np.diff(utm, axis=0).T))) / SPEED
    return stamps


def _known_yaw(yaw: Numbers, utm: Numbers) -> Numbers:
    """The course where no heading is known."""
    ahead = np.gradient(utm, axis=0)
    return np.where(np.isfinite(yaw), yaw, np.arctan2(ahead[:, 1], ahead[:, 0]))

"""Rendered towns with a map, drives through them, odometry made of the truth, and what fusion answers: what `fusion.py`
and `kidnapping.py` measure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rendered_drives import DescribedReferences, Drive

from dsformer_core.extractor import Extractor
from dsformer_core.localization import State, judge, localize
from dsformer_core.localization.fusion import FusionConfig, Tracker, replay
from dsformer_core.localization.fusion.recalibrating import learn
from dsformer_core.place_map import Matches, PlaceMap, build_place_map

TOWNS = (1910, 1911, 1912)
UNMAPPED_TOWN = 1990
CONDITIONS = ("night", "rain", "traffic")
PICTURES_M, REFERENCES_M, SPEED = 4.0, 6.0, 8.0
REFERENCE_STD_M = 2.0
WRONG_M = 25.0
SCALE_STD, YAW_STD = 0.02, math.radians(0.5)
ODOMETRY_STEP_M = 0.4


EXCHANGED_M, EXCHANGE_EVERY_M = 24.0, 150.0


@dataclass(frozen=True, eq=False)
class Query:
    """A drive, and what the map's search found for each of its pictures."""

    drive: Drive
    matches: list[Matches]
    condition: str
    mapped: bool = True

    def part(self, first: int, count: int) -> "Query":
        """A stretch of it."""
        rows = slice(first, first + count)
        drive = self.drive
        cut = Drive(drive.descriptors[rows], drive.utm[rows], drive.yaw[rows], drive.stamps[rows])
        return Query(cut, self.matches[rows], self.condition, self.mapped)


@dataclass(frozen=True, eq=False)
class Answers:
    """What N pictures were answered: (N,) each.

    Attributes:
        localized: whether there was an answer.
        error: metres of the best hypothesis, infinite without one.
        probability: of it.
        inside: squared Mahalanobis distance of the truth from it, over the position.
    """

    localized: np.ndarray
    error: np.ndarray
    probability: np.ndarray
    inside: np.ndarray

    @property
    def false(self) -> np.ndarray:
        """(N,) whether the answer was wrong."""
        return self.localized & (self.error > WRONG_M)

    @classmethod
    def joined(cls, parts: Sequence["Answers"]) -> "Answers":
        """Those of several drives."""
        names = ("localized", "error", "probability", "inside")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def answers_of(rows: list[tuple[bool, Any, np.ndarray]]) -> Answers:
    """Of (localized, best hypothesis or None, truth)."""
    table = []
    for localized, best, truth in rows:
        if best is None:
            table.append((localized, np.inf, 0.0, np.inf))
            continue
        away = best.utm - truth
        inside = float(away @ np.linalg.solve(best.covariance[:2, :2], away))
        table.append((localized, float(np.hypot(*away)), best.probability, inside))
    columns = np.array(table, float).T
    return Answers(columns[0] > 0, *columns[1:])


def odometry(drive: Drive, random: np.random.Generator, *, drift: bool) -> np.ndarray:
    """(M, 4) stamp, x, y, yaw. Where the drive jumps, the robot thinks that it stood."""
    scale = 1 + random.normal(0, SCALE_STD)
    bias = random.normal(0, YAW_STD) if drift else 0.0
    walk = 0.0 if drift else YAW_STD
    rows = [(drive.stamps[0], 0.0, 0.0, 0.0)]
    x = y = yaw = 0.0
    for before in range(len(drive) - 1):
        step = drive.utm[before + 1] - drive.utm[before]
        turn = math.remainder(drive.yaw[before + 1] - drive.yaw[before], 2 * math.pi)
        way = float(np.hypot(*step))
        if way > 4 * PICTURES_M:
            step, turn, way = np.zeros(2), 0.0, 0.0
        count = max(1, round(way / ODOMETRY_STEP_M))
        seconds = drive.stamps[before + 1] - drive.stamps[before]
        for number in range(count):
            truth = drive.yaw[before] + turn * number / count
            ahead = scale * (math.cos(truth) * step[0] + math.sin(truth) * step[1]) / count
            left = scale * (math.cos(truth) * step[1] - math.sin(truth) * step[0]) / count
            x, y = x + math.cos(yaw) * ahead - math.sin(yaw) * left, y + math.sin(yaw) * ahead + math.cos(yaw) * left
            metres = way / count
            yaw += turn / count + bias * metres + random.normal(0, walk * math.sqrt(metres))
            rows.append((drive.stamps[before] + seconds * (number + 1) / count, x, y, yaw))
    return np.array(rows)


def fused(
    place_map: PlaceMap, query: Query, config: FusionConfig, seed: int, *, drift: bool, known: bool = True
) -> Answers:
    """What a tracker answers on a drive; `known`: whether it gets odometry."""
    tracker = Tracker(place_map, config=config)
    moves = odometry(query.drive, np.random.default_rng(seed), drift=drift) if known else np.empty((0, 4))
    rows, done = [], 0
    for number, (stamp, matches) in enumerate(zip(query.drive.stamps, query.matches, strict=True)):
        while done < len(moves) and moves[done, 0] <= stamp + 1e-9:
            tracker.add_odometry(*moves[done].tolist())
            done += 1
        estimate = tracker.add_picture(float(stamp), matches)
        best = estimate.hypotheses[0] if estimate.hypotheses else None
        rows.append((estimate.verdict.state is State.LOCALIZED, best, query.drive.utm[number]))
    return answers_of(rows)


def single(place_map: PlaceMap, query: Query) -> Answers:
    rows: list[tuple[bool, Any, np.ndarray]] = []
    for matches, truth in zip(query.matches, query.drive.utm, strict=True):
        hypotheses = localize(matches, place_map)
        best = hypotheses[0] if hypotheses else None
        rows.append((judge(hypotheses).state is State.LOCALIZED, best, truth))
    return answers_of(rows)


def as_available(answers: Answers, share: float) -> Answers:
    """The same with the threshold at which they answer a share of the pictures."""
    needed = np.quantile(answers.probability, 1 - share)
    return Answers(answers.probability >= needed, answers.error, answers.probability, answers.inside)


def exchanged(source: DescribedReferences, first_of: Sequence[int], seed: int = 0) -> DescribedReferences:
    """The same map with stretches of its descriptors exchanged for one another's."""
    long, every = round(EXCHANGED_M / REFERENCES_M), round(EXCHANGE_EVERY_M / REFERENCES_M)
    starts = np.concatenate([np.arange(first, last - long, every) for first, last in pairwise(first_of)])
    order = np.random.default_rng(seed).permutation(starts)
    changed = source.descriptors.copy()
    for one, other in zip(order, np.roll(order, 1), strict=True):
        changed[one : one + long] = source.descriptors[other : other + long]
    source.descriptors = changed
    return source


@dataclass(frozen=True, eq=False)
class World:
    """A map, drives through it, and one through a town that is not in it."""

    name: str
    place_map: PlaceMap
    queries: list[Query]
    unmapped: Query


def make_world(
    name: str,
    mapped: Sequence[Drive],
    drives: Sequence[tuple[str, Drive]],
    unmapped: Drive,
    extractor: Extractor,
    folder: Path,
) -> World:
    source = DescribedReferences(mapped, extractor, position_std=REFERENCE_STD_M)
    if name == "exchanged":
        exchanged(source, np.cumsum([0, *map(len, mapped)]).tolist())
    both: Any = source
    place_map = build_place_map(both, both, folder / f"{name}.map", thumbnails=False)

    def asked(drive: Drive, condition: str, mapped: bool = True) -> Query:
        return Query(drive, list(place_map.search(drive.descriptors)), condition, mapped)

    return World(name, place_map, [asked(drive, condition) for condition, drive in drives], asked(unmapped, "", False))


def taught(world: World) -> World:
    """The same after `dsformer map calibrate` with the drives of the first town, which are no queries any more."""
    first, others = world.queries[: len(CONDITIONS)], world.queries[len(CONDITIONS) :]
    # A pause between drives, and more matches than a robot asks for.
    stamps: list[np.ndarray] = []
    for query in first:
        start = stamps[-1][-1] + 30 if stamps else 0.0
        stamps.append(query.drive.stamps - query.drive.stamps[0] + start)
    drives = [query.drive for query in first]
    found = world.place_map.search(np.vstack([drive.descriptors for drive in drives]), 80)
    replayed = replay.Drive(
        np.concatenate(stamps),
        np.vstack([drive.utm for drive in drives]),
        np.concatenate([drive.yaw for drive in drives]),
        list(found),
        tuple(np.cumsum([len(drive) for drive in drives])[:-1].tolist()),
    )
    world.place_map.recalibration = learn(world.place_map, replayed)
    return World(world.name, world.place_map, others, world.unmapped)

"""What fusing pictures with odometry is worth to a robot: false fixes, availability, kidnapping, and what it costs.

Examples:
  python benchmarks/fusion.py                         an hour on a core the first time, nearly all of it rendering;
                                                      some minutes with the drives kept
  python benchmarks/fusion.py --drives /tmp/drives --json fusion.json
  python benchmarks/fusion.py --towns 1900 1901       the towns that the defaults were tuned on

Towns that `dsformer_tiny` never saw, 60 % of their houses of repeated designs, side by side in one map of a daylight
drive each (references 6 m apart, positions off by 2 m along each axis), and later drives by night, in rain and in
traffic, 1.2 km each with a picture every 4 m at 8 m/s. Odometry is made of the truth: its scale is off by 2 % (normally
distributed, one draw for a drive), and its yaw by 0.5 degrees a metre, as a walk or, with --drift, as a drift to one
side (one draw for a drive).

Two worlds: "as rendered", and "exchanged", where every 150 m the descriptors of 24 m of street are those of another
24 m: a picture from there looks like somewhere else in the map and like nothing where it is. The answer of single
pictures is `localize` and `judge` with their defaults, and once more with the threshold at which they answer as often
as fusion does.

Kidnapping: after 120 to 200 m the robot is at once at another place of the map, at least 100 m away, under the same
condition, or in a town that is not in the map; its odometry tells nothing of it. It is noticed with the first verdict
that is not LOCALIZED at a wrong place, and regained with the first LOCALIZED within 25 m of the truth.

With --calibrate, drives through the first town teach the map (`dsformer map calibrate`), and those through the others
are asked.

Ends with status 1 where a target is missed: false fixes a tenth or fewer of those of single pictures at no less
availability, in both worlds together; kidnapping noticed within 10 m or 5 s in 99.5 % of trials; localized again within
50 m in 95 % of trials; at most 1 ms of processor time for a picture in a map of a million references, besides
`localize`, which single pictures need, too.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from made_up_map import write_map as write_made_up_map
from rendered_drives import DescribedReferences, Drive, Route, described
from rich.console import Console
from rich.table import Table

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
TRIALS = 150
BEFORE_M, AFTER_M = (120.0, 200.0), 160.0

MANY = 1_000_000

console = Console()


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


def measure_drives(worlds: Sequence[World], config: FusionConfig, *, drift: bool) -> list[dict[str, Any]]:
    """False fixes and availability, by world."""
    found = []
    for world in worlds:
        one = Answers.joined([single(world.place_map, query) for query in world.queries])
        fuse = Answers.joined(
            [fused(world.place_map, query, config, seed, drift=drift) for seed, query in enumerate(world.queries)]
        )
        blind = Answers.joined(
            [fused(world.place_map, query, config, 0, drift=drift, known=False) for query in world.queries]
        )
        km = len(one.error) * PICTURES_M / 1000
        alike = as_available(one, fuse.localized.mean())
        named = {"single": one, "single, as available": alike, "fused": fuse, "fused, no odometry": blind}
        for name, answers in named.items():
            found.append(
                {
                    "world": world.name,
                    "answer": name,
                    "km": km,
                    "false_fixes": int(answers.false.sum()),
                    "false_fixes_per_km": float(answers.false.sum() / km),
                    "availability": float(answers.localized.mean()),
                    "median_error_m": float(np.median(answers.error[answers.localized]))
                    if answers.localized.any()
                    else float("nan"),
                }
            )
    return found


def join(before: Query, after: Query) -> Query:
    """One drive after the other, the second a picture's time after the first."""
    one, two = before.drive, after.drive
    stamps = np.concatenate([one.stamps, two.stamps - two.stamps[0] + one.stamps[-1] + PICTURES_M / SPEED])
    pairs = [(getattr(one, name), getattr(two, name)) for name in ("descriptors", "utm", "yaw")]
    return Query(
        Drive(*(np.concatenate(pair) for pair in pairs), stamps), before.matches + after.matches, before.condition
    )


def kidnap(
    world: World, config: FusionConfig, random: np.random.Generator, *, drift: bool, away: bool
) -> dict[str, float]:
    """One trial; metres and seconds are counted from the robot's first picture at the new place."""
    start = world.queries[random.integers(len(world.queries))]
    count = round(random.uniform(*BEFORE_M) / PICTURES_M)
    before = start.part(int(random.integers(len(start.drive) - count)), count)
    after_count = round(AFTER_M / PICTURES_M)
    while True:
        same = [query for query in world.queries if query.condition == start.condition]
        other = world.unmapped if away else same[random.integers(len(same))]
        after = other.part(int(random.integers(len(other.drive) - after_count)), after_count)
        if np.hypot(*(after.drive.utm[0] - before.drive.utm[-1])) > 100:
            break
    answers = fused(world.place_map, join(before, after), config, int(random.integers(2**31)), drift=drift)
    localized, right = answers.localized[count:], answers.error[count:] <= WRONG_M
    fooled = localized & ~right if not away else localized
    noticed = np.flatnonzero(~fooled)
    regained = np.flatnonzero(localized & right)
    return {
        "was_localized": float(answers.localized[count - 1] and answers.error[count - 1] <= WRONG_M),
        "noticed_m": noticed[0] * PICTURES_M if len(noticed) else np.inf,
        "regained_m": regained[0] * PICTURES_M if len(regained) and not away else np.inf,
        "fooled_share": float(fooled.mean()),
    }


def measure_kidnapping(
    worlds: Sequence[World], config: FusionConfig, *, drift: bool, trials: int
) -> list[dict[str, Any]]:
    found = []
    for world in worlds:
        for away in (False, True):
            random = np.random.default_rng(7)
            outcomes = [kidnap(world, config, random, drift=drift, away=away) for _ in range(trials)]
            outcomes = [outcome for outcome in outcomes if outcome["was_localized"]]
            noticed = np.array([outcome["noticed_m"] for outcome in outcomes])
            regained = np.array([outcome["regained_m"] for outcome in outcomes])
            in_time = (noticed <= 10) | (noticed / SPEED <= 5)
            found.append(
                {
                    "world": world.name,
                    "to": "unmapped town" if away else "elsewhere in the map",
                    "trials": len(outcomes),
                    "noticed_median_m": float(np.median(noticed)),
                    "noticed_most_m": float(noticed.max()),
                    "noticed_within_10_m": float((noticed <= 10).mean()),
                    "noticed_within_10_m_or_5_s": float(in_time.mean()),
                    "regained_median_m": None if away else float(np.median(regained)),
                    "regained_within_50_m": None if away else float((regained <= 50).mean()),
                    "fooled_share": float(np.mean([outcome["fooled_share"] for outcome in outcomes])),
                }
            )
    return found


def measure_cost(pictures: int = 300) -> dict[str, float]:
    """Milliseconds of processor time for a picture, with 25 messages of odometry, in a map of a million references."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.map"
        # Nothing is searched here: the smallest descriptors there can be.
        noise = (np.random.default_rng(0).normal(size=(10_000, 8)).astype(np.float32) for _ in range(MANY // 10_000))
        write_made_up_map(path, "flat", (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in noise), MANY, 8)
        place_map = PlaceMap.open(path)
        utm, random = place_map.utm, np.random.default_rng(1)
        tracker, first = Tracker(place_map), 500_000
        alone, whole, moved = [], [], []
        for number in range(pictures):
            row = first + number
            # Half of what is found is where the robot is, half anywhere: as many hypotheses as there can be.
            rows = np.concatenate([row + np.arange(-5, 5), random.integers(0, MANY, 10)])
            similarities = np.sort(random.uniform(0.6, 0.9, 20))[::-1].astype(np.float32)
            matches = Matches(random.permutation(rows)[None], similarities[None])
            start = time.thread_time()
            for part in range(25):
                along = 3.0 * (number + part / 25)
                tracker.add_odometry(0.5 * number + 0.02 * part, along, 0.0, 0.0)
            between = time.thread_time()
            tracker.add_picture(0.5 * number + 0.49, matches)
            after = time.thread_time()
            localize(matches, place_map)
            alone.append(time.thread_time() - after)
            whole.append(after - between)
            moved.append((between - start) / 25)
        assert len(utm) == MANY
        return {
            "picture_ms": 1e3 * float(np.median(whole)),
            "of_which_localize_ms": 1e3 * float(np.median(alone)),
            "fusion_ms": 1e3 * float(np.median(np.subtract(whole, alone))),
            "odometry_message_ms": 1e3 * float(np.median(moved)),
            "hypotheses": len(tracker.estimate().hypotheses),
        }


def verdicts(found: dict[str, Any]) -> list[tuple[str, bool]]:
    """Each target, and whether it was reached."""
    rows = {name: [row for row in found["drives"] if row["answer"] == name] for name in ("single", "fused")}
    total = {name: sum(row["false_fixes"] for row in some) for name, some in rows.items()}
    share = {name: np.mean([row["availability"] for row in some]) for name, some in rows.items()}
    trials = [row for row in found["kidnapping"] if row["trials"]]

    def share_of(rows: list[dict[str, Any]], name: str) -> float:
        return float(np.average([row[name] for row in rows], weights=[row["trials"] for row in rows]))

    noticed = share_of(trials, "noticed_within_10_m_or_5_s")
    regained = share_of([row for row in trials if row["regained_within_50_m"] is not None], "regained_within_50_m")
    cost = found["cost"]["fusion_ms"]
    return [
        (f"false fixes: {total['fused']} fused, {total['single']} single", total["fused"] * 10 <= total["single"]),
        (f"availability: {share['fused']:.2f} fused, {share['single']:.2f} single", share["fused"] >= share["single"]),
        (f"kidnapping noticed within 10 m or 5 s in {noticed:.1%} of trials", noticed >= 0.995),
        (f"localized again within 50 m in {regained:.1%} of trials", regained >= 0.95),
        (f"fusing costs {cost:.2f} ms a picture in a map of {MANY:,} references", cost <= 1.0),
    ]


def show(found: dict[str, Any]) -> None:
    table = Table("world", "answer", "km", "false fixes", "a km", "availability", "median error")
    for row in found["drives"]:
        table.add_row(
            row["world"], row["answer"], f"{row['km']:.1f}", str(row["false_fixes"]),
            f"{row['false_fixes_per_km']:.2f}", f"{row['availability']:.1%}", f"{row['median_error_m']:.1f} m",
        )  # fmt: skip
    console.print(table)
    table = Table("world", "kidnapped to", "trials", "noticed: median, most", "within 10 m", "10 m or 5 s")
    for name in ("again: median", "within 50 m", "wrong after"):
        table.add_column(name)
    for row in found["kidnapping"]:
        again = row["regained_within_50_m"]
        table.add_row(
            row["world"], row["to"], str(row["trials"]),
            f"{row['noticed_median_m']:.0f}, {row['noticed_most_m']:.0f} m",
            f"{row['noticed_within_10_m']:.1%}", f"{row['noticed_within_10_m_or_5_s']:.1%}",
            "" if again is None else f"{row['regained_median_m']:.0f} m", "" if again is None else f"{again:.1%}",
            f"{row['fooled_share']:.1%}",
        )  # fmt: skip
    console.print(table)
    cost = found["cost"]
    console.print(
        f"{cost['picture_ms']:.2f} ms a picture, {cost['of_which_localize_ms']:.2f} of them `localize`; "
        f"{cost['odometry_message_ms']:.3f} ms a message of odometry"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drives", type=Path, metavar="DIR", help="where described drives are kept")
    parser.add_argument("--towns", type=int, nargs="+", default=TOWNS, metavar="SEED")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of kidnapping, of each kind (%(default)s)")
    parser.add_argument("--drift", action="store_true", help="odometry that turns to one side by 0.5 degrees a metre")
    parser.add_argument(
        "--calibrate", action="store_true", help="with a map that drives through its first town taught; on the others"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    extractor = Extractor("dsformer_tiny")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.drives or Path(scratch) / "drives"

        def drive(*route: Any) -> Drive:
            with console.status(f"town {route[0]}, {route[1]}"):
                return described(Route(*route), extractor, folder)

        mapped = [drive(town, "daylight", 0, REFERENCES_M, 428) for town in arguments.towns]
        later = [
            (condition, drive(town, condition, seed, PICTURES_M, 300, 2.0 + 430.0 * seed, 0.8))
            for town in arguments.towns
            for seed, condition in enumerate(CONDITIONS, start=1)
        ]
        unmapped = drive(UNMAPPED_TOWN, "daylight", 9, PICTURES_M, 150)
        worlds = [
            make_world(name, mapped, later, unmapped, extractor, Path(scratch)) for name in ("as rendered", "exchanged")
        ]
        if arguments.calibrate:
            worlds = [taught(world) for world in worlds]
        config = FusionConfig()
        found = {
            "drives": measure_drives(worlds, config, drift=arguments.drift),
            "kidnapping": measure_kidnapping(worlds, config, drift=arguments.drift, trials=arguments.trials),
            "cost": measure_cost(),
        }
    show(found)
    targets = verdicts(found)
    for words, reached in targets:
        console.print(f"{'reached' if reached else 'MISSED '}  {words}", highlight=False)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(reached for _, reached in targets) else 1


if __name__ == "__main__":
    sys.exit(main())

"""A robot that is carried elsewhere while it does not look: when it notices, and when it is localized again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fusion_worlds import PICTURES_M, SPEED, WRONG_M, Query, World, fused
from rendered_drives import Drive

from dsformer_core.localization.fusion import FusionConfig

BEFORE_M, AFTER_M = (120.0, 200.0), 160.0


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

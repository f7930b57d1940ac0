"""Block clustering (the paper's section III-B): locations in, groups of classes out."""

from collections.abc import Callable
from contextlib import closing

import numpy as np
import numpy.typing as npt

from dsformer_core.clustering.config import BlockClusteringConfig
from dsformer_core.clustering.directions import look_from, street_directions
from dsformer_core.clustering.exclusion import far_from, greedy, without_neighbours
from dsformer_core.clustering.group import Group, Rows
from dsformer_core.clustering.heading_checks import refuse_one_heading, warn_of_other_streets
from dsformer_core.clustering.positions import check_headings, check_positions
from dsformer_core.clustering.strips import EAST, NORTH, Strip, strips
from dsformer_core.cores import usable_cores
from dsformer_core.ordered_map import ordered_map

Array = npt.NDArray[np.float64]


def cluster_blocks(
    utm: npt.ArrayLike,
    config: BlockClusteringConfig | None = None,
    *,
    headings_deg: npt.ArrayLike | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Group]:
    """Partitions locations into groups of classes.

    Strips along east and along north (equation 7) are clustered on their own, clusters are cut down to what surrounds
    their peak, close classes are excluded per group, and the groups of both directions merged under the same rule
    (equation 8). The answer depends on the positions (and headings) alone: not on their order, nor on `workers`.

    Args:
        utm: (N, 2) metres, easting and northing in one zone.
        config: settings; the paper's by default.
        headings_deg: (N,) where each vehicle headed, degrees clockwise from north; NaN where unknown.
        workers: threads, of one core each; by default as many as there are cores that this process may use.
        on_progress: called with strips done and strips in all.

    Returns:
        `config.groups` groups; a group may be without classes. Classes are ordered from the largest to the smallest.

    Raises:
        UsageError: positions or headings cannot be clustered; see `check_positions` and `refuse_one_heading`.
        DsformerError: numba is not installed.
    """
    config = config or BlockClusteringConfig()
    positions = check_positions(utm, fewest=max(config.min_cluster_size, config.min_images))
    headings = check_headings(headings_deg, len(positions))
    if config.direction == "headings" and headings is not None:
        refuse_one_heading(headings, positions)
    order = _canonical_order(positions, headings)
    sorted_positions = positions[order]
    workers = workers or usable_cores()
    found = _clusters(sorted_positions, config, workers, on_progress)

    chosen: list[list[_Class]] = []
    for group in range(config.groups):
        merged = _merge(found[EAST][group], found[NORTH][group], config)
        chosen.append(_without_shared(merged, config.min_images))
    # Rows ascending again: then sums do not depend on how a class came about.
    members = [[np.sort(one.rows) for one in classes] for classes in chosen]
    flat = [rows for classes in members for rows in classes]
    headings = None if headings is None else headings[order]
    streets = street_directions(sorted_positions, flat, config.direction, headings, workers)
    if config.direction == "headings" and headings is not None:
        warn_of_other_streets(streets, sorted_positions, flat)
    groups = []
    for classes, own in zip(chosen, members, strict=True):
        centres = np.array([sorted_positions[rows].mean(axis=0) for rows in own]).reshape(-1, 2)
        lateral, frontal = look_from(centres, streets[: len(own)], config.focal_distance, config.lateral_side)
        streets = streets[len(own) :]
        original = [np.sort(order[rows]) for rows in own]
        groups.append(Group(classes=original, peaks=_peaks(classes), lateral=lateral, frontal=frontal))
    return groups


class _Class:
    """Locations about a peak, as rows of the sorted positions."""

    __slots__ = ("peak", "rows")

    def __init__(self, rows: Rows, peak: Array) -> None:
        self.rows = rows
        self.peak = peak


def _canonical_order(positions: Array, headings: Array | None) -> Rows:
    """Rows from west to east, then south to north: sums and ties come out the same whatever order they came in."""
    keys = (positions[:, 1], positions[:, 0])
    return np.lexsort(keys if headings is None else (headings, *keys))


def _clusters(
    positions: Array, config: BlockClusteringConfig, workers: int, on_progress: Callable[[int, int], None] | None
) -> dict[int, list[list[_Class]]]:
    """Per axis and group the classes of all its strips, before any is excluded."""
    from dsformer_core.clustering.peaks import keep_around_peaks
    from dsformer_core.clustering.planar_hdbscan import cluster_strip

    # What is closer than classes may be is one place; without such a limit, what lies in strips side by side.
    next_street = max(config.min_distance, config.block_width)

    def classes_of(strip: Strip) -> list[_Class]:
        labels = cluster_strip(strip.along, strip.across, config.min_cluster_size, config.min_samples, next_street)
        kept, peaks = keep_around_peaks(strip.along, strip.across, labels, config.radius, config.min_images)
        return [_Class(strip.rows[kept == label], positions[strip.rows[peak]]) for label, peak in enumerate(peaks)]

    found: dict[int, list[list[_Class]]] = {axis: [[] for _ in range(config.groups)] for axis in (EAST, NORTH)}
    both = [list(strips(positions, axis, config.block_width, config.groups)) for axis in (EAST, NORTH)]
    done, total = 0, sum(map(len, both))
    for axis, cut in zip((EAST, NORTH), both, strict=True):
        with closing(ordered_map(classes_of, cut, workers=workers, ahead=4 * workers)) as results:
            for strip, classes in zip(cut, results, strict=True):
                found[axis][strip.group] += classes
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
    return found


def _merge(east: list[_Class], north: list[_Class], config: BlockClusteringConfig) -> list[_Class]:
    """Equation 8 for one group, with the rule of least distance before and after; larger classes first."""
    if config.exclusion == "greedy":
        return _greedy(_greedy(east, config) + _greedy(north, config), config)
    east, north = (
        [classes[number] for number in without_neighbours(_peaks(classes), config.min_distance)]
        for classes in (east, north)
    )
    merged = east + [north[number] for number in far_from(_peaks(north), _peaks(east), config.min_distance)]
    return sorted(merged, key=lambda one: (-len(one.rows), *one.peak))


def _greedy(classes: list[_Class], config: BlockClusteringConfig) -> list[_Class]:
    sizes = np.array([len(one.rows) for one in classes], np.int64)
    return [classes[number] for number in greedy(_peaks(classes), sizes, config.min_distance)]


def _peaks(classes: list[_Class]) -> Array:
    return np.array([one.peak for one in classes]).reshape(-1, 2)


def _without_shared(classes: list[_Class], min_images: int) -> list[_Class]:
    """Leaves a location that an east and a north class both hold to the larger; possible only where l <= 2 r."""
    taken: set[int] = set()
    kept = []
    for one in classes:
        rows = one.rows
        if not taken.isdisjoint(rows.tolist()):
            rows = np.array([row for row in rows.tolist() if row not in taken], np.int64)
        if len(rows) >= min_images:
            taken.update(rows.tolist())
            kept.append(_Class(rows, one.peak))
    return kept

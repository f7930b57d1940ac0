"""Everything that can be told of a map without leaving it: what `dsformer map report` shows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.localization.held_out import HeldOut, hold_out
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS
from dsformer_core.place_map.inspection.aliasing import LOOKS_ALIKE, Aliases, find_aliases
from dsformer_core.place_map.inspection.coverage import Cells, Gap, cells, gaps, street_length, stretches
from dsformer_core.place_map.inspection.drives import drive_names, numbered
from dsformer_core.place_map.inspection.image_quality import Quality, image_quality
from dsformer_core.place_map.places import REFERENCE_STD

PAIRS = 8
_LISTED_GAPS = 10
_SECTORS = 36
# Metres without a reference, in units of the map's spacing, that a drive at one speed does not leave.
_GAP_SPACINGS = 5
_MOST_DRIVES = 1_000_000


@dataclass(frozen=True, eq=False)
class Survey:
    """A map looked at from all sides.

    Attributes:
        place_map: the map.
        cells: the ground it covers.
        street: metres of street, about.
        gap: metres without a reference from which on it is a gap.
        gaps: longest first.
        quality: of its pictures.
        aliases: what looks like another place.
        held_out: what it answers to its own references.
    """

    place_map: PlaceMap
    cells: Cells
    street: float
    gap: float
    gaps: list[Gap]
    quality: Quality
    aliases: Aliases
    held_out: HeldOut

    @cached_property
    def one_way_stretches(self) -> list[npt.NDArray[np.int64]]:
        """Cells that are known in one direction only and touch, the longest stretch first."""
        return stretches(self.cells, self.cells.one_way)

    @cached_property
    def rose(self) -> npt.NDArray[np.int64]:
        """(36,) references by heading, the first sector's middle in the north."""
        heading = self.place_map.heading_deg[np.isfinite(self.place_map.heading_deg)]
        width = 360 / _SECTORS
        return np.bincount(((heading + width / 2) % 360 // width).astype(np.int64), minlength=_SECTORS)

    @cached_property
    def solar_hours(self) -> npt.NDArray[np.float64]:
        """Hours of the day, by the sun, of references whose time is known."""
        times = self.place_map.timestamps
        known = np.isfinite(times)
        return (times[known] / 3600 + self.place_map.longitude[known] / 15) % 24

    @cached_property
    def months(self) -> npt.NDArray[np.int64]:
        """Months, 1 to 12, of references whose time is known."""
        times = self.place_map.timestamps
        months = times[np.isfinite(times)].astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
        return months % 12 + 1

    @cached_property
    def pairs(self) -> npt.NDArray[np.int64]:
        """Positions in `aliases` of the places that look most alike."""
        return self.aliases.worst(self.place_map.utm, PAIRS)

    @property
    def alike_share(self) -> float:
        """Share of the references asked that look like another place, NaN where none was."""
        return float((self.aliases.scores >= LOOKS_ALIKE).mean()) if len(self.aliases.rows) else float("nan")

    def position(self, row: int) -> str:
        """Where a reference is, for people."""
        return f"{self.place_map.latitude[row]:.5f}, {self.place_map.longitude[row]:.5f}"

    def numbers(self) -> dict[str, Any]:
        """All of it in plain values, for programs; metres, degrees, shares of 1; NaN where nothing is known."""
        place_map = self.place_map
        low, high = place_map.utm.min(axis=0), place_map.utm.max(axis=0)
        return {
            "map": {
                "directory": str(place_map.directory),
                "name": place_map.name,
                "created": place_map.created,
                "model": place_map.model_name,
                "index": place_map.index_kind,
                "utm_zone": str(place_map.zone),
                "count": place_map.count,
                "extent_m": [float(side) for side in high - low],
                "spacing_m": place_map.spacing,
                "calibrated": place_map.calibrated,
            },
            "coverage": self._coverage(),
            "headings": {
                "known": int(np.isfinite(place_map.heading_deg).sum()),
                "by_10_degrees_from_north": self.rose.tolist(),
            },
            "times": self._times(),
            "pictures": self._pictures(),
            "aliasing": self._aliasing(),
            "localization": self._localization(),
        }

    def _coverage(self) -> dict[str, Any]:
        directions = self.cells.directions
        known = np.isfinite(directions)
        stretch = self.one_way_stretches
        return {
            "street_m": self.street,
            "references_per_100_m": 100 * self.place_map.count / self.street if self.street else float("nan"),
            "cell_m": self.cells.size,
            "cells": len(self.cells.count),
            "references_per_cell": {
                "median": float(np.median(self.cells.count)),
                "p05": float(np.percentile(self.cells.count, 5)),
                "p95": float(np.percentile(self.cells.count, 95)),
            },
            "one_direction_share": float(self.cells.one_way.sum() / known.sum()) if known.any() else float("nan"),
            "longest_one_direction_m": len(stretch[0]) * self.cells.size if stretch else 0.0,
            "gap_from_m": self.gap,
            "gaps": len(self.gaps),
            "longest_gaps": [
                {
                    "length_m": gap.length,
                    "before": self.place_map.ids[gap.before],
                    "after": self.place_map.ids[gap.after],
                    "latitude": float(self.place_map.latitude[gap.before]),
                    "longitude": float(self.place_map.longitude[gap.before]),
                }
                for gap in self.gaps[:_LISTED_GAPS]
            ],
        }

    def _times(self) -> dict[str, Any]:
        times = self.place_map.timestamps
        known = times[np.isfinite(times)]
        return {
            "known": len(known),
            "first": _moment(known.min()) if len(known) else None,
            "last": _moment(known.max()) if len(known) else None,
            "by_solar_hour": np.bincount(self.solar_hours.astype(np.int64) % 24, minlength=24).tolist(),
            "by_month": np.bincount(self.months - 1, minlength=12).tolist(),
        }

    def _pictures(self) -> dict[str, Any]:
        quality = self.quality
        some = len(quality.rows) > 0
        return {
            "looked_at": len(quality.rows),
            "median_sharpness": float(np.median(quality.sharpness)) if some else float("nan"),
            "blurred": int(quality.blurred.sum()),
            "too_dark": int(quality.too_dark.sum()),
            "burnt_out": int(quality.burnt_out.sum()),
        }

    def _aliasing(self) -> dict[str, Any]:
        aliases, place_map = self.aliases, self.place_map
        scores = aliases.scores[np.isfinite(aliases.scores)]
        some = len(scores) > 0
        return {
            "asked": len(aliases.rows),
            "median_score": float(np.median(scores)) if some else float("nan"),
            "p95_score": float(np.percentile(scores, 95)) if some else float("nan"),
            "looks_alike_from_score": LOOKS_ALIKE,
            "looks_alike_share": self.alike_share,
            "more_like_another_place_than_its_own": int(aliases.beaten.sum()),
            "worst_pairs": [
                {
                    "ids": [place_map.ids[aliases.rows[number]], place_map.ids[aliases.partners[number]]],
                    "score": float(aliases.scores[number]),
                    "similarity": float(aliases.similarities[number]),
                    "distance_m": self.distance(int(number)),
                }
                for number in self.pairs
            ],
        }

    def distance(self, number: int) -> float:
        """Metres between a reference, by its position in `aliases`, and what it looks like."""
        here, there = self.aliases.rows[number], self.aliases.partners[number]
        return float(np.hypot(*(self.place_map.utm[here] - self.place_map.utm[there])))

    def _localization(self) -> dict[str, Any]:
        held_out = self.held_out
        reach, answered = held_out.in_reach, held_out.localized & held_out.in_reach
        errors = held_out.errors()
        asked = int(reach.sum())
        return {
            "asked": len(held_out.rows),
            "in_reach": asked,
            "answered_share": float(answered.sum() / asked) if asked else float("nan"),
            "wrong_by_more_than_m": RIGHT_PLACE_RADIUS,
            "wrong_share": float((answered & ~held_out.right).sum() / asked) if asked else float("nan"),
            "out_of_reach_answered": int((held_out.localized & ~reach).sum()),
            "median_error_m": float(np.median(errors)) if len(errors) else float("nan"),
            "p95_error_m": float(np.percentile(errors, 95)) if len(errors) else float("nan"),
            "reliability": [
                {"from": step.low, "to": step.high, "count": step.count, "promised": step.promised, "kept": step.kept}
                for step in held_out.reliability()
            ],
        }


def survey(
    place_map: PlaceMap,
    *,
    seed: int = 0,
    aliases: int | None = None,
    on_progress: Callable[[str, int, int], None] = lambda words, done, total: None,
) -> Survey:
    """Looks at a map from all sides.

    Args:
        place_map: the map.
        seed: of the references that are asked; the same map and seed give the same numbers.
        aliases: how many references are asked which other place they look like (see `find_aliases`).
        on_progress: called with what is being counted, how many are finished, and how many there are.
    """

    def counting(words: str) -> Callable[[int, int], None]:
        return lambda done, total: on_progress(words, done, total)

    on_progress("measuring streets", 0, 1)
    utm = place_map.utm
    gap = max(RIGHT_PLACE_RADIUS, _GAP_SPACINGS * max(place_map.spacing, REFERENCE_STD))
    _, drive = numbered(drive_names(place_map), _MOST_DRIVES)
    divided, street, found = cells(utm, place_map.yaw), street_length(utm), gaps(utm, drive, place_map.timestamps, gap)
    on_progress("measuring streets", 1, 1)
    return Survey(
        place_map,
        divided,
        street,
        gap,
        found,
        image_quality(place_map, on_progress=counting("looking at pictures")),
        find_aliases(place_map, sample=aliases, seed=seed, on_progress=counting("looking for likes")),
        hold_out(place_map, seed=seed + 1, on_progress=counting("asking held-out references")),
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), timezone.utc).isoformat(timespec="seconds")

"""A place map as one page to look at."""

import base64
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.geodesy import to_latlon
from dsformer_core.pages import Point, add_points, add_program, new_map, rendered, write_page
from dsformer_core.place_map.inspection.aliasing import Aliases, apart, find_aliases
from dsformer_core.place_map.inspection.before_after import Changes, changes
from dsformer_core.place_map.inspection.coverage import ONE_DIRECTION, cells
from dsformer_core.place_map.inspection.drives import drive_names, numbered
from dsformer_core.place_map.place_map import PlaceMap

COLOUR = "#1f6fb4"
KEPT, ADDED, GONE = "#8593a3", "#1b8a4b", "#c9302c"
DRIVE_COLOURS = (
    "#1f6fb4",
    "#d9541e",
    "#2a9134",
    "#8e44ad",
    "#b8860b",
    "#c2185b",
    "#00838f",
    "#5d4037",
    "#7cb342",
    "#455a64",
)

ONE_BY_ONE = 2_000
"""References up to which each is an object of the page, with its picture; more are painted from packed arrays."""

PICTURE_BYTES = 16 * 2**20
"""What the thumbnails of a large map may take in its page, before base64 adds a third."""

SHOWN_PAIRS = 12

_NAMES_AT_ONCE = 4_096
# Metres from a click's reference within which the nearest picture is shown in place of its own.
_PICTURE_REACH = 50.0
_UNKNOWN_HEADING, _UNKNOWN_SHARE = 65_535, 255

_STYLE = """
.place-map-panel { background: #fffffff2; color: #1c2530; padding: 10px 14px; border-radius: 8px; max-width: 318px;
  max-height: calc(100vh - 70px); overflow-y: auto; box-shadow: 0 1px 6px #0004; font: 14px/1.45 system-ui, sans-serif }
.place-map-panel[open] { width: 318px; box-sizing: border-box }
@media (prefers-color-scheme: dark) {
  .place-map-panel { background: #1b222bf2; color: #e6ebf1 }
}
"""


def write_view(
    place_map: PlaceMap,
    output: Path,
    *,
    before: PlaceMap | None = None,
    aliases: int | Aliases | None = None,
    on_progress: Callable[[str, int, int], None] = lambda words, done, total: None,
) -> int:
    """Draws references, their headings, thumbnails when clicked, and layers to switch on.

    The layers: how densely the ground is covered, where only one direction is known, which places look like others
    (with the pairs that look most alike), which drive a reference comes from.

    Args:
        place_map: the map.
        output: the HTML file to write; it needs no other file and no internet.
        before: an earlier state of the map: what was added since and what went have colours of their own.
        aliases: what the map looks like elsewhere, or how many references are asked (see `find_aliases`); 0 for none.
        on_progress: called with what is being counted, how many are finished, and how many there are.

    Returns:
        How many thumbnails the page holds beside those of the pairs.

    Raises:
        DsformerError: the `viz` extra is not installed.
    """
    if not isinstance(aliases, Aliases):
        aliases = find_aliases(
            place_map, sample=aliases, on_progress=lambda done, total: on_progress("looking for likes", done, total)
        )
    drawn = _Drawn(place_map, before, changes(before, place_map) if before is not None else None)
    corners = [(float(end(drawn.latitude)), float(end(drawn.longitude))) for end in (np.min, np.max)]
    page = new_map(corners, fitted=False)
    arrow = max(3.0, 0.8 * place_map.spacing)
    ready = None
    if drawn.count <= ONE_BY_ONE:
        import folium

        ready = folium.FeatureGroup()
        ready.add_to(page)
        points = drawn.points(lambda done: on_progress("drawing references", done, drawn.count))
        pictures = sum(bool(point.pictures) for point in points)
        add_points(ready, points, arrow=arrow)
        fields: dict[str, Any] = {}
    else:
        shown = drawn.evenly_chosen_pictures()
        pictures = len(shown)
        fields = {
            "names": {"size": _NAMES_AT_ONCE, "groups": drawn.packed_names()},
            "pictures": {
                "rows": _packed(np.array(list(shown), np.int64)),
                "jpegs": [base64.b64encode(jpeg).decode() for jpeg in shown.values()],
                "reach": _PICTURE_REACH,
            },
        }
    data = {
        "title": f"Place map {place_map.name}",
        "lines": _caption(drawn, pictures),
        "corners": corners,
        "colour": COLOUR,
        "arrow": arrow,
        "references": drawn.packed(),
        "changes": drawn.change_legend(),
        "drives": _drive_legend(drawn.drive_names, drawn.drive),
        "cells": _packed_cells(place_map),
        "alike": _packed_aliases(place_map, aliases) if (aliases.partners >= 0).any() else None,
        "pairs": [_pair(place_map, aliases, int(one)) for one in aliases.worst(place_map.utm, SHOWN_PAIRS)],
        **fields,
    }
    program = Path(__file__).with_name("view.js").read_text(encoding="utf-8")
    add_program(page, program, "showPlaceMap", data, ready, style=_STYLE)
    write_page(output, rendered(page, place_map.name))
    return pictures


class _Drawn:
    """The references of a page: those of the map, and after them those of an earlier one that are gone."""

    def __init__(self, place_map: PlaceMap, before: PlaceMap | None, changed: Changes | None) -> None:
        self.map, self.before = place_map, before
        self.gone = np.flatnonzero(changed.gone) if changed is not None else np.empty(0, np.int64)
        self.latitude = self._column("latitude")
        self.longitude = self._column("longitude")
        self.heading = self._column("heading_deg")
        self.count = len(self.latitude)
        self.change = np.zeros(self.count, np.int64)
        if changed is not None:
            self.change[: place_map.count] = changed.added
            self.change[place_map.count :] = 2
        names = drive_names(place_map)
        if before is not None:
            former = drive_names(before)
            names += [former[row] for row in self.gone]
        self.drive_names, self.drive = numbered(names, len(DRIVE_COLOURS))

    def _column(self, name: str) -> npt.NDArray[np.float64]:
        own: npt.NDArray[np.float64] = getattr(self.map, name)
        return own if self.before is None else np.concatenate([own, getattr(self.before, name)[self.gone]])

    def names(self) -> Iterator[str]:
        yield from self.map.ids
        if self.before is not None:
            gone = set(self.gone.tolist())
            yield from (name for row, name in enumerate(self.before.ids) if row in gone)

    def picture(self, number: int) -> bytes | None:
        """The thumbnail of one of those drawn, None where its map keeps none."""
        if self.before is None or number < self.map.count:
            path = self.map.thumbnail_path(number)
        else:
            path = self.before.thumbnail_path(int(self.gone[number - self.map.count]))
        return path.read_bytes() if path else None

    def change_legend(self) -> list[tuple[str, str]]:
        if self.before is None:
            return []
        kept, added, gone = np.bincount(self.change, minlength=3)
        earlier = f"{self.before.name}, built {self.before.created[:16].replace('T', ' ')} UTC"
        return [
            (KEPT, f"{kept:,} kept since {earlier}"),
            (ADDED, f"{added:,} added"),
            (GONE, f"{gone:,} gone"),
        ]

    def points(self, on_progress: Callable[[int], None]) -> list[Point]:
        legend = self.change_legend()
        words = [what.split()[1] for _, what in legend]
        points = []
        for number, name in enumerate(self.names()):
            picture, heading = self.picture(number), float(self.heading[number])
            known = bool(np.isfinite(heading))
            became = f"\n{words[self.change[number]]}" if words else ""
            points.append(
                Point(
                    latitude=self.latitude[number],
                    longitude=self.longitude[number],
                    label=f"{name}\n{f'heading {heading:.0f}°' if known else 'heading unknown'}{became}",
                    colour=legend[self.change[number]][0] if legend else COLOUR,
                    heading_deg=heading if known else None,
                    pictures=(picture,) if picture else (),
                )
            )
            on_progress(number + 1)
        return points

    def packed(self) -> dict[str, str]:
        x, y = _world(self.latitude, self.longitude)
        known = np.isfinite(self.heading)
        heading = np.where(known, np.rint(np.where(known, self.heading, 0)) % 360, _UNKNOWN_HEADING)
        columns = {"x": x, "y": y, "heading": heading, "drive": self.drive, "change": self.change}
        return {name: _packed(column) for name, column in columns.items()}

    def packed_names(self) -> list[str]:
        """Names in groups, so that a click unpacks one group and not all of them."""
        names = [name.replace("\n", " ") for name in self.names()]
        groups = (names[start : start + _NAMES_AT_ONCE] for start in range(0, len(names), _NAMES_AT_ONCE))
        return [_compressed("\n".join(group).encode(errors="replace")) for group in groups]

    def evenly_chosen_pictures(self) -> dict[int, bytes]:
        """Thumbnails of references at even steps through the map, as many as `PICTURE_BYTES` hold."""
        few = [self.picture(int(number)) for number in np.linspace(0, self.count - 1, 32)]
        sizes = [len(jpeg) for jpeg in few if jpeg]
        most = min(self.count, int(PICTURE_BYTES / np.mean(sizes))) if sizes else 0
        shown: dict[int, bytes] = {}
        left = PICTURE_BYTES
        for number in np.unique(np.linspace(0, self.count - 1, most).astype(np.int64)).tolist():
            jpeg = self.picture(number)
            if jpeg and len(jpeg) <= left:
                shown[number] = jpeg
                left -= len(jpeg)
        return shown


def _caption(drawn: _Drawn, pictures: int) -> list[tuple[str | None, str]]:
    place_map = drawn.map
    headings = int(np.isfinite(place_map.heading_deg).sum())
    arrows = f"an arrow where its heading is known ({headings:,} of {place_map.count:,})"
    shown = "its name, heading and picture" if pictures else "its name and heading; this map keeps no pictures"
    lines: list[tuple[str | None, str]] = [
        (None, f"{place_map.count:,} references of {place_map.model_name}, UTM {place_map.zone}"),
        (COLOUR, f"a reference, with {arrows}") if drawn.before is None else (None, f"A reference has {arrows}."),
        (None, f"Click one for {shown}."),
    ]
    if drawn.count > ONE_BY_ONE:
        lines.append((None, "Zoomed out, references are counted into pixels: the darker, the more."))
        if pictures:
            lines.append((None, f"This page holds {pictures:,} of the map's pictures, evenly chosen."))
    return lines


def _drive_legend(names: list[str], numbers: npt.NDArray[np.int64]) -> list[tuple[str, str, str]]:
    """Colour, name, and name with the number of references of each drive."""
    counts = np.bincount(numbers, minlength=len(names))
    return [
        (colour, name, f"{name} ({count:,})")
        for colour, name, count in zip(DRIVE_COLOURS, names, counts.tolist(), strict=False)
    ]


def _packed_cells(place_map: PlaceMap) -> dict[str, Any]:
    divided = cells(place_map.utm, place_map.yaw)
    # Squares of the UTM grid stand a little askew on the map, all of them alike.
    middle = divided.low[np.argmin(np.hypot(*(divided.low - np.median(divided.low, axis=0)).T))]
    corners = middle + divided.size * np.array([[0, 0], [1, 0], [0, 1]])
    x, y = (side.astype(np.int64) for side in _world(*to_latlon(corners, place_map.zone)))
    left, bottom = _world(*to_latlon(divided.low, place_map.zone))
    known = np.isfinite(divided.directions)
    return {
        "x": _packed(left),
        "y": _packed(bottom),
        "count": _packed(divided.count),
        "share": _packed(np.where(known, np.rint(100 * np.where(known, divided.directions, 0)), _UNKNOWN_SHARE)),
        "edges": {
            "east": [int(x[1] - x[0]), int(y[1] - y[0])],
            "north": [int(x[2] - x[0]), int(y[2] - y[0])],
        },
        "size": f"{divided.size:g}",
        "one_direction": 100 * ONE_DIRECTION,
    }


def _packed_aliases(place_map: PlaceMap, aliases: Aliases) -> dict[str, str]:
    found = np.flatnonzero(aliases.partners >= 0)
    order = found[np.argsort(aliases.scores[found], kind="stable")]
    rows = aliases.rows[order]
    x, y = _world(place_map.latitude[rows], place_map.longitude[rows])
    every = "every reference" if len(aliases.rows) == place_map.count else f"{len(aliases.rows):,} references"
    score = np.rint(100 * np.maximum(aliases.scores[order], 0))
    return {"x": _packed(x), "y": _packed(y), "score": _packed(score), "words": every}


def _pair(place_map: PlaceMap, aliases: Aliases, number: int) -> dict[str, Any]:
    rows = [int(aliases.rows[number]), int(aliases.partners[number])]
    ends = []
    for row in rows:
        thumbnail = place_map.thumbnail_path(row)
        ends.append(
            {
                "name": place_map.ids[row],
                "at": [float(place_map.latitude[row]), float(place_map.longitude[row])],
                "picture": base64.b64encode(thumbnail.read_bytes()).decode() if thumbnail else None,
            }
        )
    return {"ends": ends, "words": f"score {aliases.scores[number]:.1f}, {apart(place_map, *rows)}"}


def _world(
    latitude: npt.NDArray[np.float64], longitude: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Degrees -> x and y in the Mercator square, from its north-western corner, in units of 2^-32 of its side."""
    x = (np.asarray(longitude) + 180) / 360
    y = 0.5 - np.arcsinh(np.tan(np.radians(latitude))) / (2 * np.pi)
    east, south = (np.clip(np.rint(side * 2.0**32), 0, 2**32 - 1).astype(np.uint32) for side in (x, y))
    return east, south


def _packed(values: npt.NDArray[Any]) -> str:
    """Whole numbers in [0, 2^32): byte planes of the differences between neighbours, compressed."""
    steps = np.diff(np.asarray(values).astype(np.uint32), prepend=np.uint32(0)).astype("<u4")
    return _compressed(np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 4).T).tobytes())


def _compressed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()

"""The demo's page: each drive on the map, the truth beside the answers, and the pictures that led to them."""

import html
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from dsformer_core.geodesy import to_latlon
from dsformer_core.pages import Point, add_line, add_points, data_uri, new_map, rendered, write_page
from dsformer_core.pictures import read_picture
from dsformer_core.place_map import PlaceMap
from dsformer_ros.demo.report import LEGEND, RIGHT_WITHIN, Result, Summary, row_of

SHOWN = 8
_SIZE = (240, 180)
_REFERENCE, _TRUTH, _RIGHT, _WRONG, _SILENT = "#b8c7d9", "#444444", "#1b7f3b", "#c0392b", "#e08e0b"

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>dsformer demo</title><style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5em auto; max-width: 1100px; padding: 0 1em; color: #222 }}
iframe {{ width: 100%; height: 520px; border: 1px solid #ccc }}
table {{ border-collapse: collapse }} th, td {{ padding: 4px 12px; text-align: right; border-bottom: 1px solid #ddd }}
th:first-child, td:first-child {{ text-align: left }}
.pairs {{ display: flex; flex-wrap: wrap; gap: 10px }}
figure {{ margin: 0; border-top: 4px solid }} figcaption {{ font-size: 12px; max-width: 484px }}
.key span {{ margin-right: 1.5em }}
</style></head><body><h1>A lost robot, four times through an invented town</h1>
<p>The map was made on a bright day. Every answer below came over ROS 2 topics from the node in its own process, for
pictures that a camera in another process published. In the drive <i>elsewhere</i> the robot is not in the mapped town
at all; there, only silence is right.</p>
<table>{table}</table>
<p>{legend}</p>
{drives}</body></html>
"""

_DRIVE = """<h2>{name}</h2>
<p class="key"><span style="color: {truth}">● where the robot was</span>
<span style="color: {right}">● its answer, within {within:.0f} m</span>
<span style="color: {wrong}">● its answer, further off</span>
<span style="color: {silent}">● silent, or no answer came</span></p>
<iframe title="{name}" srcdoc="{map}"></iframe>
<p>Left what the camera saw, right the reference it was most like.</p>
<div class="pairs">{pairs}</div>
"""


def write_report(
    path: Path, results: Mapping[str, Sequence[Result]], summaries: Mapping[str, Summary], place_map: PlaceMap
) -> None:
    """Writes one HTML file that needs no other file and no internet."""
    rows = [row_of(name, summary) for name, summary in summaries.items()]
    cells = ["".join(f"<td>{html.escape(value)}</td>" for value in row.values()) for row in rows]
    head = "".join(f"<th>{html.escape(title)}</th>" for title in rows[0])
    drives = "".join(_drive(name, results[name], place_map) for name in results)
    table = f"<tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in cells)
    write_page(path, _PAGE.format(table=table, legend="<br>".join(map(html.escape, LEGEND)), drives=drives))


def _drive(name: str, results: Sequence[Result], place_map: PlaceMap) -> str:
    picked = [results[index] for index in np.linspace(0, len(results) - 1, min(SHOWN, len(results))).astype(int)]
    return _DRIVE.format(
        name=html.escape(name),
        truth=_TRUTH,
        right=_RIGHT,
        wrong=_WRONG,
        silent=_SILENT,
        within=RIGHT_WITHIN,
        map=html.escape(_map_of(name, results, place_map), quote=True),
        pairs="".join(_pair(result, place_map) for result in picked),
    )


def _map_of(name: str, results: Sequence[Result], place_map: PlaceMap) -> str:
    """References, true positions, answers, and a line from each answer to the truth."""
    in_town = any(result.mapped for result in results)
    corners = list(zip(place_map.latitude, place_map.longitude, strict=True))
    page = new_map(corners)
    references = [
        Point(latitude, longitude, identity, _REFERENCE)
        for (latitude, longitude), identity in zip(corners, place_map.ids, strict=True)
    ]
    add_points(page, references, radius=2)
    for result in results:
        label = f"{result.answer.picture.name}\n{_words(result)}"
        truth = _latlon(result.truth[:2], place_map)
        if in_town:
            # Another town's coordinates mean nothing on this map.
            add_points(page, [Point(*truth, label, _SILENT if result.answer.pose is None else _TRUTH)], radius=4)
        if result.answer.pose is not None:
            found = _latlon(result.answer.pose[:2], place_map)
            add_points(page, [Point(*found, label, _colour(result))], radius=5)
            if in_town:
                add_line(page, [truth, found], colour=_colour(result))
    return rendered(page, name)


def _latlon(local: tuple[float, ...], place_map: PlaceMap) -> tuple[float, float]:
    latitude, longitude = to_latlon(place_map.frame.to_utm(local), place_map.zone)
    return float(latitude), float(longitude)


def _pair(result: Result, place_map: PlaceMap) -> str:
    pictures = [_thumbnail(read_picture(result.answer.picture))]
    if result.answer.references:
        best = place_map.thumbnail_path(place_map.ids.index(result.answer.references[0]))
        if best is not None:
            pictures.append(_thumbnail(read_picture(best)))
    images = "".join(f'<img src="{data_uri(picture)}" alt=""> ' for picture in pictures)
    caption = f"{result.answer.picture.name}: {_words(result)}"
    return f'<figure style="color: {_colour(result)}">{images}<figcaption>{html.escape(caption)}</figcaption></figure>'


def _words(result: Result) -> str:
    if result.answer.pose is None:
        return "silent" if result.answer.came else "no answer came"
    return f"{result.error_m:.1f} m and {result.error_deg:.0f}° off"


def _colour(result: Result) -> str:
    if result.answer.pose is None:
        return _SILENT
    return _RIGHT if result.error_m <= RIGHT_WITHIN else _WRONG


def _thumbnail(picture: np.ndarray) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail(_SIZE)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()

"""Answers as one page to look at: each query beside its best matches, and where it is on the map."""

import html
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from dsformer_core.geodesy import grid_convergence, to_latlon, yaw_to_heading
from dsformer_core.localization.queries import Answer
from dsformer_core.localization.verdict import State
from dsformer_core.pages import Point, add_points, data_uri, new_map, rendered, write_page
from dsformer_core.pictures import read_picture
from dsformer_core.place_map import PlaceMap

SHOWN_MATCHES = 5
_THUMBNAIL_HEIGHT = 160
_COLOURS = {State.LOCALIZED: "#1b7f3b", State.AMBIGUOUS: "#b36b00", State.NO_MATCH: "#8a8a8a"}
_REFERENCE_COLOUR = "#9db7d3"

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5em; color: #222 }}
iframe {{ width: 100%; height: 420px; border: 1px solid #ccc }}
section {{ border-top: 1px solid #ddd; padding: 0.8em 0 }}
.row {{ display: flex; gap: 8px; overflow-x: auto }}
figure {{ margin: 0 }} figcaption {{ font-size: 12px; max-width: 240px; overflow-wrap: anywhere }}
figure.query img {{ outline: 3px solid #222 }}
</style></head><body><h1>{title}</h1><iframe title="map" srcdoc="{map}"></iframe>{sections}</body></html>
"""


def write_answers(answers: Sequence[Answer], place_map: PlaceMap, output: Path) -> None:
    """Writes one HTML file that needs no other file and no internet.

    Args:
        answers: of `localize_pictures`.
        place_map: the map they were found in.
        output: the file to write.

    Raises:
        DsformerError: the `viz` extra is not installed.
        OSError: the file cannot be written.
    """
    title = f"{len(answers)} pictures in {place_map.name}"
    sections = "".join(_section(answer, place_map) for answer in answers)
    picture_map = html.escape(_map_of(answers, place_map, title), quote=True)
    write_page(output, _PAGE.format(title=html.escape(title), map=picture_map, sections=sections))


def _map_of(answers: Sequence[Answer], place_map: PlaceMap, title: str) -> str:
    page = new_map(list(zip(place_map.latitude, place_map.longitude, strict=True)))
    references = [
        Point(latitude=latitude, longitude=longitude, label=identity, colour=_REFERENCE_COLOUR)
        for latitude, longitude, identity in zip(place_map.latitude, place_map.longitude, place_map.ids, strict=True)
    ]
    add_points(page, references, radius=2)
    found = []
    for answer in (answer for answer in answers if answer.hypotheses):
        latitude, longitude, heading = _pose(answer, place_map)
        found.append(
            Point(
                latitude=latitude,
                longitude=longitude,
                label=f"{answer.picture.name}\n{answer.verdict.state.value}: {answer.verdict.reason}",
                colour=_COLOURS[answer.verdict.state],
                heading_deg=heading if np.isfinite(heading) else None,
            )
        )
    add_points(page, found, radius=5, arrow=max(6.0, place_map.spacing))
    return rendered(page, title)


def _pose(answer: Answer, place_map: PlaceMap) -> tuple[float, float, float]:
    """Latitude, longitude and heading (NaN unknown) of the best hypothesis, in degrees."""
    best = answer.hypotheses[0]
    latitude, longitude = to_latlon(best.utm, place_map.zone)
    convergence = grid_convergence(latitude, longitude, place_map.zone)
    return float(latitude), float(longitude), float(yaw_to_heading(best.yaw, convergence))


def _where(answer: Answer, place_map: PlaceMap) -> str:
    """Where the picture was taken, in words, and whether that is an answer or a guess."""
    if not answer.hypotheses:
        return ""
    latitude, longitude, heading = _pose(answer, place_map)
    direction = f"heading {heading:.0f}°" if np.isfinite(heading) else "heading unknown"
    guess = "" if answer.verdict.state is State.LOCALIZED else "best guess "
    off = f", {answer.error:.1f} m from its own position" if np.isfinite(answer.error) else ""
    return f"{guess}{latitude:.6f}, {longitude:.6f} ± {answer.hypotheses[0].position_std:.0f} m, {direction}{off}"


def _section(answer: Answer, place_map: PlaceMap) -> str:
    figures = [_figure(_thumbnail(answer.picture), answer.picture.name, "query")]
    rows, similarities = answer.matches.indices[0], answer.matches.similarities[0]
    for row, similarity in zip(rows[:SHOWN_MATCHES], similarities[:SHOWN_MATCHES], strict=True):
        thumbnail = place_map.thumbnail_path(int(row))
        caption = f"{place_map.ids[row]} (similarity {similarity:.3f})"
        figures.append(_figure(thumbnail.read_bytes() if thumbnail else None, caption, "match"))
    state = answer.verdict.state
    heading = f'<b style="color: {_COLOURS[state]}">{state.value}</b> {html.escape(_where(answer, place_map))}'
    reason = html.escape(answer.verdict.reason)
    return f'<section><p>{heading}<br>{reason}</p><div class="row">{"".join(figures)}</div></section>'


def _figure(jpeg: bytes | None, caption: str, kind: str) -> str:
    picture = f'<img height="{_THUMBNAIL_HEIGHT}" src="{data_uri(jpeg)}" alt="">' if jpeg else ""
    return f'<figure class="{kind}">{picture}<figcaption>{html.escape(caption)}</figcaption></figure>'


def _thumbnail(path: Path) -> bytes:
    image = Image.fromarray(read_picture(path))
    image.thumbnail((3 * _THUMBNAIL_HEIGHT, _THUMBNAIL_HEIGHT))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()

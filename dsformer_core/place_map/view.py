"""A place map as one page to look at."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dsformer_core.pages import Point, add_caption, add_points, new_map, rendered, write_page
from dsformer_core.place_map.place_map import PlaceMap

COLOUR = "#1f6fb4"


def write_view(place_map: PlaceMap, output: Path, *, on_progress: Callable[[int], None] = lambda count: None) -> None:
    """Draws references, their headings, and, when clicked, their thumbnails.

    Args:
        place_map: the map.
        output: the HTML file to write; it needs no other file and no internet.
        on_progress: called with the number of references drawn since its last call.

    Raises:
        DsformerError: the `viz` extra is not installed.
    """
    page = new_map(list(zip(place_map.latitude, place_map.longitude, strict=True)))
    points = []
    for row in range(place_map.count):
        thumbnail = place_map.thumbnail_path(row)
        heading = float(place_map.heading_deg[row])
        known = bool(np.isfinite(heading))
        points.append(
            Point(
                latitude=place_map.latitude[row],
                longitude=place_map.longitude[row],
                label=f"{place_map.ids[row]}\n{f'heading {heading:.0f}°' if known else 'heading unknown'}",
                colour=COLOUR,
                heading_deg=heading if known else None,
                pictures=(thumbnail.read_bytes(),) if thumbnail else (),
            )
        )
        on_progress(1)
    add_points(page, points, arrow=max(3.0, 0.8 * place_map.spacing))
    add_caption(page, f"Place map {place_map.name}", _caption(place_map))
    write_page(output, rendered(page, place_map.name))


def _caption(place_map: PlaceMap) -> list[tuple[str | None, str]]:
    headings = int(np.isfinite(place_map.heading_deg).sum())
    thumbnails = any(place_map.thumbnail_path(row) is not None for row in range(place_map.count))
    shown = "its name, heading and picture" if thumbnails else "its name and heading; this map keeps no pictures"
    return [
        (None, f"{place_map.count} references of {place_map.model_name}, UTM {place_map.zone}"),
        (COLOUR, f"a reference, with an arrow where its heading is known ({headings} of {place_map.count})"),
        (None, f"Click one for {shown}."),
    ]

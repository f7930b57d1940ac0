"""A partition as one page to look at."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pa_compute

from dsformer_core.clustering.group import FRONTAL
from dsformer_core.clustering.partition import PICTURES, Partition
from dsformer_core.errors import UsageError
from dsformer_core.geodesy import grid_convergence, to_latlon
from dsformer_core.pages import Point, add_points, new_map, rendered, write_page

# Told apart on a white and on a street map; groups beyond them begin again.
COLOURS = ("#1f6fb4", "#d9541e", "#2a9134", "#8e44ad", "#b8860b", "#c2185b", "#00838f", "#5d4037", "#455a64")
# Records above which a page shows classes only: a browser draws this many dots at ease.
MOST_IMAGES = 20_000


def write_view(partition: Partition, output: Path) -> int:
    """Draws every class where its images lie, with an arrow along its street, or the way its pictures look.

    Groups are layers that can be switched off. Images are drawn too where there are no more than `MOST_IMAGES`.

    Args:
        partition: to draw.
        output: the HTML file to write; it needs no other file and no internet.

    Returns:
        How many classes were drawn.

    Raises:
        UsageError: the partition knows no UTM zone, so nobody knows where on Earth it is.
        DsformerError: the `viz` extra is not installed.
    """
    if partition.zone is None:
        raise UsageError(f"{partition.directory}: has no UTM zone, so it cannot be drawn: build it again with --zone")
    columns = _columns(partition)
    utm = np.stack([columns["easting"], columns["northing"]], axis=-1)
    latitude, longitude = to_latlon(utm, partition.zone)
    page = new_map([(latitude.min(), longitude.min()), (latitude.max(), longitude.max())])
    import folium

    layers: dict[int, Any] = {}
    for number in range(partition.groups):
        layers[number] = folium.FeatureGroup(name=f"group {number}").add_to(page)
    # Records of a class stand together.
    starts = np.flatnonzero((np.diff(columns["group"], prepend=-1) != 0) | (np.diff(columns["class"], prepend=-1) != 0))
    dots: dict[int, list[Point]] = {number: [] for number in layers}
    images: dict[int, list[Point]] = {number: [] for number in layers}
    for start, stop in zip(starts, [*starts[1:], len(utm)], strict=True):
        group = int(columns["group"][start])
        dot = _class_dot(partition, {name: values[start:stop] for name, values in columns.items()})
        dots[group].append(dot)
        if len(utm) <= MOST_IMAGES:
            images[group] += [
                Point(latitude[row], longitude[row], f"{columns['image'][row]}\n{dot.label}", dot.colour)
                for row in range(start, stop)
            ]
    for number, layer in layers.items():
        add_points(layer, images[number], radius=2)
        add_points(layer, dots[number], radius=5, arrow=10)
    folium.LayerControl(collapsed=False).add_to(page)
    write_page(output, rendered(page, partition.directory.name))
    return len(starts)


def _columns(partition: Partition) -> dict[str, npt.NDArray[Any]]:
    """The records of one view of every class: pictures have one, panoramas' is the one along the street."""
    table = partition.table
    if partition.kind != PICTURES:
        table = table.filter(pa_compute.field("angle") == FRONTAL)
    return {name: table[name].to_numpy() for name in table.column_names}


def _class_dot(partition: Partition, records: dict[str, npt.NDArray[Any]]) -> Point:
    """A class as a dot in its middle, with an arrow to its focal point."""
    assert partition.zone is not None
    centre = np.array([records["easting"].mean(), records["northing"].mean()])
    east, north = records["focal_easting"][0] - centre[0], records["focal_northing"][0] - centre[1]
    latitude, longitude = (float(value) for value in to_latlon(centre, partition.zone))
    convergence = float(np.degrees(grid_convergence(latitude, longitude, partition.zone)))
    group, images = int(records["group"][0]), len(records["row"])
    view = "along" if records["angle"][0] == FRONTAL else "across"
    looks = f", looking {view} the street" if partition.kind == PICTURES else ""
    return Point(
        latitude,
        longitude,
        f"group {group}, class {records['class'][0]}: {images} images{looks}",
        COLOURS[group % len(COLOURS)],
        heading_deg=(np.degrees(np.arctan2(east, north)) + convergence) % 360,
    )

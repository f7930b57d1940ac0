"""`dsformer map info`: what is in a map."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from dsformer_core.cli.console import print_json, print_table

if TYPE_CHECKING:
    from dsformer_core.place_map import PlaceMap

EXAMPLES = """\
examples:
  dsformer map info town.map
  dsformer map info town.map --json | jq .count
"""


def register(verbs: Any) -> None:
    """Adds `info` to `dsformer map`."""
    parser = verbs.add_parser(
        "info",
        help="what is in a map",
        description="Says what is in a map: counts, place, model, spacing, and what a similarity is worth in it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Opens the map and describes it."""
    from dsformer_core.place_map import PlaceMap

    place_map = PlaceMap.open(arguments.map)
    if arguments.json:
        print_json(describe(place_map))
    else:
        print_description(place_map)


def describe(place_map: "PlaceMap") -> dict[str, Any]:
    """A map in plain values; angles in degrees, lengths in metres."""
    from dsformer_core.geodesy import grid_convergence
    from dsformer_core.place_map.references import POSITION_BYTES

    low, high = place_map.utm.min(axis=0), place_map.utm.max(axis=0)
    size = sum(path.stat().st_size for path in place_map.directory.rglob("*") if path.is_file())
    return {
        "directory": str(place_map.directory),
        "name": place_map.name,
        "created": place_map.created,
        "count": place_map.count,
        "model": place_map.model_name,
        "weights": place_map.weights,
        "weights_sha256": place_map.weights_sha256,
        "runtime": place_map.arithmetic.runtime,
        "precision": place_map.precision,
        "agreement": place_map.arithmetic.agreement,
        "descriptor_dim": place_map.descriptor_dim,
        "descriptor_dtype": str(place_map.descriptors.dtype),
        "index": place_map.index_kind,
        "bytes_per_reference": place_map.index.bytes_per_reference,
        "position_bytes_per_reference": POSITION_BYTES,
        **place_map.index.details(),
        "utm_zone": str(place_map.zone),
        "datum": {
            "latitude": place_map.datum.latitude,
            "longitude": place_map.datum.longitude,
            "altitude": place_map.datum.altitude,
            "altitude_reference": place_map.altitude_reference,
        },
        "grid_convergence_deg": float(
            np.degrees(grid_convergence(place_map.datum.latitude, place_map.datum.longitude, place_map.zone))
        ),
        "extent_m": [float(side) for side in high - low],
        "spacing_m": place_map.spacing,
        "spacing_known": _more_than_one_spot(place_map),
        "headings_known": int(np.isfinite(place_map.yaw).sum()),
        "calibrated": place_map.calibrated,
        "calibration": place_map.calibration.to_dict(),
        "bytes": size,
    }


def print_description(place_map: "PlaceMap") -> None:
    """The same for people."""
    values = describe(place_map)
    datum, extent = place_map.datum, values["extent_m"]
    calibration = place_map.calibration
    convergence = values["grid_convergence_deg"]
    known = "median spacing {:.1f} m" if values["spacing_known"] else "spacing unknown (taken as {:.0f} m)"
    impostors = (
        f"{calibration.impostor_mean:.3f} ± {calibration.impostor_spread:.3f} in similarity, by "
        f"{calibration.unmapped_queries} references with their surroundings taken out"
    )
    within = place_map.arithmetic.agreement
    agreement = "" if within is None else f", within {within:.1e} of PyTorch in float32"
    rows = {
        "map": f"{place_map.name}, built {place_map.created}",
        "references": f"{place_map.count}, {values['headings_known']} with a heading",
        "place": f"UTM {place_map.zone}, {extent[0]:.0f} x {extent[1]:.0f} m, {known.format(place_map.spacing)}",
        "map frame": f"origin at {datum.latitude:.7f}, {datum.longitude:.7f}, {datum.altitude:.1f} m "
        f"(above: {place_map.altitude_reference})",
        "grid north": f"{abs(convergence):.3f} deg {'east' if convergence > 0 else 'west'} of true north: "
        f"navsat_transform's datum yaw is {-np.radians(convergence):.6f} rad",
        "model": f"{place_map.model_name}, weights {place_map.weights} ({place_map.weights_sha256[:12]})",
        "descriptors": f"{place_map.descriptor_dim} x {place_map.descriptors.dtype}, "
        f"computed in {place_map.arithmetic}{agreement}",
        "index": _index(place_map),
        "wrong places score": impostors if place_map.calibrated else "unknown: the map is too small to tell",
        "on disk": f"{values['bytes'] / 1e6:.1f} MB in {place_map.directory}",
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        # As Text: a name may hold what looks like rich's markup.
        table.add_row(Text(name, style="bold"), Text(value))
    print_table(table)


def _index(place_map: "PlaceMap") -> str:
    from dsformer_core.place_map.references import POSITION_BYTES

    memory = f"{place_map.index.bytes_per_reference} + {POSITION_BYTES} (position) bytes of memory per reference"
    return ", ".join(filter(None, [place_map.index_kind, place_map.index.words(), memory]))


def _more_than_one_spot(place_map: "PlaceMap") -> bool:
    """Whether the spacing was measured: with one spot there is nothing to measure between."""
    from dsformer_core.place_map.places import SAME_SPOT

    return bool((np.hypot(*(place_map.utm - place_map.utm[0]).T) > SAME_SPOT).any())

"""`dsformer map export`: a map's references for other programs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import answers, print_json, progress
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.staging import require_folder_of

if TYPE_CHECKING:
    from dsformer_core.described import Described
    from dsformer_core.place_map import PlaceMap

EXAMPLES = """\
examples:
  dsformer map export town.map --format geoparquet --output town.parquet      # QGIS, GDAL, DuckDB
  dsformer map export town.map --format geojson --output town.geojson
  dsformer map export town.map --format hloc-pairs --output pairs-db.txt      # structure from motion
  dsformer map export town.map --format hloc-pairs --queries queries/ --root /data --output pairs-query.txt
  dsformer map export town.map --format hloc-descriptors --output global-feats.h5

hloc names pictures by their path below one folder; --root says which (default: the innermost that holds them all).
"""

FORMATS = ("geoparquet", "geojson", "hloc-pairs", "hloc-descriptors")
_HLOC = "hloc-"


def register(verbs: Any) -> None:
    """Adds `export` to `dsformer map`."""
    parser = verbs.add_parser(
        "export",
        help="write a map's references for other programs",
        description="Writes references as GeoParquet 1.1 or GeoJSON for a geographic information system, or pairs of "
        "pictures or descriptors for hloc. The file is written whole or not at all.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    parser.add_argument("--format", required=True, choices=FORMATS, help="what to write")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="file to write")
    hloc = parser.add_argument_group("hloc")
    hloc.add_argument("--pairs", type=int, metavar="K", help="references of each picture (default: 20)")
    hloc.add_argument(
        "--queries",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="pair these pictures, or folders of pictures, with references, instead of references with each other",
    )
    hloc.add_argument("--root", type=Path, metavar="DIR", help="folder below which hloc names pictures")
    hloc.add_argument("--weights", help="of the map's network, for --queries: file, or name of released weights")
    hloc.add_argument("--device", help="for --queries: auto, cpu, cuda, cuda:1, … (default: auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file that is there")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes the file and says what is in it."""
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.exports import geojson, geoparquet, hloc

    _check(arguments)
    place_map = PlaceMap.open(arguments.map)
    pairs = 20 if arguments.pairs is None else arguments.pairs
    what, count = "references", place_map.count
    if arguments.queries:
        described = _described(place_map, arguments)
        count = hloc.write_query_pairs(place_map, described, arguments.output, pairs=pairs, root=arguments.root)
        what = f"pairs of {len(described)} queries"
    else:
        with progress("writing references", place_map.count) as advance:
            if arguments.format == "geoparquet":
                geoparquet.write_geoparquet(place_map, arguments.output, on_progress=advance)
            elif arguments.format == "geojson":
                geojson.write_geojson(place_map, arguments.output, on_progress=advance)
            elif arguments.format == "hloc-descriptors":
                hloc.write_descriptors(place_map, arguments.output, root=arguments.root, on_progress=advance)
            else:
                count = hloc.write_reference_pairs(
                    place_map, arguments.output, pairs=pairs, root=arguments.root, on_progress=advance
                )
                what = f"pairs of {place_map.count} references"
    if arguments.json:
        print_json({"file": str(arguments.output), "format": arguments.format, "count": count})
        return
    answers.print(f"{arguments.output}: {count} {what}", markup=False, highlight=False)


def _check(arguments: argparse.Namespace) -> None:
    """Refuses options that mean nothing together, and a file that is there."""
    if arguments.root and not arguments.format.startswith(_HLOC):
        raise UsageError(f"--root means nothing to {arguments.format}")
    if arguments.format != "hloc-pairs" and (arguments.pairs is not None or arguments.queries):
        raise UsageError(f"--pairs and --queries are of hloc-pairs, not of {arguments.format}")
    if not arguments.queries and (arguments.weights or arguments.device):
        raise UsageError("--weights and --device are of --queries")
    if arguments.pairs is not None and arguments.pairs < 1:
        raise UsageError(f"--pairs {arguments.pairs}: there must be 1 or more")
    if arguments.output.exists() and not arguments.overwrite:
        raise UsageError(f"{arguments.output} exists: choose another name, or say --overwrite")
    require_folder_of(arguments.output)


def _described(place_map: "PlaceMap", arguments: argparse.Namespace) -> "list[tuple[Path, Described]]":
    from dsformer_core.place_map.network import network_of
    from dsformer_core.sources.folder import find_pictures

    paths = find_pictures(arguments.queries)
    extractor = network_of(place_map, arguments.weights, device=arguments.device or "auto")
    described = []
    with progress("describing queries", len(paths)) as advance:
        for number, found in extractor.extract_pictures(map(extractor.loader, paths)):
            if isinstance(found, DsformerError):
                raise found
            described.append((paths[number], found))
            advance(1)
    return described

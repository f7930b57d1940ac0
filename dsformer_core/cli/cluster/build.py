"""`dsformer cluster build`: positions in, partition out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import answers, errors, print_json, steps

if TYPE_CHECKING:
    from dsformer_core.clustering import BlockClusteringConfig, GridConfig
    from dsformer_core.clustering.inputs import Located
    from dsformer_core.geodesy import UtmZone

EXAMPLES = """\
examples:
  dsformer cluster build --images panoramas/ --kind panoramas --output city.partition
  dsformer cluster build --images drive/ --output drive.partition --overwrite
  dsformer cluster build --positions city.npz --zone 10N --output city.partition --block-width 15
  dsformer cluster build --images panoramas/ --partition grid --output squares.partition
"""

# Settings of the partition, with the type that reads them and what they mean. Defaults stand in the configurations.
_SETTINGS: dict[str, tuple[type, str]] = {
    "block_width": (float, "M, metres: width of a strip (default: 10)"),
    "groups": (int, "N: groups; with --partition grid, groups along each axis (default: 5; grid: 3)"),
    "radius": (float, "r, metres: a class holds what is this close to its peak (default: 7.5)"),
    "min_distance": (float, "l, metres: least distance of the peaks of two classes (default: 40)"),
    "focal_distance": (float, "F, metres: from a class to what its views look at (default: 15; grid: 10)"),
    "min_cluster_size": (int, "of HDBSCAN (default: 15)"),
    "min_samples": (int, "of HDBSCAN (default: 15)"),
    "min_images": (int, "least images of a class (default: 10)"),
    "exclusion": (
        str,
        "of classes too close: greedy keeps the larger, remove_both is the official code's rule (default: greedy)",
    ),
    "direction": (
        str,
        "what shows a class its street: headings, surroundings or singular_vectors "
        "(default: headings of panoramas, surroundings of pictures; grid: singular_vectors)",
    ),
    "lateral_side": (str, "side of the street that lateral views look at: north or south (default: north)"),
    "cell_size": (float, "metres: side of a square of --partition grid (default: 15)"),
}


def register(verbs: Any) -> None:
    """Adds `build` to `dsformer cluster`."""
    parser = verbs.add_parser(
        "build",
        help="partition images into classes",
        description="Partitions images by where they were taken and writes the partition: whole, or not at all.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--images",
        type=Path,
        metavar="PATH",
        help="folder of images with '@' names or GPS in their EXIF, or a .csv/.parquet manifest",
    )
    source.add_argument(
        "--positions",
        type=Path,
        metavar="FILE",
        help="positions without images: .npz with 'utm' (and 'heading_deg'), .npy, or .csv/.parquet with columns "
        "easting, northing (and heading_deg)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="PARTITION", help="directory to make")
    parser.add_argument(
        "--kind",
        choices=("panoramas", "pictures"),
        help="panoramas, of which each gives both views of its class, or ordinary pictures, which are split by heading "
        "(default: by the images' shape; panoramas for --positions)",
    )
    parser.add_argument(
        "--partition",
        choices=("blocks", "grid"),
        default="blocks",
        help="block clustering, or the squares of CosPlace and EigenPlaces (default: %(default)s)",
    )
    parser.add_argument("--zone", help="UTM zone, e.g. 10N (default: that of the median position)")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")
    settings = parser.add_argument_group("settings of the partition")
    for name, (kind, words) in _SETTINGS.items():
        settings.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__.upper(), help=words)
    parser.add_argument("--overwrite", action="store_true", help="replace the partition that is there")
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Builds the partition and says what is in it and what was left out."""
    from dsformer_core.cli.cluster.info import describe, print_description
    from dsformer_core.clustering.build import build_partition
    from dsformer_core.errors import UsageError
    from dsformer_core.geodesy import UtmZone

    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: at least one thread is needed")
    zone = UtmZone.parse(arguments.zone) if arguments.zone else None
    _configuration(arguments, "panoramas")
    with steps() as show:
        located, kind = _read(arguments, zone, lambda done: show("reading positions", done, None))
        for one in located.skipped:
            errors.print(f"skipped {one.image}: {one.reason}", style="yellow", markup=False, highlight=False)
        partition = build_partition(
            located,
            arguments.output,
            _configuration(arguments, kind),
            kind=kind,
            workers=arguments.workers,
            overwrite=arguments.overwrite,
            on_progress=lambda done, total: show("clustering strips", done, total),
        )
    if arguments.json:
        skipped = [{"image": one.image, "reason": one.reason} for one in located.skipped]
        print_json(describe(partition) | {"skipped": skipped})
        return
    print_description(partition)
    left_out = f", {len(located.skipped)} images skipped" if located.skipped else ""
    answers.print(f"{arguments.output}: {partition.class_count} classes{left_out}", markup=False, highlight=False)


def _configuration(arguments: argparse.Namespace, kind: str) -> "BlockClusteringConfig | GridConfig":
    """The settings given, over the method's defaults."""
    from dsformer_core.clustering import BlockClusteringConfig, GridConfig
    from dsformer_core.errors import UsageError

    given = {name: value for name in _SETTINGS if (value := getattr(arguments, name)) is not None}
    method = BlockClusteringConfig if arguments.partition == "blocks" else GridConfig
    if foreign := [name for name in given if name not in method.__dataclass_fields__]:
        raise UsageError(f"--{foreign[0].replace('_', '-')} does not apply to --partition {arguments.partition}")
    if kind == "pictures" and arguments.partition == "blocks":
        # Where a picture looks says little about where the vehicle went.
        given.setdefault("direction", "surroundings")
    return method(**given)


def _read(arguments: argparse.Namespace, zone: "UtmZone | None", on_progress: Any) -> "tuple[Located, str]":
    """What to cluster, and whether it is panoramas or pictures."""
    from dsformer_core.clustering.inputs import locate_images, read_positions
    from dsformer_core.clustering.kinds import kind_of_images
    from dsformer_core.errors import UsageError
    from dsformer_core.sources import kind_of, open_source

    if arguments.positions is not None:
        return read_positions(arguments.positions, zone), arguments.kind or "panoramas"
    if not (kind := kind_of(arguments.images)).files:
        raise UsageError(f"{arguments.images}: is a {kind.name}; training needs pictures that are files")
    source = open_source(arguments.images, zone=zone)
    folder = arguments.images if arguments.images.is_dir() else arguments.images.parent
    seen = 0

    def count(more: int) -> None:
        nonlocal seen
        seen += more
        on_progress(seen)

    located = locate_images(source, folder, zone, count)
    return located, kind_of_images(located, arguments.kind)

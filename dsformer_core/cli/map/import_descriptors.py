"""`dsformer map import`: a map of descriptors that were made elsewhere."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import answers, errors, print_json, progress
from dsformer_core.cli.map.index_arguments import add_index_arguments, requested_index, say_why_that_index
from dsformer_core.cli.map.left_out import LeftOut
from dsformer_core.errors import DsformerError, UsageError

if TYPE_CHECKING:
    from dsformer_core.extractor import Extractor
    from dsformer_core.place_map.changes.importing import Imports, Network

EXAMPLES = """\
examples:
  dsformer map import --descriptors d.npy --references refs.csv --model dsformer_tiny --output town.map --check 20
  dsformer map import --descriptors d.parquet --references refs.parquet --model my_network --output town.map
  dsformer map import --descriptors global-feats.h5 --references refs.csv --model netvlad --output town.map

References are a table as `dsformer map sources` describes manifests; their pictures need not be here. Descriptors are
row by row those of the table: an array (N, D), or a column 'descriptor' of lists; in hloc's .h5 they go by names.
A model that `dsformer weights` does not list is allowed: such a map is searched from Python, with descriptors.
"""


def register(verbs: Any) -> None:
    """Adds `import` to `dsformer map`."""
    parser = verbs.add_parser(
        "import",
        help="make a map of descriptors that were made elsewhere",
        description="Writes a map of descriptors and positions. Descriptors that are not of unit length are made so; "
        "one that is zero or not finite ends the import.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--descriptors", type=Path, required=True, metavar="FILE", help=".npy, .parquet or .h5")
    parser.add_argument("--references", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    parser.add_argument("--zone", help="UTM zone of coordinates that come without one, e.g. 33N")
    parser.add_argument("--output", type=Path, required=True, metavar="MAP", help="directory to make")
    parser.add_argument("--model", required=True, metavar="NAME", help="network that made the descriptors")
    parser.add_argument(
        "--weights",
        help="its weights: file, or name of released weights (default: those released for the model)",
    )
    parser.add_argument("--name", help="what to call the map (default: the directory's name)")
    add_index_arguments(parser)
    parser.add_argument(
        "--check", type=int, metavar="N", help="describe N of the pictures, and refuse descriptors that are others"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the map that is there")
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Imports the descriptors and says what was made of them."""
    from dsformer_core.cli.map.info import describe
    from dsformer_core.geodesy import UtmZone
    from dsformer_core.place_map.changes.importing import Imports, import_place_map
    from dsformer_core.sources import ManifestSource
    from dsformer_core.sources.manifest import MANIFEST_SUFFIXES

    if arguments.check is not None and arguments.check < 1:
        raise UsageError(f"--check {arguments.check}: there must be 1 or more")
    if not arguments.references.is_file() or arguments.references.suffix.lower() not in MANIFEST_SUFFIXES:
        raise UsageError(f"{arguments.references}: give a table of references ({' or '.join(MANIFEST_SUFFIXES)})")
    zone = UtmZone.parse(arguments.zone) if arguments.zone else None
    imports = Imports(ManifestSource(arguments.references, zone=zone), arguments.descriptors)
    left_out = LeftOut()
    for skipped in imports.skipped:
        left_out.add(skipped)
    if imports.normalised:
        words = f"{imports.normalised} of {len(imports.pictures)} descriptors were not of unit length, and are made so"
        errors.print(words, style="yellow", markup=False, highlight=False)
    network, extractor = _network(arguments, imports)
    least = _check(arguments, imports, extractor) if arguments.check else None
    with progress("writing references", len(imports.pictures)) as advance:
        place_map = import_place_map(
            imports,
            network,
            arguments.output,
            name=arguments.name,
            index=requested_index(arguments),
            overwrite=arguments.overwrite,
            on_progress=advance,
        )
    say_why_that_index(place_map)
    if arguments.json:
        counts = {"skipped": left_out.values(), "normalised": imports.normalised, "least_similarity": least}
        print_json(describe(place_map) | counts)
        return
    checked = "" if least is None else f", {arguments.check} checked: similar by {least:.4f} or more"
    words = f"{place_map.count} references of {place_map.model_name}{left_out.words('row')}{checked}"
    answers.print(f"{arguments.output}: {words}", markup=False, highlight=False)


def _network(arguments: argparse.Namespace, imports: "Imports") -> "tuple[Network, Extractor | None]":
    """What the map says of its network, and the network itself where it is one of ours."""
    from dsformer_core.extractor import Extractor
    from dsformer_core.models import list_models
    from dsformer_core.place_map.changes.importing import Network
    from dsformer_core.place_map.format import file_digest

    if arguments.model not in list_models():
        words = f"{arguments.model} is no network of this program: the map is searched from Python, with descriptors"
        errors.print(words, style="yellow", markup=False, highlight=False)
        if arguments.check:
            raise UsageError(f"--check needs a network of this program, and {arguments.model} is none")
        if not arguments.weights:
            return Network(arguments.model), None
        weights = Path(arguments.weights)
        if not weights.is_file():
            raise UsageError(f"{weights}: no such file")
        return Network(arguments.model, file_digest(weights), weights.name), None
    extractor = Extractor(arguments.model, arguments.weights or "auto")
    if extractor.descriptor_dim != imports.dimension:
        raise DsformerError(
            f"{arguments.descriptors} has descriptors of {imports.dimension} numbers, those of {arguments.model} have "
            f"{extractor.descriptor_dim}"
        )
    return Network(arguments.model, extractor.weights_sha256, extractor.weights), extractor


def _check(arguments: argparse.Namespace, imports: "Imports", extractor: "Extractor | None") -> float:
    """The least similarity of what is imported to what the network says of the pictures.

    Raises:
        DsformerError: it is that of other pictures or another network.
    """
    from dsformer_core.place_map.changes.importing import SAME_NETWORK

    assert extractor is not None
    name, least = min(imports.similarities(extractor, arguments.check), key=lambda one: one[1])
    if least < SAME_NETWORK:
        raise DsformerError(
            f"{arguments.descriptors}: the descriptor of {name} is not what {arguments.model} ({extractor.weights}) "
            f"says of it (similarity {least:.3f}): are model, weights and the order of rows right?"
        )
    return least

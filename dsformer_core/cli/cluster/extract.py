"""`dsformer cluster extract`: a partition's views as small pictures on disk."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, errors, print_json, steps

EXAMPLES = """\
examples:
  dsformer cluster extract city.partition --output city.subset
  dsformer cluster extract city.partition --output city.subset --aspect squeeze    as the official code cuts
  dsformer cluster extract city.partition --output small.subset --size 256 --images /mnt/panoramas
  dsformer train training/recipes/dsformer_resnet50.yaml --data city.subset --output runs/resnet50
"""

# Lines of unreadable images that are shown; all are in the subset's list.
_SHOWN = 10


def register(verbs: Any) -> None:
    """Adds `extract` to `dsformer cluster`."""
    parser = verbs.add_parser(
        "extract",
        help="write the views of a partition as pictures to train on",
        description="Cuts 90 degrees towards the focal point out of every panorama of a partition, per class and view, "
        "and writes it as a JPEG; of an ordinary picture, a small copy. Given again, it goes on where it stopped.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("partition", type=Path, metavar="PARTITION", help="the partition's directory")
    parser.add_argument("--output", type=Path, required=True, metavar="SUBSET", help="directory to write into")
    parser.add_argument(
        "--aspect",
        choices=("keep", "squeeze"),
        default="keep",
        help="keep: the largest undistorted square about the focal point; squeeze: all 90 degrees, made square as the "
        "official code does (default: %(default)s)",
    )
    parser.add_argument(
        "--size", type=int, default=512, metavar="PIXELS", help="side of the pictures, at most (default: %(default)s)"
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="where the images are (default: where the partition says)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Extracts what is not there yet, and says what is there now."""
    from dsformer_core.clustering.partition import Partition
    from dsformer_core.errors import UsageError
    from dsformer_core.training.data.extract import extract_subset

    for option, least in (("size", 16), ("workers", 1)):
        if (value := getattr(arguments, option)) is not None and value < least:
            raise UsageError(f"--{option} {value}: at least {least}")
    with steps() as show:
        extraction = extract_subset(
            Partition.open(arguments.partition),
            arguments.output,
            size=(arguments.size, arguments.size),
            aspect=arguments.aspect,
            images_root=arguments.images,
            workers=arguments.workers,
            on_progress=lambda done, total: show("extracting", done, total),
        )
    if arguments.json:
        print_json({"directory": str(arguments.output), **vars(extraction)})
        return
    for reason in list(extraction.unreadable.values())[:_SHOWN]:
        errors.print(f"unreadable: {reason}", style="yellow", markup=False, highlight=False)
    if extraction.unreadable:
        lost = f", which leaves {extraction.lost_classes} classes empty" if extraction.lost_classes else ""
        errors.print(
            f"{len(extraction.unreadable)} images could not be read{lost}: see {arguments.output}/unreadable.csv",
            style="yellow", markup=False, highlight=False,
        )  # fmt: skip
    answers.print(
        f"{arguments.output}: {extraction.pictures} pictures of {extraction.classes} classes, "
        f"{extraction.written} written now",
        markup=False, highlight=False,
    )  # fmt: skip

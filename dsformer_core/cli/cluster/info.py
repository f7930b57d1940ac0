"""`dsformer cluster info`: what is in a partition."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dsformer_core.cli.console import answers, print_json

if TYPE_CHECKING:
    from dsformer_core.clustering import Partition

EXAMPLES = """\
examples:
  dsformer cluster info city.partition
  dsformer cluster info city.partition --json | jq .statistics.share
"""


def register(verbs: Any) -> None:
    """Adds `info` to `dsformer cluster`."""
    parser = verbs.add_parser(
        "info",
        help="what is in a partition",
        description="Says how many classes of which size a partition has and what share of the images it keeps, beside "
        "what EigenPlaces' squares of 15 m, cut off at the same size, and for pictures split by heading, keep of the "
        "same input.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("partition", type=Path, metavar="PARTITION", help="the partition's directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Opens the partition and describes it."""
    from dsformer_core.clustering import Partition

    partition = Partition.open(arguments.partition)
    if arguments.json:
        print_json(describe(partition))
    else:
        print_description(partition)


def describe(partition: "Partition") -> dict[str, Any]:
    """A partition in plain values."""
    from dsformer_core.clustering.statistics import classes_with_headings, statistics_of_partition

    return {
        "directory": str(partition.directory),
        "kind": partition.kind,
        "method": partition.method,
        "config": partition.config.to_dict(),
        "utm_zone": None if partition.zone is None else str(partition.zone),
        "images_root": None if partition.images_root is None else str(partition.images_root),
        "locations": partition.locations,
        "groups": partition.groups,
        "statistics": statistics_of_partition(partition),
        "classes_with_headings": classes_with_headings(partition),
        "grid": partition.description.get("grid"),
        "input_sha256": partition.description["input_sha256"],
    }


def print_description(partition: "Partition") -> None:
    """The same for people."""
    values = describe(partition)
    settings = ", ".join(f"{name} {value}" for name, value in values["config"].items())
    head = Table(show_header=False, box=None)
    for name, value in {
        "partition": f"{partition.locations} {partition.kind} by {partition.method}, {partition.groups} groups",
        "settings": settings,
        **_streets(values),
        "images": values["images_root"] or "none, positions only",
        "UTM zone": values["utm_zone"] or "unknown",
    }.items():
        head.add_row(f"[bold]{name}", value)
    answers.print(head, highlight=False)

    ours, grid = values["statistics"], values["grid"]
    columns = [ours, *([grid] if grid else [])]
    table = Table(box=None)
    for title in ("", "this partition", "squares of 15 m")[: len(columns) + 1]:
        table.add_column(title, justify="left" if not title else "right")
    table.add_row("classes", *(str(one["classes"]) for one in columns))
    table.add_row("images kept", *(f"{one['images']} ({100 * one['share']:.1f} %)" for one in columns))
    table.add_row("images over all groups", *(str(one["memberships"]) for one in columns))
    sized = [one["sizes"] or {} for one in columns]
    for name, words in (
        ("p5", "class size, 5th percentile"),
        ("p50", "class size, median"),
        ("p95", "class size, 95th percentile"),
        ("largest", "class size, largest"),
    ):
        table.add_row(words, *(f"{one[name]:.0f}" if one else "" for one in sized))
    table.add_row("spread of sizes (std/mean)", *(f"{one['variation']:.2f}" if one else "" for one in sized))
    for label in ours["histogram"]:
        table.add_row(f"classes of {label} images", *(str(one["histogram"].get(label, 0)) for one in columns))
    answers.print(table, highlight=False)


def _streets(values: dict[str, Any]) -> dict[str, str]:
    """What showed the classes their streets, where that is not what the settings say."""
    blind = values["statistics"]["classes"] - values["classes_with_headings"]
    if values["config"]["direction"] != "headings" or not blind:
        return {}
    return {"streets": f"of {blind} classes by their surroundings: no heading is known there"}

"""`dsformer map diff`: what became of a map."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import answers, print_json, progress

if TYPE_CHECKING:
    from dsformer_core.place_map.changes.difference import Difference

EXAMPLES = """\
examples:
  dsformer map diff monday.map tuesday.map
  dsformer map diff monday.map tuesday.map --json | jq -r '.removed[]'
"""

# Names of references that a person is shown of each kind of change.
_SHOWN = 3


def register(verbs: Any) -> None:
    """Adds `diff` to `dsformer map`."""
    parser = verbs.add_parser(
        "diff",
        help="what two maps differ in",
        description="Says which references were added, removed, moved and described anew (the same where their ids "
        "are), and whether model, index and frame are the same. The exit status is 0 either way.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", type=Path, metavar="BEFORE", help="a map's directory")
    parser.add_argument("after", type=Path, metavar="AFTER", help="another map's directory")
    parser.add_argument("--json", action="store_true", help="print JSON, with every id")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Compares the maps."""
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.changes.difference import difference

    before, after = PlaceMap.open(arguments.before), PlaceMap.open(arguments.after)
    with progress("comparing references", after.count) as advance:
        found = difference(before, after, on_progress=advance)
    if arguments.json:
        print_json(_as_json(found))
    else:
        for line in _in_words(found):
            answers.print(line, markup=False, highlight=False)


def _as_json(found: "Difference") -> dict[str, Any]:
    moved = [{"id": name, "metres": float(metres)} for name, metres in zip(found.moved, found.moved_m, strict=True)]
    return {
        "same": found.none,
        "before": found.before,
        "after": found.after,
        "added": found.added,
        "removed": found.removed,
        "moved": moved,
        "described_anew": found.described_anew,
        "properties": {name: {"before": old, "after": new} for name, (old, new) in found.properties.items()},
    }


def _in_words(found: "Difference") -> list[str]:
    lines = [f"{found.before} references before, {found.after} after"]
    names = {"added": found.added, "removed": found.removed, "moved": found.moved}
    for change, ids in (names | {"described anew": found.described_anew}).items():
        if ids:
            more = ", …" if len(ids) > _SHOWN else ""
            furthest = f", by up to {found.moved_m.max():.2f} m" if change == "moved" else ""
            lines.append(f"{len(ids)} {change}{furthest}: {', '.join(ids[:_SHOWN])}{more}")
    lines += [f"{name}: {old} before, {new} after" for name, (old, new) in found.properties.items()]
    return lines if not found.none else [f"no difference: {found.before} references"]

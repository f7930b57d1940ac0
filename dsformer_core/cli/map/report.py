"""`dsformer map report`: a map's strengths and weak spots as one page."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, print_json, steps

EXAMPLES = """\
examples:
  dsformer map report town.map                          writes town.report.html beside it
  dsformer map report town.map --output report.html
  dsformer map report town.map --json | jq .localization.wrong_share
"""


def register(verbs: Any) -> None:
    """Adds `report` to `dsformer map`."""
    parser = verbs.add_parser(
        "report",
        help="say how good a map is, and what to mend, on one HTML page",
        description="Writes one self-contained HTML page: coverage, directions, times, picture quality, what looks "
        "alike, how exactly held-out references are localized, and in words what to mend.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="page to write (default: the map's name with .report.html)"
    )
    parser.add_argument(
        "--likes",
        type=int,
        metavar="N",
        help="references that are asked which other place they look like (default: all of a small map, of a large "
        "one as many as take some ten seconds)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the references that are asked (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the numbers; a page is written where --output says")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Surveys the map, writes the page, says what to mend."""
    from dataclasses import asdict

    from dsformer_core.localization.advice import advise
    from dsformer_core.localization.report import write_survey
    from dsformer_core.localization.survey import survey
    from dsformer_core.pages import require_page_name
    from dsformer_core.place_map import PlaceMap

    output = arguments.output
    if output is None and not arguments.json:
        output = arguments.map.absolute().with_suffix(".report.html")
    if output is not None:
        require_page_name(output)
    place_map = PlaceMap.open(arguments.map)
    with steps() as show:
        found = survey(place_map, seed=arguments.seed, aliases=arguments.likes, on_progress=show)
    if output is not None:
        write_survey(found, output)
    advice = advise(found)
    if arguments.json:
        print_json({**found.numbers(), "advice": [asdict(one) for one in advice]})
        return
    for one in advice:
        answers.print(f"- {one.found}\n  {one.do}", markup=False, highlight=False)
    answers.print(f"{output}: {place_map.count} references", markup=False, highlight=False)

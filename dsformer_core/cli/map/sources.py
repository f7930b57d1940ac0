"""`dsformer map sources`: where pictures may come from."""

import argparse
from typing import Any

from dsformer_core.cli.console import answers, print_json

EXAMPLES = """\
examples:
  dsformer map sources
  dsformer map sources --json | jq -r '.[].name'
"""


def register(verbs: Any) -> None:
    """Adds `sources` to `dsformer map`."""
    parser = verbs.add_parser(
        "sources",
        help="where pictures may come from, with examples",
        description="Lists every kind of source: what it is, what it needs, which options it takes, and examples.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Lists the kinds."""
    from dsformer_core.sources.kinds import FOR_ALL, KINDS
    from dsformer_core.sources.options import option

    kinds = [
        {
            "name": kind.name,
            "what": kind.what,
            "needs": kind.needs,
            "options": sorted(option(name) for name in kind.options),
            "install": f"pip install 'dsformer_ros[{kind.extra}]'" if kind.extra else "",
            "examples": [f"dsformer map build {example} --output MAP --model NAME" for example in kind.examples],
        }
        for kind in KINDS
    ]
    if arguments.json:
        print_json(kinds)
        return
    for kind in kinds:
        lines = [f"{kind['name']}: {kind['what']}", f"  needs    {kind['needs']}"]
        lines += [f"  install  {kind['install']}"] if kind["install"] else []
        lines += [f"  options  {' '.join(kind['options'])}"] if kind["options"] else []
        lines += [f"  example  {example}" for example in kind["examples"]]
        answers.print("\n".join(lines), "", sep="\n", markup=False, highlight=False)
    all_of_them = " ".join(sorted(option(name) for name in FOR_ALL))
    answers.print(f"every kind takes {all_of_them}; several paths become one source", markup=False, highlight=False)

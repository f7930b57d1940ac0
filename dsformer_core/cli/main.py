"""Entry point of `dsformer`: finds the sub-commands, runs one, turns failures into one line and an exit status."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points, version
from typing import Any

from dsformer_core.cli.console import errors
from dsformer_core.errors import DsformerError

COMMANDS = "dsformer.commands"

EXAMPLES = """\
examples:
  dsformer map build --images drive/ --output town.map --model dsformer_tiny
  dsformer map view town.map --output town.html
  dsformer localize picture.jpg --map town.map
  dsformer COMMAND --help        every command has examples of its own
"""


class _Parser(argparse.ArgumentParser):
    """Refuses what it does not know with its own usage; Python's leaves that to the whole command line's."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, with every installed sub-command."""
    parser = _Parser(
        prog="dsformer",
        description="Make maps of geotagged pictures, and ask them where a picture was taken.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dsformer {version('dsformer_ros')}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for entry in sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name):
        try:
            register = entry.load()
        except (ImportError, AttributeError) as error:
            # Another package's, or of an installation that was changed since: all other commands go on.
            errors.print(f"dsformer: {entry.name} cannot be loaded ({error}): install it anew", highlight=False)
            continue
        register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        0 when it succeeded, 1 when it failed, 2 when it was called wrongly.

    Raises:
        KeyboardInterrupt: it was interrupted, and said so.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    arguments = build_parser().parse_args(argv)
    # What ends the process politely gives long work the chance to clean up behind itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments.run(arguments)
    except DsformerError as error:
        return _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        _fail("interrupted", 1)
        # The interpreter then ends as killed by SIGINT, without a traceback: a shell's loop around us goes on after any
        # exit status, and ends with Ctrl-C only if we die of it.
        sys.excepthook = lambda *_: None
        raise
    except BrokenPipeError:
        # Whoever read our output has gone (`dsformer … | head`); Python must not complain about it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(f"{error.filename or 'operating system'}: {error.strerror or error}", 1)
    return 0


def _fail(message: str, status: int) -> int:
    errors.print(f"dsformer: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    return status


if __name__ == "__main__":
    sys.exit(main())

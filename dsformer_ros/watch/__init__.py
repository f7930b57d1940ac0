"""`dsformer watch`: a live page of what the localizer says, for robots without a screen."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.errors import DsformerError, UsageError

PORT = 8700

EXAMPLES = """\
examples:
  dsformer watch                                      then open http://127.0.0.1:8700/
  ssh -t -L 8700:127.0.0.1:8700 robot dsformer watch  the same, of a robot elsewhere
  dsformer watch --host 0.0.0.0 --port 9000           for everybody in the network: nobody is asked for a password
  dsformer watch --node /robot1/dsformer_localizer --map town.map
"""


def register(subparsers: Any) -> None:
    """Adds `watch` to the command line."""
    parser = subparsers.add_parser(
        "watch",
        help="show live in a browser what the localizer says",
        description="Serves one page with the map, the hypotheses with their ellipses, the state with its reason, the "
        "latency and the latest match image of a running localizer. It listens and changes nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve on (default: %(default)s, this machine alone)"
    )
    parser.add_argument("--port", type=_port, default=PORT, help="port; 0: any free one (default: %(default)s)")
    parser.add_argument(
        "--node", default="/dsformer_localizer", help="the localizer, with its namespace (default: %(default)s)"
    )
    parser.add_argument("--map", type=Path, help="its place map (default: what its parameter names, on this machine)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Serves until Ctrl-C.

    Raises:
        UsageError: the node's name is none.
        DsformerError: ROS or aiohttp is missing, the map cannot be opened, or the port is taken.
    """
    try:
        from dsformer_ros.watch.listener import Listener
    except ImportError as error:
        raise DsformerError(
            f"ROS 2 is not there ({error.name}): source its setup.bash, or pip install 'dsformer_ros[ros]'"
        ) from error
    try:
        from dsformer_ros.watch.server import serve
    except ImportError as error:
        raise DsformerError(f"the page needs {error.name}: pip install 'dsformer_ros[watch]'") from error
    from dsformer_core.place_map import PlaceMap

    if not arguments.node.startswith("/"):
        example = f"/{arguments.node or 'dsformer_localizer'}"
        raise UsageError(f"--node '{arguments.node}': give it with its namespace, e.g. {example}")
    place_map = PlaceMap.open(arguments.map) if arguments.map else None
    listener = Listener(arguments.node, place_map)
    try:
        serve(listener, arguments.host, arguments.port)
    finally:
        listener.close()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port: 0 to 65535")
    return int(text)

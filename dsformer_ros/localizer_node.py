"""The program `localizer_node`: runs the managed node until a signal ends it."""

import argparse
import gc
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any

from dsformer_core.errors import DsformerError, UsageError

# Seconds.
_AGAIN = 0.2

EXAMPLES = """\
examples:
  localizer_node --ros-args -p autostart:=true -p map:=town.map
  localizer_node --ros-args -p autostart:=true -p map:=town.map -p cameras:='[/camera/image_raw/compressed]'
  localizer_node --ros-args --params-file my.yaml -r __ns:=/robot1

Every parameter with its default and meaning: config/localizer.yaml, or `ros2 param describe` on the running node.
Without autostart the node waits unconfigured for a lifecycle manager or `ros2 lifecycle set`.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line, without ROS's own arguments: there is nothing but help."""
    return argparse.ArgumentParser(
        prog="localizer_node",
        description="Localizes what cameras see in a place map. All settings are ROS parameters, after --ros-args.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until it is told to end.

    Returns:
        0 after SIGINT or SIGTERM, 2 when it was called wrongly.
    """
    # The network's threads wait for each other many times per picture. Waiting by spinning, as OpenMP does unless told
    # before it is loaded, takes the cores from whoever they wait for where a robot has other work: with two threads on
    # two busy cores a picture took five to eight times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command_line = list(sys.argv if arguments is None else ["localizer_node", *arguments])
    # Both signals end whatever runs, imports and a slow configure included. rclpy's own handlers would end the context
    # first, and with it the node's last word on ~/status.
    _Ended.came = False
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, _end)
    try:
        _run(command_line)
    except _Ended:
        pass
    except DsformerError as error:
        print(f"localizer_node: {error}", file=sys.stderr)
        return error.exit_status
    except Exception:
        # What breaks while a signal ends everything tells nobody anything.
        if not _Ended.came:
            raise
    finally:
        _ignore_signals()
        # The interpreter would look through all of PyTorch's objects once more on its way out, for more than a second.
        gc.freeze()
    return 0


def _run(command_line: list[str]) -> None:
    # Takes seconds, most of them PyTorch's.
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    node: Any = None
    ended = True
    try:
        _start_ros(command_line)
        from dsformer_ros.node import LocalizerNode

        node = LocalizerNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except ExternalShutdownException:
        pass
    finally:
        _ignore_signals()
        if node is not None:
            ended = node.close()
            node.destroy_node()
        rclpy.try_shutdown()
        if not ended:
            # The interpreter would wait for the network, or be torn down under it.
            failure = sys.exc_info()[1]
            crashed = failure is not None and not _Ended.came
            if crashed:
                traceback.print_exception(failure)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1 if crashed else 0)


def _start_ros(command_line: list[str]) -> None:
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    try:
        build_parser().parse_args(remove_ros_args(command_line)[1:])
        rclpy.init(args=command_line, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:
        # About arguments and parameter files, in exceptions of many kinds.
        raise UsageError(" ".join(str(error).split())) from error


def _ignore_signals() -> None:
    """Whoever is impatient and signals twice must not see a traceback."""
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _Ended(BaseException):
    """A signal came. KeyboardInterrupt would do, had Python no memory of where it crossed C code, caught or not."""

    came = False


def _end(_number: int, _frame: FrameType | None) -> None:
    _Ended.came = True
    # Once more, until it is heard: destructors and libraries that catch everything swallow what is raised in them.
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    raise _Ended


if __name__ == "__main__":
    sys.exit(main())

"""A robot's worth of processes: the localizer, a camera, and somebody who listens."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dsformer_core.cli.console import progress
from dsformer_core.errors import DsformerError
from dsformer_core.sources.folder import find_pictures
from dsformer_ros.demo.recorder import Answer, Recorder
from dsformer_ros.domains import private_domain

CAMERA = "/demo/camera/image/compressed"
LOCALIZER = "/dsformer_localizer"
# Pictures per second: what two cores answer without dropping any.
RATE = 4.0
START_UP = 120.0


def drive(map_directory: Path, pictures: Path) -> list[Answer]:
    """Shows the pictures of a folder to a localizer, one after the other, each in a process of its own.

    Args:
        map_directory: the place map to localize in.
        pictures: folder of JPEGs.

    Returns:
        One answer per picture that was published, in order.

    Raises:
        DsformerError: a process ended early or did not come up.
    """
    with private_domain() as domain:
        # This machine alone, too: robots on the network neither see nor disturb it.
        os.environ.update(ROS_DOMAIN_ID=str(domain), ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
        return _drive(map_directory, pictures, domain)


def _drive(map_directory: Path, pictures: Path, domain: int) -> list[Answer]:
    paths = find_pictures([pictures])
    recorder = Recorder(paths, camera=CAMERA, localizer=LOCALIZER, domain=domain)
    parameters = (f"map:={map_directory}", f"cameras:=[{CAMERA}]", "autostart:=true")
    overrides = [word for parameter in parameters for word in ("-p", parameter)]
    try:
        with _process("localizer_node", "--ros-args", *overrides) as node:
            if not recorder.spin_until(lambda: recorder.status is not None or node.poll() is not None, START_UP):
                raise DsformerError(f"the localizer did not come up within {START_UP:.0f} s")
            if node.poll() is not None:
                raise DsformerError(f"the localizer ended early with status {node.returncode}; its words stand above")
            with (
                _process(
                    "picture_publisher", str(pictures), "--topic", CAMERA, "--rate", str(RATE), "--subscribers", "2"
                ) as camera,
                progress(f"driving {pictures.name}", len(paths)) as advance,
            ):
                shown = 0
                while camera.poll() is None:
                    recorder.spin_for(0.2)
                    advance(recorder.answered - shown)
                    shown = recorder.answered
                if camera.returncode:
                    raise DsformerError(f"the camera ended with status {camera.returncode}; its words stand above")
            recorder.spin_until(lambda: recorder.answered == len(paths), 2.0)
        return recorder.answers()
    finally:
        recorder.close()


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An executable of this package as a process of its own, ended as Ctrl-C would."""
    command: Sequence[str] = (sys.executable, "-m", f"dsformer_ros.{module}", *arguments)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

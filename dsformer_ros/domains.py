"""A ROS domain that no other demo, benchmark or test on this machine is using."""

import fcntl
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsformer_core.errors import DsformerError

# Domain 0 is where robots are; above 101 the ports of Linux's DDS participants meet those that it hands to anybody.
_DOMAINS = range(1, 102)


@contextmanager
def private_domain() -> Iterator[int]:
    """Reserves a domain until the block ends or the process does, however it does.

    Raises:
        DsformerError: all are reserved.
    """
    # At random: what processes of the last reservation left in the network has time to fade.
    for domain in random.sample(_DOMAINS, len(_DOMAINS)):
        try:
            lock = (Path(tempfile.gettempdir()) / f"dsformer_ros_domain_{domain}.lock").open("w")
        except PermissionError:
            # Another user's.
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            # The file stays: whoever deleted it could take the name from under somebody who has just opened it.
            yield domain
            return
    raise DsformerError(f"all ROS domains from {_DOMAINS[0]} to {_DOMAINS[-1]} are in use on this machine")

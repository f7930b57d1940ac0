"""How many cores this process may use: a container or `taskset` may leave fewer than the machine has."""

import os


def usable_cores() -> int:
    """At least 1; all of the machine's where the system does not tell which this process may use, as on macOS."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

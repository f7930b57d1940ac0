"""Signals at random moments of a node's start and work."""

import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ros_processes import NodeProcess, listener

from tests.dsformer_ros.faults.rig import FRONT, REAR, Rig, arguments


@dataclass(frozen=True)
class End:
    """How a process took a signal that came `after` seconds from its start."""

    how: str
    after: float
    took: float
    status: int
    output: str

    @property
    def is_clean(self) -> bool:
        return self.status == 0 and "Traceback" not in self.output


def interrupt(domain: int, folder: Path, times: int, *, latest: float, seed: int = 0) -> list[End]:
    """Starts nodes, one after the other, and ends each at a moment between its start and `latest` seconds later.

    Pictures come from the moment that the node listens. The moments are spread evenly, each at a random place of its
    share, and the signals take turns.
    """
    chance = random.Random(seed)
    ends = []
    for number in range(times):
        how = (signal.SIGINT, signal.SIGTERM)[number % 2]
        after = latest * (number + chance.random()) / times
        given = arguments(cameras=[FRONT, REAR], autostart=True, threads=1)
        process = NodeProcess("localizer_node", domain, *given, log=folder / f"{number}.log")
        start = time.monotonic()
        with listener(domain) as ears:
            rig = Rig(process, ears)
            picture = 0
            while time.monotonic() - start < after:
                if rig.front.get_subscription_count():
                    rig.front.publish(rig.picture(picture))
                    picture += 1
                ears.spin_for(min(0.05, max(0.0, start + after - time.monotonic())))
            told = time.monotonic()
            status = process.end(how)
            ends.append(End(how.name, after, time.monotonic() - told, status, process.output))
    return ends

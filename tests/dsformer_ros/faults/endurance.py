"""Ten pictures a second, for as long as one likes."""

import time
from collections.abc import Callable

from tests.dsformer_ros.faults.rig import Rig, Vitals

# Row at which it turns back, and rows passed in a second, which lie 4 m apart.
_FARTHEST, _ROWS_PER_SECOND = 50, 1.0


def endure(
    rig: Rig, seconds: float, *, rate: float = 10.0, warm_up: float = 60.0, every: float = 10.0,
    on_progress: Callable[[float, Vitals], None] = lambda elapsed, vitals: None,
) -> tuple[list[Vitals], float]:  # fmt: skip
    """Shows pictures at a steady rate, while the robot drives up and down the road at some 4 m/s.

    Args:
        rig: an active node.
        seconds: how long, after the warm-up.
        rate: pictures per second.
        warm_up: seconds before the first look.
        every: seconds between looks.
        on_progress: gets the seconds since the first look, and what was seen.

    Returns:
        What the process held, at each look; and which share of the pictures was answered.
    """
    rig.settle()
    rig.step = 1 / rate
    recorded = (rig.hypotheses, rig.poses, rig.statuses, rig.diagnostics)
    start = time.monotonic()
    shown = answered = 0
    look = start + warm_up
    seen: list[Vitals] = []
    while time.monotonic() < start + warm_up + seconds:
        # What is recorded here would grow, too.
        for messages in recorded:
            messages.clear()
        ahead = _ROWS_PER_SECOND * shown / rate % (2 * _FARTHEST)
        rig.front.publish(rig.picture(min(ahead, 2 * _FARTHEST - ahead)))
        shown += 1
        rig.ears.spin_for(max(0.0, start + shown / rate - time.monotonic()))
        answered += len(rig.hypotheses)
        if time.monotonic() >= look:
            seen.append(rig.vitals)
            on_progress(time.monotonic() - start - warm_up, seen[-1])
            look += every
    return seen, answered / shown

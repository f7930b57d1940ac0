"""Ten pictures a second, for as long as one likes."""

import time
from collections.abc import Callable

from tests.dsformer_ros.faults.rig import Rig, Vitals


def endure(
    rig: Rig, seconds: float, *, rate: float = 10.0, warm_up: float = 60.0, every: float = 10.0,
    on_progress: Callable[[float, Vitals], None] = lambda elapsed, vitals: None,
) -> tuple[list[Vitals], float]:  # fmt: skip
    """Shows pictures at a steady rate.

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
    recorded = (rig.hypotheses, rig.poses, rig.statuses, rig.diagnostics)
    start = time.monotonic()
    shown = answered = 0
    look = start + warm_up
    seen: list[Vitals] = []
    while time.monotonic() < start + warm_up + seconds:
        # What is recorded here would grow, too.
        for messages in recorded:
            messages.clear()
        rig.front.publish(rig.picture(shown))
        shown += 1
        rig.ears.spin_for(max(0.0, start + shown / rate - time.monotonic()))
        answered += len(rig.hypotheses)
        if time.monotonic() >= look:
            seen.append(rig.vitals)
            on_progress(time.monotonic() - start - warm_up, seen[-1])
            look += every
    return seen, answered / shown

"""The whole life of a node, again and again."""

from tests.dsformer_ros.faults.rig import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, Rig, Vitals


def live(rig: Rig, lives: int, *, warm_up: int) -> tuple[Vitals, Vitals]:
    """An active node is deactivated, cleaned up, configured and activated, and answers a picture in each life.

    Args:
        rig: an active node.
        lives: how often.
        warm_up: lives that come before the first look at what the process holds.

    Returns:
        What it held after the warm-up, and at the end.
    """
    first = None
    for life in range(warm_up + lives):
        if life == warm_up:
            first = rig.vitals
        for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
            assert rig.change(transition), f"{transition} in life {life}\n{rig.process.output}"
        assert rig.ears.spin_until(rig.front.get_subscription_count)
        assert rig.answers(life), f"life {life}\n{rig.process.output}"
    assert first is not None
    return first, rig.vitals_after(first)

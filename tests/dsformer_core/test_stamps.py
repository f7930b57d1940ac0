"""One wrong stamp changes nothing; time that jumps needs two witnesses."""

import pytest

from dsformer_core.stamps import StampGuard

FAR = 2_000_000_000


def guard(*stamps: float) -> StampGuard:
    guard = StampGuard()
    for number, stamp in enumerate(stamps):
        guard.jumped(stamp, number, -1e9)
    return guard


def test_a_jump_needs_a_second_witness() -> None:
    one = guard(100, 101)
    assert one.jumped(50, 2, -1e9) is None and one.newest == 101
    assert one.jumped(102, 3, -1e9) == 0.0
    assert one.jumped(50, 4, -1e9) is None and one.jumped(50.1, 5, -1e9) == pytest.approx(-51.9)
    assert one.newest == pytest.approx(50.1)
    assert one.jumped(FAR, 6, FAR + 0.5) == pytest.approx(FAR - 50.1), "the clock is one"
    assert guard(100, 101).jumped(0.0, 2, 0.0) is None, "but none that has not said anything yet"


def test_a_slow_camera_and_a_fast_bag_are_no_jumps() -> None:
    assert guard(100).jumped(400, 30, -1e9) == 0.0
    assert guard(100).jumped(109, 0.1, -1e9) == 0.0
    assert guard(100).jumped(99.2, 0.1, -1e9) == 0.0

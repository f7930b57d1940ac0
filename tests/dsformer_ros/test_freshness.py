import math

from hypothesis import given
from hypothesis import strategies as st

from dsformer_ros.freshness import Freshness


def camera(rate: float, pictures: int = 20, offset: float = 0.0) -> Freshness:
    """A camera that has sent some, each 5 ms on its way, by a clock that is `offset` behind."""
    freshness = Freshness()
    for number in range(pictures):
        freshness.arrived(number / rate, 0.005 + offset)
    return freshness


@given(offset=st.floats(-1e6, 1e6))
def test_a_picture_that_was_held_back_is_late_whatever_the_clocks_say(offset):
    freshness = camera(30, offset=offset)
    assert math.isclose(freshness.arrived(1.0, 0.305 + offset), 0.3, abs_tol=1e-6)
    assert math.isclose(freshness.arrived(1.0, 0.005 + offset), 0.0, abs_tol=1e-6)


def test_where_nobody_says_when_it_was_sent_it_is_not_late():
    assert camera(30).arrived(1.0, None) == 0.0


def test_a_clock_that_was_set_forward_is_forgiven():
    freshness = camera(30)
    lateness = [freshness.arrived(1 + number / 30, 10.005) for number in range(90)]
    assert lateness[0] > 9 and lateness[-1] == 0


def test_old_pictures_are_left_out_where_a_fresh_one_comes_at_once():
    assert camera(30).is_stale(0.11, 0.1)
    assert not camera(30).is_stale(0.09, 0.1)
    assert not camera(5).is_stale(0.5, 0.1), "there is none that is fresher"
    assert not camera(30, pictures=1).is_stale(0.5, 0.1), "nor is it known that there will be one"

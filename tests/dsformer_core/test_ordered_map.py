"""Order, bounds and endings of the work that threads do ahead."""

import threading
import time

import pytest

from dsformer_core.ordered_map import ordered_map


def test_results_come_in_the_order_of_the_items():
    def slow_first(item):
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert list(ordered_map(slow_first, range(20), workers=4, ahead=8)) == [item * item for item in range(20)]
    assert list(ordered_map(slow_first, [], workers=1, ahead=1)) == []


def test_no_more_than_the_bound_is_taken_ahead():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = ordered_map(lambda item: item, items(), workers=2, ahead=5)
    next(results)
    assert len(taken) == 6
    results.close()
    assert len(taken) == 6


def test_closing_drops_what_has_not_begun_and_ends_the_threads():
    started, release = [], threading.Event()

    def work(item):
        started.append(item)
        if item:
            release.wait(5)

    before = threading.active_count()
    results = ordered_map(work, range(50), workers=2, ahead=50)
    next(results)
    threading.Timer(0.2, release.set).start()
    results.close()
    assert len(started) <= 4
    assert threading.active_count() <= before + 1  # the timer


def test_a_failure_arrives_at_its_own_turn():
    results = ordered_map(lambda item: 1 / item, [1, 2, 0, 4], workers=2, ahead=4)
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)

from dsformer_ros.requests import LocalizeRequests, Outcome

HERE = Outcome(True, "LOCALIZED: here")
NO_MATCH = Outcome(False, "NO_MATCH: unlike")


def test_only_a_picture_after_the_call_counts() -> None:
    requests = LocalizeRequests()
    future = requests.add(None, {0}, 10, 5)
    assert not requests.want(9.9) and requests.want(10.1)
    assert not requests.answered(0, 9.9, HERE)
    assert not future.done()
    assert requests.answered(0, 10.1, HERE)
    assert future.result() == HERE
    assert not requests


def test_abstention_waits_for_every_camera() -> None:
    requests = LocalizeRequests()
    future = requests.add(None, {0, 1}, 0, 5)
    requests.answered(0, 1, NO_MATCH)
    assert not future.done()
    requests.answered(1, 2, HERE)
    assert future.result().localized


def test_when_all_abstain_the_reasons_are_told() -> None:
    requests = LocalizeRequests()
    future = requests.add(None, {0}, 0, 5)
    requests.answered(0, 1, NO_MATCH)
    assert future.result() == NO_MATCH


def test_callers_wait_independently_and_no_longer_than_they_wish() -> None:
    requests = LocalizeRequests()
    early, late = requests.add(None, {0}, 0, 5), requests.add(None, {0}, 3, 5)
    requests.expire(5, "no camera")
    assert early.result() == Outcome(False, "no camera") and not late.done()
    requests.abandon("stopped")
    assert late.result() == Outcome(False, "stopped")

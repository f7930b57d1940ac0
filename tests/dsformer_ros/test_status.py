from diagnostic_msgs.msg import DiagnosticStatus

from dsformer_core.localization import State, Verdict
from dsformer_ros.engine import About
from dsformer_ros.parameters import Settings
from dsformer_ros.status import NO_IMAGE, Status, StatusBoard

SETTINGS = Settings(cameras=("/front", "/rear"), image_timeout=2.0, stale_timeout=4.0)
LOCALIZED = Verdict(State.LOCALIZED, "sure")
NO_MATCH = Verdict(State.NO_MATCH, "unlike")
COVERED = Verdict(State.NO_MATCH, "the lens may be covered")


def nobody() -> Status:
    return Status(NO_IMAGE, "nobody publishes")


def state(board: StatusBoard, now: float) -> str | None:
    status = board.current(SETTINGS, now, nobody)
    return status and status.state


def test_before_any_picture_there_is_no_image() -> None:
    board = StatusBoard(SETTINGS.cameras, 0)
    status = board.current(SETTINGS, 0, nobody)
    assert status is not None and (status.state, status.reason) == ("NO_IMAGE", "nobody publishes")


def test_while_the_first_answer_is_computed_nothing_is_claimed() -> None:
    board = StatusBoard(SETTINGS.cameras, 0)
    board.arrived(0, 1)
    assert state(board, 1) is None


def test_the_best_fresh_verdict_counts() -> None:
    board = StatusBoard(SETTINGS.cameras, 0)
    for camera, verdict in ((0, LOCALIZED), (1, NO_MATCH)):
        board.arrived(camera, 1)
        board.answered(camera, verdict, 1)
    assert state(board, 1.5) == "LOCALIZED"
    board.answered(0, NO_MATCH, 2)
    assert state(board, 2) == "NO_MATCH"


def test_a_verdict_about_the_robot_replaces_those_of_all_cameras() -> None:
    board = StatusBoard(SETTINGS.cameras, 0)
    for camera, verdict in ((0, LOCALIZED), (1, NO_MATCH)):
        board.arrived(camera, 1)
        board.answered(camera, verdict, 1, About.ROBOT)
    assert state(board, 1.5) == "NO_MATCH"


def test_a_picture_that_shows_nothing_counts_once_no_better_one_came_for_a_second() -> None:
    board = StatusBoard(SETTINGS.cameras[:1], 0)
    for now in (1.0, 1.5, 2.0):
        board.arrived(0, now)
        board.answered(0, LOCALIZED if now == 1.0 else COVERED, now, About.ROBOT if now == 1.0 else About.FLAW)
    assert state(board, 1.9) == "LOCALIZED", "a bump in the road"
    status = board.current(SETTINGS, 2.1, nobody)
    assert status is not None and (status.state, status.reason) == ("NO_MATCH", "the lens may be covered")
    board.answered(0, LOCALIZED, 2.2, About.ROBOT)
    assert state(board, 3.9) == "LOCALIZED"


def test_the_first_picture_that_shows_nothing_counts_at_once() -> None:
    board = StatusBoard(SETTINGS.cameras[:1], 0)
    board.arrived(0, 1)
    board.answered(0, COVERED, 1, About.FLAW)
    assert state(board, 1) == "NO_MATCH"


def test_one_covered_lens_does_not_outweigh_a_camera_that_sees() -> None:
    board = StatusBoard(SETTINGS.cameras, 0)
    for now in (1.0, 2.0, 3.0):
        for camera in (0, 1):
            board.arrived(camera, now)
        board.answered(0, COVERED, now, About.FLAW)
        board.answered(1, LOCALIZED, now, About.ROBOT)
    assert state(board, 3.0) == "LOCALIZED"


def test_a_camera_that_stops_ends_what_was_known() -> None:
    board = StatusBoard(SETTINGS.cameras, 0)
    board.arrived(0, 1)
    board.answered(0, LOCALIZED, 1)
    assert state(board, 2.9) == "LOCALIZED"
    assert state(board, 3.1) == "NO_IMAGE"


def test_pictures_without_answers_make_the_last_one_stale() -> None:
    board = StatusBoard(SETTINGS.cameras, 0)
    board.answered(0, LOCALIZED, 1)
    board.arrived(0, 6)
    board.failed(0, "not a picture")
    status = board.current(SETTINGS, 6, nobody)
    assert status is not None and status.state == "STALE"
    assert "5 s old" in status.reason and "/front: not a picture" in status.reason


def test_reset_forgets() -> None:
    board = StatusBoard(SETTINGS.cameras, 0)
    board.arrived(0, 1)
    board.answered(0, LOCALIZED, 1)
    board.reset(1, "~/reset was called")
    status = board.current(SETTINGS, 1.5, nobody)
    assert status is not None and (status.state, status.reason) == ("STALE", "~/reset was called")
    board.answered(0, NO_MATCH, 2)
    assert state(board, 2) == "NO_MATCH"


def test_the_message_says_state_and_reason() -> None:
    board = StatusBoard(SETTINGS.cameras, 0)
    board.arrived(1, 1)
    board.answered(1, NO_MATCH, 1)
    status = board.current(SETTINGS, 1, nobody)
    assert status is not None
    message = status.message("node")
    assert (message.level, message.message) == (DiagnosticStatus.WARN, "NO_MATCH: unlike")
    assert (message.name, message.hardware_id) == ("node: status", "none"), "as diagnostic_updater has them"
    assert {value.key: value.value for value in message.values} == {
        "state": "NO_MATCH",
        "reason": "unlike",
        "camera": "/rear",
    }

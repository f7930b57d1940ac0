import threading

from sensor_msgs.msg import Image

from dsformer_ros.frame_queue import Frame, FrameQueue


def frame(camera: int, number: float) -> Frame:
    return Frame(camera, Image(), number)


def test_the_newest_frame_of_a_camera_wins() -> None:
    queue = FrameQueue()
    assert queue.put(frame(0, 1))
    assert not queue.put(frame(0, 2))
    taken = queue.take()
    assert taken is not None and taken.arrival == 2
    assert queue.put(frame(0, 3)), "what was taken is not dropped"


def test_a_fast_camera_does_not_starve_a_slow_one() -> None:
    queue = FrameQueue()
    queue.put(frame(0, 0))
    served = []
    for number in range(1, 11):
        if number == 3:
            queue.put(frame(1, number))
        queue.put(frame(0, number))
        if number % 2:
            taken = queue.take()
            assert taken is not None
            served.append(taken.camera)
    assert 1 in served[:3]


def test_closing_ends_a_waiting_reader() -> None:
    queue = FrameQueue()
    result: list[object] = ["waiting"]
    reader = threading.Thread(target=lambda: result.__setitem__(0, queue.take()))
    reader.start()
    queue.close()
    reader.join(5)
    assert result == [None]


def test_cleared_frames_are_gone() -> None:
    queue = FrameQueue()
    queue.put(frame(0, 1))
    assert [gone.arrival for gone in queue.clear()] == [1]
    queue.put(frame(1, 2))
    taken = queue.take()
    assert taken is not None and taken.camera == 1

"""From image message to published pose while the node is active: cameras -> queue -> worker -> publishers."""

import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image

from dsformer_core.errors import DsformerError
from dsformer_core.localization import State
from dsformer_core.place_map import PlaceMap
from dsformer_core.stamps import JUMP_BACK, StampGuard
from dsformer_ros.cameras import Camera, OnMessage
from dsformer_ros.clock_guard import Standstill
from dsformer_ros.diagnostics import CameraStatistics, LastError, diagnostic_name
from dsformer_ros.engine import Answer, Engine
from dsformer_ros.frame_queue import Frame, FrameQueue
from dsformer_ros.freshness import Freshness
from dsformer_ros.outputs import Outputs, outcome, publishable
from dsformer_ros.parameters import Settings
from dsformer_ros.prior import PriorTopics
from dsformer_ros.requests import LocalizeRequests, Outcome
from dsformer_ros.stamps import is_stamp, seconds_of
from dsformer_ros.status import NO_IMAGE, STALE, Status, StatusBoard
from dsformer_ros.tracking import Tracking
from dsformer_ros.transforms import Mounting

# Seconds between complaints about the same thing.
_COMPLAINT_PERIOD = 5.0
# Seconds behind the last pose from which on a picture is not late: its clock is another one.
_LONG_BEHIND = 10.0
# Seconds ahead of the node's clock from which on a stamp is of another clock, where others' are not.
_LONG_AHEAD = 10.0
# Seconds that are waited for a picture which is being localized. Slower networks finish it for nobody: what a signal
# or a lifecycle manager asks for must not wait for them.
_LONGEST_GOODBYE = 0.5


class Pipeline:
    """Runs between `start` and `stop`. The executor's thread only queues messages; the worker's does the work.

    Attributes:
        engine: map and network.
    """

    def __init__(
        self,
        node: LifecycleNode,
        engine: Engine,
        mounting: Mounting,
        read_settings: Callable[[], Settings],
        last_error: LastError,
    ) -> None:
        settings = read_settings()
        self.engine = engine
        self._node = node
        self._mounting = mounting
        self._settings = read_settings
        self._last_error = last_error
        self._cameras = [
            Camera(node, topic, settings.image_transport, self._receiver(number))
            for number, topic in enumerate(settings.cameras)
        ]
        self._statistics = [CameraStatistics(camera.topic) for camera in self._cameras]
        self._freshness = [Freshness() for _ in self._cameras]
        self._board = self._new_board()
        self._requests = LocalizeRequests()
        self._queue = FrameQueue()
        self._worker: threading.Thread | None = None
        # Publishing and forgetting exclude each other: what was forgotten is never published afterwards.
        self._lock = threading.RLock()
        self._generation = 0
        self._published: Status | None = None
        self._standstill = Standstill(node.get_clock())
        self._stamps = [StampGuard() for _ in self._cameras]
        # Cameras whose clock is known to be ahead of everybody's; what is forgotten says nothing of clocks.
        self._ahead: set[int] = set()
        # Stamp of the last pose: consumers fuse poses in their order, and what is known at a later moment has what a
        # late picture showed in it.
        self._last_pose = -math.inf
        # When the picture came that the worker took last, by camera.
        self._taken: dict[int, float] = {}
        self._priors = PriorTopics(node)
        # First what may be missing on this machine: a topic that was made is only taken away by `destroy`.
        self._tracking = Tracking(node, read_settings, lambda: self.engine.place_map, self.clock_jumped_back)
        self._outputs = Outputs(node)

    @property
    def is_running(self) -> bool:
        """Whether pictures are being localized."""
        return self._worker is not None

    def start(self) -> None:
        """Starts the worker, subscribes to the cameras, and says so on `~/status`."""
        self._published = None
        self._ahead.clear()
        # Pictures from before a pause say nothing about what comes now.
        self._board = self._new_board()
        self._freshness = [Freshness() for _ in self._cameras]
        self._queue = FrameQueue()
        self._worker = threading.Thread(target=self._work, args=(self._queue,), name="localizer", daemon=True)
        self._worker.start()
        for camera in self._cameras:
            camera.open()
        self._priors.open()
        self._tracking.open()
        self._node.get_logger().info(f"listening to {', '.join(camera.topic for camera in self._cameras)}")
        self._publish_status()

    def stop(self, why: str) -> bool:
        """Unsubscribes, and tells `~/status` and waiting callers why.

        Nothing is published any more once the status says so, however long the worker takes for its picture.

        Returns:
            Whether the worker has ended; otherwise its thread does with that picture.
        """
        with self._lock:
            worker, self._worker = self._worker, None
            if worker is None:
                return True
            self.forget(why)
            self._publish(Status(STALE, why))
        for camera in self._cameras:
            camera.close()
        self._priors.close()
        self._tracking.close()
        self._queue.close()
        if self._requests.abandon(why):
            self._wake()
        worker.join(_LONGEST_GOODBYE)
        self._outputs.deliver_status()
        return not worker.is_alive()

    def destroy(self) -> None:
        """Takes the topics away."""
        self._outputs.destroy()
        self._tracking.destroy()

    def forget(self, why: str) -> None:
        """Drops everything that earlier pictures said, the one that is being localized included.

        Args:
            why: what `~/status` says until the next answer.
        """
        with self._lock:
            self._generation += 1
            for frame in self._queue.clear():
                self._statistics[frame.camera].count("skipped")
            for stamps in self._stamps:
                stamps.forget()
            self._last_pose = -math.inf
            self._taken.clear()
            self._tracking.forget()
            self._board.reset(time.monotonic(), why)
            if self.is_running:
                self._publish_status()

    def replace_engine(self, engine: Engine) -> None:
        """Localizes in another map from now on, and forgets what the old one said."""
        with self._lock:
            # Before the generation counts up: its frames meet the new engine.
            self.engine = engine
            self.forget(f"map {engine.place_map.name} was loaded: what was known in the old one is forgotten")

    def clock_jumped_back(self, what: str, seconds: float) -> None:
        """What was known belongs to a time that is over."""
        why = f"{what} jumped back by {seconds:.1f} s: what earlier pictures said is forgotten"
        self._last_error.set(why)
        self._node.get_logger().warning(why, throttle_duration_sec=_COMPLAINT_PERIOD)
        self._priors.forget()
        self.forget(why)

    def request(self) -> Future:
        """A future `Outcome` of the next picture of every camera that is sending pictures."""
        now = time.monotonic()
        cameras = self._board.alive(self._settings(), now) or set(range(len(self._cameras)))
        return self._requests.add(self._node.executor, cameras, now, self._settings().localize_timeout)

    def keep_house(self) -> None:
        """What must happen even when no pictures come; to be called a few times per second."""
        for camera in self._cameras:
            camera.follow_publisher()
        self._standstill.look()
        self._publish_status()
        if self._requests:
            why = f"no answer in {self._settings().localize_timeout:.1f} s: {self._why_silent()}"
            if self._requests.expire(time.monotonic(), why):
                self._wake()

    def diagnostics(self) -> list[DiagnosticStatus]:
        """The status, odometry, and one entry per camera."""
        settings, name = self._settings(), diagnostic_name(self._node)
        alive, paused = self._board.alive(settings, time.monotonic()), self._standstill.why()
        status = [] if self._published is None else [self._published.message(name)]
        return [*status, self._tracking.diagnostics(name)] + [
            statistics.status(name, settings, None if number in alive else camera.why_silent(), paused)
            for number, (statistics, camera) in enumerate(zip(self._statistics, self._cameras, strict=True))
        ]

    def _receiver(self, camera: int) -> OnMessage:
        """The subscription callback of one camera, in the executor's thread."""

        def receive(message: Image | CompressedImage, info: Mapping[str, int] | None) -> None:
            now = time.monotonic()
            sent = 0 if info is None else info["source_timestamp"]
            late = self._freshness[camera].arrived(now, time.time() - 1e-9 * sent if sent > 0 else None)
            stamp = seconds_of(message.header.stamp)
            clock_now = self._node.get_clock().now().nanoseconds * 1e-9
            self._statistics[camera].received(now, clock_now - stamp)
            self._board.arrived(camera, now)
            if not is_stamp(message.header.stamp) or not self._is_of_its_time(camera, stamp, now, clock_now):
                self._statistics[camera].count("unusable")
            elif not self._is_wanted(camera, now):
                self._statistics[camera].count("skipped")
            elif not self._queue.put(Frame(camera, message, now, self._generation, late)):
                self._statistics[camera].count("dropped")

        return receive

    def _is_of_its_time(self, camera: int, stamp: float, now: float, clock_now: float) -> bool:
        """Whether a picture's stamp is believed; what belongs to a time from which it jumped back is forgotten."""
        stamps, topic = self._stamps[camera], self._cameras[camera].topic
        before = stamps.newest
        if self._is_ahead(camera, stamp, now, clock_now):
            return False
        jump = stamps.jumped(stamp, now, clock_now)
        if jump is None:
            self._doubt(camera, f"a stamp lies {abs(stamp - (before or 0.0)):.1f} s from those before it")
            return False
        if jump < -JUMP_BACK:
            if any(abs(one - stamp) > abs(one - (stamp - jump)) for one in self._others_times(camera, now)):
                # One driver that starts anew says nothing of where the robot is.
                why = f"the stamps of {topic} jumped back by {-jump:.1f} s, and nobody else's did"
                self._last_error.set(why)
                self._node.get_logger().warning(why, throttle_duration_sec=_COMPLAINT_PERIOD)
            else:
                self.clock_jumped_back(f"the stamps of {topic}", -jump)
                stamps.jumped(stamp, now, clock_now)
        return True

    def _is_ahead(self, camera: int, stamp: float, now: float, clock_now: float) -> bool:
        """Whether a picture is of a clock that is ahead of the node's, while others' are not."""
        ahead, known, newest = stamp - clock_now, camera in self._ahead, self._stamps[camera].newest
        near = [abs(one - clock_now) < _LONG_AHEAD for one in self._others_times(camera, now)]
        if ahead <= _LONG_AHEAD or not (any(near) or (known and not near)):
            self._ahead.discard(camera)
            return False
        why = f"its stamps lie {ahead:.0f} s ahead of the clock, and others' do not"
        self._ahead.add(camera)
        if newest is not None and newest - clock_now > _LONG_AHEAD:
            # It was believed before others came: its pose would stay the last, and all of theirs come too late.
            self.forget(f"{self._cameras[camera].topic}: {why}")
        self._doubt(camera, why)
        return True

    def _doubt(self, camera: int, why: str) -> None:
        self._board.failed(camera, why)
        topic = self._cameras[camera].topic
        self._node.get_logger().warning(f"{topic}: {why}; not used", throttle_duration_sec=_COMPLAINT_PERIOD)

    def _others_times(self, camera: int, now: float) -> list[float]:
        """The newest stamps of other cameras and of odometry, as far as they come."""
        others = self._board.alive(self._settings(), now) - {camera}
        known = [self._stamps[other].newest for other in others] + [self._tracking.odometry_time()]
        return [one for one in known if one is not None]

    def _is_wanted(self, camera: int, now: float) -> bool:
        """Whether a picture is to be localized, by rate and by demand.

        The rate is that of pictures which the worker took. Until it takes one, newer ones take the place of the one
        that waits: it is fresh when its turn comes, however long other cameras' took.
        """
        settings = self._settings()
        period = 1 / settings.max_rate if settings.max_rate else 0.0
        due = settings.continuous and now - self._taken.get(camera, -period) >= period
        return due or self._requests.want(now)

    def _is_still_wanted(self, frame: Frame, settings: Settings) -> bool:
        """Whether a picture that was wanted when it came has neither been forgotten nor become needless."""
        return frame.generation == self._generation and (settings.continuous or self._requests.want(frame.arrival))

    def _work(self, queue: FrameQueue) -> None:
        """The worker's thread; a queue of its own lets it end even where another one was started meanwhile."""
        while (frame := queue.take()) is not None:
            try:
                self._localize(frame)
            except DsformerError as error:
                self._failed(frame, str(error))
            except Exception as error:
                # A bug; but one picture must not end the service of all others.
                if frame.generation == self._generation and self._node.context.ok():
                    self._node.get_logger().error(traceback.format_exc())
                self._failed(frame, f"{type(error).__name__}: {error}")

    def _localize(self, frame: Frame) -> None:
        settings, engine = self._settings(), self.engine
        if not self._is_still_wanted(frame, settings):
            self._statistics[frame.camera].count("skipped")
            return
        age = frame.age(time.monotonic())
        if self._freshness[frame.camera].is_stale(age, settings.max_age):
            self._statistics[frame.camera].count("dropped")
            return
        self._taken[frame.camera] = frame.arrival
        self._statistics[frame.camera].begun(age)
        camera_yaw = self._mounting.camera_yaw(frame.camera, frame.message.header, settings)
        prior = self._priors.at(frame.message.header, settings, engine.place_map)
        alone = publishable(engine.answer(frame, settings, camera_yaw, prior))
        with self._lock:
            if not self._is_still_wanted(frame, settings):
                self._statistics[frame.camera].count("skipped")
                return
            start = time.monotonic()
            answer = publishable(self._tracking.fuse(alone, settings, engine.place_map))
            if not settings.continuous and answer.verdict.state is not State.LOCALIZED:
                # Who is shown a picture only when it asks gets what that says: between two calls nothing becomes surer.
                answer = alone
            answer.seconds["localize"] += time.monotonic() - start
            start = time.monotonic()
            self._publish_answer(answer, engine.place_map, settings)
            answer.seconds["publish"] = time.monotonic() - start
            self._finish(answer, outcome(alone, answer, engine.place_map, settings))
            self._outputs.publish_details(answer, engine.place_map, settings, self._cameras[frame.camera].topic)

    def _publish_answer(self, answer: Answer, place_map: PlaceMap, settings: Settings) -> None:
        stamp = seconds_of(answer.stamp)
        if answer.verdict.state is State.LOCALIZED and stamp > self._last_pose:
            self._last_pose = stamp
            self._outputs.publish_pose(answer, place_map, settings)
            self._tracking.broadcast(answer, settings, place_map)
        elif answer.verdict.state is State.LOCALIZED and self._last_pose - stamp > _LONG_BEHIND:
            topic = self._cameras[answer.frame.camera].topic
            why = f"{topic}: no pose, its stamps lie {self._last_pose - stamp:.0f} s behind the last pose's"
            self._last_error.set(why)
            self._node.get_logger().warning(f"{why}; do the clocks agree?", throttle_duration_sec=_COMPLAINT_PERIOD)
        self._outputs.publish_hypotheses(answer, place_map, settings)

    def _finish(self, answer: Answer, outcome: Outcome) -> None:
        camera = answer.frame.camera
        self._statistics[camera].answered(answer.seconds)
        if not answer.late:
            self._board.answered(camera, answer.verdict, time.monotonic(), answer.about)
        self._publish_status()
        if self._requests.answered(camera, answer.frame.arrival, outcome):
            self._wake()

    def _failed(self, frame: Frame, reason: str) -> None:
        self._statistics[frame.camera].count("unusable")
        if frame.generation != self._generation or not self._node.context.ok():
            return
        topic = self._cameras[frame.camera].topic
        self._last_error.set(f"{topic}: {reason}")
        self._board.failed(frame.camera, reason)
        self._node.get_logger().warning(f"{topic}: {reason}", throttle_duration_sec=_COMPLAINT_PERIOD)

    def _publish_status(self) -> None:
        with self._lock:
            status = self._board.current(self._settings(), time.monotonic(), self._silence)
            if status is not None and status != self._published:
                self._publish(status)

    def _publish(self, status: Status) -> None:
        if not self._node.context.ok():
            return
        if self._published is None or status.state != self._published.state:
            self._node.get_logger().info(f"{status.state}: {status.reason}")
        self._published = status
        self._outputs.publish_status(status)

    def _new_board(self) -> StatusBoard:
        return StatusBoard([camera.topic for camera in self._cameras], time.monotonic())

    def _wake(self) -> None:
        """Makes the executor look after coroutines whose future has its result."""
        if self._node.executor is not None:
            self._node.executor.wake()

    def _silence(self) -> Status:
        """The status while no camera sends anything: a recording that is paused is no dead camera."""
        return Status(STALE if self._standstill.why() else NO_IMAGE, self._why_silent())

    def _why_silent(self) -> str:
        alive = self._board.alive(self._settings(), time.monotonic())
        silent = [camera.why_silent() for number, camera in enumerate(self._cameras) if number not in alive]
        if silent and (why := self._standstill.why()):
            return why
        return "; ".join(silent) or self._board.failure or "pictures come, but the network has not answered"

"""What the node knows over time: the core's tracker of the loaded map, fed by cameras, odometry and people."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode

from dsformer_core.errors import DsformerError
from dsformer_core.localization import LocalizationConfig, State
from dsformer_core.localization.fusion import FusionConfig, Tracker
from dsformer_core.localization.fusion.odometry import Odometry
from dsformer_core.localization.odom_correction import map_to_odom
from dsformer_core.localization.planar import PlanarPose
from dsformer_core.place_map import PlaceMap
from dsformer_core.stamps import JUMP_BACK, StampGuard
from dsformer_ros.diagnostics import entry
from dsformer_ros.engine import Answer
from dsformer_ros.odometry import TOPIC, OdometrySample, OdometryTopic
from dsformer_ros.parameters import Settings
from dsformer_ros.set_prior import RoughPose, SetPriorTopics
from dsformer_ros.stamps import seconds_of
from dsformer_ros.transforms import MapToOdom

# Seconds without odometry after which there is none.
_ODOMETRY_LOST = 5.0
# Seconds between what belongs together: pictures and odometry, however slow the network, and a pose that somebody set.
_LONGEST_APART = 30.0


class Tracking:
    """Safe between threads: odometry and priors come in the executor's, pictures in the worker's."""

    def __init__(
        self,
        node: LifecycleNode,
        read_settings: Callable[[], Settings],
        read_map: Callable[[], PlaceMap],
        on_jump: Callable[[str, float], None],
    ) -> None:
        """Prepares the topics without subscribing yet.

        Args:
            node: owns the topics.
            read_settings: the parameters as they are now.
            read_map: the map as it is now.
            on_jump: told whose stamps jumped back, and by how many seconds, in the executor's thread.

        Raises:
            DsformerError: the transform is wanted, and tf2_msgs is missing.
        """
        self._node = node
        self._settings = read_settings
        self._map = read_map
        self._on_jump = on_jump
        self._odometry_topic = OdometryTopic(node, read_settings, self._moved)
        self._set_prior_topics = SetPriorTopics(node, read_settings, read_map, self._told)
        self._map_to_odom = MapToOdom(node) if read_settings().publish_map_to_odom else None
        self._lock = threading.Lock()
        self._tracker: Tracker | None = None
        self._made_of: tuple[PlaceMap, LocalizationConfig, FusionConfig] | None = None
        self._odom_frame, self._odom_frame_since = "", -math.inf
        self._newest = self._newest_picture = -math.inf
        self._stamps = StampGuard()
        self._arrival, self._received = -math.inf, 0

    def open(self) -> None:
        """Subscribes."""
        self._odometry_topic.open()
        self._set_prior_topics.open()

    def close(self) -> None:
        """Unsubscribes."""
        self._odometry_topic.close()
        self._set_prior_topics.close()

    def destroy(self) -> None:
        """Takes the transform's topic away."""
        if self._map_to_odom is not None:
            self._map_to_odom.close()

    def forget(self) -> None:
        """Forgets everything: what pictures said, what people said, and how the robot moved."""
        with self._lock:
            self._newest = self._newest_picture = self._odom_frame_since = -math.inf
            self._stamps.forget()
            if self._tracker is not None:
                self._tracker.reset()

    def fuse(self, answer: Answer, settings: Settings, place_map: PlaceMap) -> Answer:
        """What a picture's answer becomes together with all that was known: the fused hypotheses and verdict.

        A picture that shows nothing, that no odometry goes with, or whose clock is another one stays by itself.
        """
        if not settings.fusion or not answer.usable:
            return answer
        stamp = seconds_of(answer.stamp)
        with self._lock:
            tracker, circle = self._current(settings, place_map), answer.looked.circle
            why = self._why_alone(stamp, settings, tracker.odometry)
            if why is not None:
                told = f"{answer.verdict.reason}; {why}: each picture by itself" if why else answer.verdict.reason
                return replace(answer, verdict=replace(answer.verdict, reason=told))
            late = stamp < self._newest_picture
            self._newest_picture = max(self._newest_picture, stamp)
            self._newest = max(self._newest, stamp)
            estimate = tracker.add_picture(
                stamp,
                answer.matches,
                camera_yaw=answer.camera_yaw,
                camera=answer.frame.camera,
                singles=list(answer.hypotheses),
                within=(circle["near"], circle["radius"]) if circle else None,
            )
            if estimate.stamp != stamp:
                # What is said has the picture's stamp, and so must be of its moment.
                estimate = tracker.estimate(stamp)
        verdict = answer.explained(estimate.verdict)
        return replace(answer, hypotheses=estimate.hypotheses, verdict=verdict, fused=True, late=late)

    def _why_alone(self, stamp: float, settings: Settings, odometry: Odometry) -> str | None:
        """Why a picture is not brought together with others; None where it is, '' where odometry never came."""
        after = stamp - odometry.newest
        comes = self._comes()
        if after > (_LONGEST_APART if settings.fusion_without_odometry and comes else _ODOMETRY_LOST):
            if comes and _LONGEST_APART < after < math.inf:
                return f"odometry's stamps lie {after:.0f} s behind the picture's"
            if not settings.fusion_without_odometry:
                return f"no odometry for {after:.0f} s" if len(odometry) else ""
        behind = self._newest - stamp
        if behind <= _LONGEST_APART:
            return None
        why = f"the picture's stamp lies {behind:.0f} s behind odometry's or another camera's"
        self._node.get_logger().warning(
            f"{why}: it is answered by itself; do the clocks agree?", throttle_duration_sec=10.0
        )
        return why

    def odometry_time(self) -> float | None:
        """The newest stamp of odometry; None while none comes."""
        with self._lock:
            return self._stamps.newest if self._comes() else None

    def _comes(self) -> bool:
        return time.monotonic() - self._arrival <= _ODOMETRY_LOST

    def broadcast(self, answer: Answer, settings: Settings, place_map: PlaceMap) -> None:
        """Says where the odometry's frame lies in the map, where that is wanted and known."""
        if self._map_to_odom is None or answer.verdict.state is not State.LOCALIZED:
            return
        best, stamp = answer.hypotheses[0], answer.stamp
        with self._lock:
            moment, odom_frame = seconds_of(stamp), self._odom_frame
            base_in_odom = None
            if moment >= self._odom_frame_since:
                base_in_odom = self._current(settings, place_map).odometry.at(moment)
        if base_in_odom is None or not odom_frame or not math.isfinite(best.yaw):
            why = (
                "the robot's yaw is not known"
                if not math.isfinite(best.yaw)
                else f"{self._node.resolve_topic_name(TOPIC)} has no message with a frame of the picture's moment"
            )
            self._node.get_logger().warning(
                f"no transform from {settings.map_frame} to odometry's frame: {why}", throttle_duration_sec=10.0
            )
            return
        x, y = place_map.frame.to_local(best.utm)
        correction = map_to_odom(PlanarPose(float(x), float(y), best.yaw), base_in_odom)
        self._map_to_odom.send(correction, settings.map_frame, odom_frame, stamp)

    def diagnostics(self, node_name: str) -> DiagnosticStatus:
        """Odometry's entry: it is needed for nothing but the transform, and worth a lot."""
        settings, topic = self._settings(), self._node.resolve_topic_name(TOPIC)
        comes, silence = self._comes(), time.monotonic() - self._arrival
        none = f"none has come for {silence:.0f} s" if math.isfinite(silence) else "none comes"
        if comes:
            message = f"comes on {topic}, of frame '{self._odom_frame}'"
        elif settings.fusion and settings.fusion_without_odometry:
            message = f"{none} on {topic}: what is known spreads by motion_bound"
        else:
            message = f"{none} on {topic}: every picture is answered by itself"
        level = DiagnosticStatus.OK if comes or self._map_to_odom is None else DiagnosticStatus.WARN
        values = {"fusion": "on" if settings.fusion else "off", "received": str(self._received)}
        return entry(level, f"{node_name}: odometry", message, values)

    def _moved(self, sample: OdometrySample) -> None:
        now, topic = time.monotonic(), self._node.resolve_topic_name(TOPIC)
        self._arrival, self._received = now, self._received + 1
        clock_now = self._node.get_clock().now().nanoseconds * 1e-9
        with self._lock:
            jump = self._stamps.jumped(sample.stamp, now, clock_now)
            newest = self._stamps.newest
        if jump is None:
            raise DsformerError(f"a stamp lies {abs(sample.stamp - (newest or 0.0)):.1f} s from those before it")
        if jump < -JUMP_BACK:
            self._on_jump(f"the stamps of {topic}", -jump)
        settings, pose = self._settings(), sample.pose
        with self._lock:
            if jump < -JUMP_BACK:
                # What was known is forgotten; this message is the first of the new time.
                self._stamps.jumped(sample.stamp, now, clock_now)
            tracker = self._current(settings, self._map())
            if sample.frame != self._odom_frame:
                if self._odom_frame:
                    self._node.get_logger().warning(
                        f"{topic}: its frame was '{self._odom_frame}' and is '{sample.frame}': another odometry begins",
                        throttle_duration_sec=10.0,
                    )
                    self._odom_frame_since = sample.stamp
                    tracker.odometry.begin_anew()
                self._odom_frame = sample.frame
            self._newest = max(self._newest, sample.stamp)
            tracker.add_odometry(sample.stamp, pose.x, pose.y, pose.yaw, sample.covariance)

    def _told(self, rough: RoughPose) -> None:
        settings = self._settings()
        if not settings.fusion:
            raise DsformerError("fusion is off, and without it nothing that somebody sets can count")
        now = self._node.get_clock().now().nanoseconds * 1e-9
        with self._lock:
            tracker = self._current(settings, self._map())
            if not settings.fusion_without_odometry and not tracker.odometry:
                raise DsformerError(
                    f"no odometry comes on {self._node.resolve_topic_name(TOPIC)}, and fusion_without_odometry is off: "
                    "nothing that somebody sets can count"
                )
            known = math.isfinite(self._newest)
            stamp = rough.stamp or (self._newest if known else now)
            apart = stamp - self._newest
            if known and abs(apart) > _LONGEST_APART:
                raise DsformerError(
                    f"its stamp lies {abs(apart):.0f} s {'after' if apart > 0 else 'before'} the newest picture's and "
                    "odometry's: is use_sim_time right, do the clocks agree?"
                )
            if not tracker.set_prior(stamp, rough.utm, rough.covariance, rough.yaw):
                raise DsformerError("it came too late: what pictures said at that time is no longer remembered")
        self._node.get_logger().info(f"{rough.topic}: taken as where the robot is, until pictures contradict it")

    def _current(self, settings: Settings, place_map: PlaceMap) -> Tracker:
        """The tracker of this map and these settings; another map or other settings begin anew."""
        configs = LocalizationConfig(settings.top_k, settings.radius), settings.fusing()
        if (
            self._tracker is None
            or self._made_of is None
            or self._made_of[0] is not place_map
            or (self._made_of[1:] != configs)
        ):
            self._tracker, self._made_of = Tracker(place_map, *configs), (place_map, *configs)
        return self._tracker

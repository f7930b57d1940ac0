"""The node's publishers, and what is published when."""

import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, NavSatFix, PointCloud2
from std_msgs.msg import Header, String
from visualization_msgs.msg import MarkerArray

from dsformer_core.localization import State, Verdict
from dsformer_core.place_map import PlaceMap
from dsformer_ros import messages
from dsformer_ros.diagnostics import diagnostic_name
from dsformer_ros.engine import Answer
from dsformer_ros.match_image import match_image
from dsformer_ros.parameters import Settings
from dsformer_ros.requests import Outcome
from dsformer_ros.status import Status

_LONGEST_DELIVERY = 0.5


class Outputs:
    """Every publisher under the node's name. They are silent while the node is inactive."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        # A pose is never latched: sent again to somebody who comes late, it would be an old one that looks new.
        reliable = QoSProfile(depth=10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publishers: list[LifecyclePublisher] = []
        create = self._create
        self._pose = create(PoseWithCovarianceStamped, "~/pose", reliable)
        self._hypotheses = create(PoseArray, "~/hypotheses", reliable)
        self._cloud = create(PointCloud2, "~/hypotheses_cloud", reliable)
        self._matches = create(String, "~/matches", reliable)
        self._fix = create(NavSatFix, "~/fix", reliable)
        self._status = create(DiagnosticStatus, "~/status", latched)
        self._markers = create(MarkerArray, "~/markers", reliable)
        self._match_image = create(CompressedImage, "~/match_image/compressed", QoSProfile(depth=1))

    def _create(self, message_type: type, topic: str, qos: QoSProfile) -> LifecyclePublisher:
        publisher = self._node.create_lifecycle_publisher(message_type, topic, qos)
        self._publishers.append(publisher)
        return publisher

    def destroy(self) -> None:
        """Takes the topics away."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def publish_status(self, status: Status) -> None:
        """The state, latched."""
        self._status.publish(status.message(diagnostic_name(self._node)))

    def deliver_status(self) -> None:
        """Waits a moment until who listens has the last status: a destroyed publisher delivers nothing."""
        # Not every middleware can tell; then the last status may be lost.
        with suppress(RuntimeError):
            self._status.wait_for_all_acked(Duration(seconds=_LONGEST_DELIVERY))

    def publish_pose(self, answer: Answer, place_map: PlaceMap, settings: Settings) -> None:
        """Where the robot is, of an answer that is LOCALIZED: the pose and its fix."""
        best, frame = answer.hypotheses[0], place_map.frame
        self._pose.publish(messages.pose_with_covariance(best, frame, _header(answer, settings)))
        self._fix.publish(messages.fix(best, frame, answer.stamp, settings.base_frame))

    def publish_hypotheses(self, answer: Answer, place_map: PlaceMap, settings: Settings) -> None:
        """Where it may be, of every answer."""
        self._hypotheses.publish(messages.pose_array(answer.hypotheses, place_map.frame, _header(answer, settings)))

    def publish_details(self, answer: Answer, place_map: PlaceMap, settings: Settings, camera: str) -> None:
        """What programs and people look at, as far as any are listening."""
        header, frame = _header(answer, settings), place_map.frame
        if self._cloud.get_subscription_count():
            self._cloud.publish(messages.cloud(answer.hypotheses, frame, header))
        if self._matches.get_subscription_count():
            self._matches.publish(messages.matches(answer.matches, place_map, header, camera))
        if self._markers.get_subscription_count():
            self._markers.publish(messages.markers(answer.hypotheses, frame, header))
        if self._match_image.get_subscription_count():
            camera_header = Header(stamp=answer.stamp, frame_id=answer.frame.message.header.frame_id)
            self._match_image.publish(match_image(answer, place_map, camera_header))


def publishable(answer: Answer) -> Answer:
    """The answer, or an abstention where its position is vaguer than what consumers take.

    robot_localization fuses a variance above 1e3, and raises a diagnostic for every one. A smaller one instead would be
    a lie.
    """
    if answer.verdict.state is not State.LOCALIZED:
        return answer
    variance = float(np.diag(answer.hypotheses[0].covariance)[:2].max())
    if variance <= messages.MOST_VARIANCE:
        return answer
    reason = (
        f"{answer.verdict.reason}, but give or take {math.sqrt(variance):.0f} m, and no pose is published beyond "
        f"{math.sqrt(messages.MOST_VARIANCE):.0f} m"
    )
    return replace(answer, verdict=Verdict(State.NO_MATCH, reason))


def describe(answer: Answer, place_map: PlaceMap, settings: Settings) -> str:
    """An answer in words: the state, and where or why not."""
    localized = answer.verdict.state is State.LOCALIZED
    said = describe_pose(answer, place_map, settings) if localized else answer.verdict.reason
    return f"{answer.verdict.state.name}: {said}"


def describe_pose(answer: Answer, place_map: PlaceMap, settings: Settings) -> str:
    """The best hypothesis in words; '' where there is none."""
    if not answer.hypotheses:
        return ""
    best = answer.hypotheses[0]
    x, y = place_map.frame.to_local(best.utm)
    yaw = f"yaw {math.degrees(best.yaw):.0f} deg" if math.isfinite(best.yaw) else "yaw unknown"
    sigma = math.sqrt(max(best.covariance[0][0], best.covariance[1][1]))
    where = f"x {x:.1f} m, y {y:.1f} m, {yaw} in {settings.map_frame}"
    return f"{where}, sigma {sigma:.1f} m, probability {best.probability:.2f}"


def outcome(alone: Answer, published: Answer, place_map: PlaceMap, settings: Settings) -> Outcome:
    """What who asked is told of a picture: what is published, and where that is silent what the picture says by itself.

    Only what all pictures say together is published: one by itself is wrong much more often.
    """
    localized, said = published.verdict.state is State.LOCALIZED, describe(published, place_map, settings)
    if localized or not published.fused:
        return Outcome(localized, said)
    by_itself = f"by this picture alone {describe(alone, place_map, settings)}"
    return Outcome(alone.verdict.state is State.LOCALIZED, f"{by_itself}; with all before it, as on ~/status, {said}")


def _header(answer: Answer, settings: Settings) -> Header:
    return Header(stamp=answer.stamp, frame_id=settings.map_frame)

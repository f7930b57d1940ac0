"""The running node, over DDS, from another process: what it publishes, serves, survives."""

import itertools
import json
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from lifecycle_msgs.msg import State as LifecycleState
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_processes import Listener, NodeProcess, listener, running, street
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, NavSatFix, NavSatStatus, PointCloud2
from std_msgs.msg import String
from std_srvs.srv import Empty, Trigger
from visualization_msgs.msg import MarkerArray

from dsformer_core.place_map import PlaceMap
from dsformer_ros.domains import private_domain

NODE = "/dsformer_localizer"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
FRONT, REAR = "/front/image/compressed", "/rear/image"


def jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def stamp_of(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


@dataclass
class Robot:
    """The node as a process, and a listener with two cameras."""

    process: NodeProcess
    ears: Listener
    received: dict[str, list[Any]] = field(default_factory=dict)
    _seconds: Any = field(default_factory=lambda: itertools.count(1000))

    def __post_init__(self) -> None:
        topics = {
            "pose": PoseWithCovarianceStamped,
            "hypotheses": PoseArray,
            "hypotheses_cloud": PointCloud2,
            "matches": String,
            "fix": NavSatFix,
            "markers": MarkerArray,
        }
        for name, kind in topics.items():
            self.received[name] = self.ears.record(kind, f"{NODE}/{name}")
        self.received["status"] = self.ears.record(DiagnosticStatus, f"{NODE}/status", LATCHED)
        self.received["diagnostics"] = self.ears.record(DiagnosticArray, "/diagnostics")
        self.front = self.ears.node.create_publisher(CompressedImage, FRONT, 10)
        self.rear = self.ears.node.create_publisher(Image, REAR, 10)

    @property
    def state(self) -> str:
        return self.received["status"][-1].message.split(":")[0] if self.received["status"] else ""

    def diagnostics(self, part: str) -> dict[str, str]:
        """Values of the newest diagnostics entry whose name contains `part`."""
        for array in reversed(self.received["diagnostics"]):
            for status in array.status:
                if part in status.name:
                    return {value.key: value.value for value in status.values} | {"message": status.message}
        return {}

    def stamp(self) -> Time:
        return Time(sec=next(self._seconds), nanosec=5)

    def show(self, picture: np.ndarray | bytes, stamp: Time | None = None) -> tuple[int, int]:
        """Publishes on the front camera; returns the stamp."""
        message = CompressedImage(format="jpeg", data=picture if isinstance(picture, bytes) else jpeg(picture))
        message.header.stamp, message.header.frame_id = stamp or self.stamp(), "front_optical_frame"
        self.front.publish(message)
        return stamp_of(message)

    def answer(self, stamp: tuple[int, int]) -> PoseArray:
        """The hypotheses for the picture with this stamp."""

        def find() -> list[PoseArray]:
            return [message for message in self.received["hypotheses"] if stamp_of(message) == stamp]

        assert self.ears.spin_until(find), f"no answer\n{self.process.output}"
        return find()[0]

    def matches(self, stamp: tuple[int, int]) -> set[int]:
        """The rows that were found for the picture with this stamp."""

        def find() -> list[dict[str, Any]]:
            contents = [json.loads(message.data) for message in self.received["matches"]]
            return [each for each in contents if (each["stamp"]["sec"], each["stamp"]["nanosec"]) == stamp]

        assert self.ears.spin_until(find), f"no matches\n{self.process.output}"
        return {match["row"] for match in find()[0]["matches"]}

    def ask(self, picture: np.ndarray) -> PoseArray:
        return self.answer(self.show(picture))

    def trigger(self, name: str) -> Trigger.Response:
        return self.ears.call(Trigger, f"{NODE}/{name}")

    def set(self, name: str, value: Any) -> str:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        (result,) = self.ears.call(SetParameters, f"{NODE}/set_parameters", request).results
        return "" if result.successful else result.reason


def arguments(**parameters: Any) -> list[str]:
    given = [
        f"{name}:={json.dumps(value) if not isinstance(value, str) else value}" for name, value in parameters.items()
    ]
    return ["--ros-args", *(word for item in given for word in ("-p", item))]


@pytest.fixture(scope="module")
def robot(place_map_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    folder = tmp_path_factory.mktemp("node")
    parameters = arguments(
        map=str(place_map_directory), cameras=[FRONT, REAR], camera_yaws_deg=[0.0, 180.0], autostart=True, threads=1,
        image_timeout=1.5, localize_timeout=4.0, provide_reinitialize_service=True, min_probability=0.1,
    )  # fmt: skip
    with (
        private_domain() as domain,
        running("localizer_node", domain, *parameters, log=folder / "log") as process,
        listener(domain) as ears,
    ):
        robot = Robot(process, ears)
        assert ears.spin_until(lambda: robot.state == "NO_IMAGE", 60), process.output
        assert ears.spin_until(lambda: robot.front.get_subscription_count() and robot.rear.get_subscription_count())
        yield robot
        assert process.end(signal.SIGTERM) == 0, process.output
        assert "Traceback" not in process.output
        assert ears.spin_until(lambda: robot.state == "STALE"), "its last word"


def test_before_any_picture_the_status_says_where_it_listens(robot: Robot) -> None:
    first = robot.received["status"][0]
    assert first.level == DiagnosticStatus.ERROR and FRONT in first.message


def test_a_mapped_view_becomes_a_pose(robot: Robot, place_map_directory: Path) -> None:
    place_map = PlaceMap.open(place_map_directory)
    for row in (3, 8):
        stamp = stamp_of(robot.ask(street(row)))
        assert robot.ears.spin_until(lambda stamp=stamp: any(stamp_of(m) == stamp for m in robot.received["pose"]))
        pose = next(message for message in robot.received["pose"] if stamp_of(message) == stamp)
        truth = place_map.frame.to_local(place_map.utm[row])
        position = pose.pose.pose.position
        assert np.hypot(position.x - truth[0], position.y - truth[1]) < 25
        assert pose.header.frame_id == "map"
        assert robot.ears.spin_until(lambda stamp=stamp: any(stamp_of(m) == stamp for m in robot.received["fix"]))
        fix = next(message for message in robot.received["fix"] if stamp_of(message) == stamp)
        assert fix.latitude == pytest.approx(place_map.latitude[row], abs=3e-4) and fix.header.frame_id == "base_link"


def test_everything_else_is_published_for_the_same_stamp(robot: Robot) -> None:
    stamp = stamp_of(robot.ask(street(5)))
    robot.ears.spin_for(0.5)
    assert any(stamp_of(message) == stamp for message in robot.received["hypotheses_cloud"])
    content = json.loads(robot.received["matches"][-1].data)
    assert (content["stamp"]["sec"], content["camera"]) == (stamp[0], FRONT)
    assert content["matches"][0]["id"] == "05.jpg"
    assert robot.received["markers"][-1].markers
    assert robot.state == "LOCALIZED"


def test_a_raw_image_of_another_camera_is_taken_and_turned_by_its_mounting(robot: Robot) -> None:
    picture = street(6)
    height, width, _ = picture.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=picture.tobytes())
    message.header.stamp = robot.stamp()
    robot.rear.publish(message)
    rear = robot.answer(stamp_of(message)).poses[0].orientation
    front = robot.ask(picture).poses[0].orientation
    turned = 2 * (np.arctan2(rear.z, rear.w) - np.arctan2(front.z, front.w))
    assert np.cos(turned) == pytest.approx(-1, abs=1e-3)


@pytest.mark.parametrize("topic", ["/prior", "/prior_fix"])
def test_a_rough_position_restricts_where_it_looks(robot: Robot, place_map_directory: Path, topic: str) -> None:
    """A view of one end of the map is not found at the other end, while the position there is new."""
    place_map = PlaceMap.open(place_map_directory)
    far = int(np.argmax(np.hypot(*(place_map.utm - place_map.utm[3]).T)))
    if topic == "/prior_fix":
        message: Any = NavSatFix(latitude=place_map.latitude[far], longitude=place_map.longitude[far])
        message.status.status = NavSatStatus.STATUS_FIX
    else:
        x, y = place_map.frame.to_local(place_map.utm[far])
        message = PoseWithCovarianceStamped()
        message.header.frame_id = "map"
        message.pose.pose.position.x, message.pose.pose.position.y = float(x), float(y)
    radius = float(np.hypot(*(place_map.utm[far] - place_map.utm[3]))) / 2
    assert robot.set("prior_min_radius", radius) == "" and robot.set("prior_max_age", 5.0) == ""
    publisher = robot.ears.node.create_publisher(type(message), topic, 10)
    try:
        assert robot.ears.spin_until(publisher.get_subscription_count)
        near = set(np.flatnonzero(np.hypot(*(place_map.utm - place_map.utm[far]).T) <= radius).tolist())
        assert near and 3 not in near

        def found_near() -> bool:
            message.header.stamp = stamp = robot.stamp()
            publisher.publish(message)
            robot.ears.spin_for(0.3)
            return robot.matches(robot.show(street(3), stamp)) == near

        # Discovery has two ends: the first messages may be lost until the node has found this publisher as well.
        assert any(found_near() for _ in range(10))
    finally:
        # From here on it is too old for every picture.
        assert robot.set("prior_max_age", 0.0) == ""
        robot.ears.node.destroy_publisher(publisher)
    assert robot.matches(robot.show(street(3))) == set(range(place_map.count))


def test_silence_when_unsure(robot: Robot) -> None:
    assert robot.set("min_probability", 1.0) == ""
    try:
        stamp = stamp_of(robot.ask(street(4)))
        robot.ears.spin_for(0.5)
        assert not any(stamp_of(message) == stamp for name in ("pose", "fix") for message in robot.received[name])
        # Until its pictures are old, the other camera's last answer still counts.
        assert robot.ears.spin_until(lambda: robot.ask(street(4)) and robot.state in ("NO_MATCH", "AMBIGUOUS"))
        assert "1.00 is needed" in robot.received["status"][-1].message
    finally:
        robot.set("min_probability", 0.1)


def malformed_images() -> dict[str, Image]:
    def image(**changes: Any) -> Image:
        message = Image(height=4, width=4, encoding="rgb8", step=12, data=bytes(48))
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    return {
        "step 5": image(step=5),
        "encoding 'banana'": image(encoding="banana"),
        "no pixels": image(height=0, data=b""),
        "cut short": image(data=bytes(20)),
    }


@pytest.mark.parametrize("word", malformed_images())
def test_a_malformed_image_is_reported_and_survived(robot: Robot, word: str) -> None:
    message = malformed_images()[word]
    message.header.stamp = robot.stamp()
    robot.rear.publish(message)
    assert robot.ears.spin_until(lambda: word in robot.diagnostics("node").get("last error", "")), robot.process.output
    assert robot.ask(street(1)).poses


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"", "empty"), (b"no picture at all", "not a picture"), (jpeg(street(1))[:-300], "cut short")],
)
def test_a_compressed_image_that_is_none_is_reported_and_survived(robot: Robot, data: bytes, word: str) -> None:
    robot.show(data)
    assert robot.ears.spin_until(lambda: word in robot.diagnostics("node").get("last error", "")), robot.process.output
    assert int(robot.diagnostics(FRONT)["unusable"]) > 0
    assert robot.ask(street(1)).poses
    assert "Traceback" not in robot.process.output


def test_stamps_that_jump_back_are_noticed_and_followed(robot: Robot) -> None:
    robot.ask(street(2))
    # The first one might be a slip.
    robot.show(street(2), Time(sec=7))
    robot.ears.spin_for(0.2)
    answer = robot.answer(robot.show(street(2), Time(sec=7, nanosec=1)))
    assert stamp_of(answer) == (7, 1)
    assert "jumped back" in robot.process.output
    # Back in the others' time.
    robot.show(street(2))
    robot.ears.spin_for(0.2)
    robot.ask(street(2))


def test_a_camera_that_stops_is_noticed(robot: Robot) -> None:
    robot.ask(street(2))
    assert robot.ears.spin_until(lambda: robot.state == "NO_IMAGE", 10)
    assert "send nothing" in robot.received["status"][-1].message
    robot.ask(street(2))
    assert robot.ears.spin_until(lambda: robot.state != "NO_IMAGE")


def test_localize_returns_the_answer_to_a_new_picture(robot: Robot) -> None:
    robot.ask(street(9))
    robot.ears.spin_until(lambda: robot.state == "NO_IMAGE", 10)
    futures = [robot.ears.call_async(Trigger, f"{NODE}/localize") for _ in range(3)]
    robot.ears.spin_for(0.5)
    assert not any(future.done() for future in futures), "a picture from before the call is no answer"
    for _ in range(2):  # Both cameras may have been alive.
        robot.show(street(9))
        robot.ears.spin_for(0.3)
    assert robot.ears.spin_until(lambda: all(future.done() for future in futures), 10)
    for future in futures:
        assert future.result().success and "LOCALIZED" in future.result().message


def test_localize_says_why_not(robot: Robot) -> None:
    robot.ears.spin_until(lambda: robot.state == "NO_IMAGE", 10)
    start = time.monotonic()
    response = robot.trigger("localize")
    assert not response.success and "no picture on" in response.message
    assert 3.5 < time.monotonic() - start < 15


def test_the_name_that_nav2_calls_is_served(robot: Robot) -> None:
    """It is answered at once, before any picture came, and the next picture is looked at, asked for or not."""
    assert robot.set("continuous", False) == ""
    try:
        future = robot.ears.call_async(Empty, "/reinitialize_global_localization")
        assert robot.ears.spin_until(future.done, 2)
        robot.answer(robot.show(street(3)))
    finally:
        robot.set("continuous", True)


def test_after_a_reset_the_status_claims_nothing_until_the_next_picture(robot: Robot) -> None:
    robot.ask(street(5))
    assert robot.ears.spin_until(lambda: robot.state == "LOCALIZED")
    assert robot.trigger("reset").success
    assert robot.ears.spin_until(lambda: robot.state == "STALE")
    assert "~/reset was called" in robot.received["status"][-1].message
    robot.ask(street(5))
    assert robot.ears.spin_until(lambda: robot.state == "LOCALIZED")


def test_a_bad_map_leaves_the_old_one_running(robot: Robot, place_map_directory: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.map"
    shutil.copytree(place_map_directory, broken)
    (broken / "descriptors.npy").write_bytes((broken / "descriptors.npy").read_bytes()[:-100])
    assert robot.set("map", str(broken)) == ""
    response = robot.trigger("reload_map")
    assert not response.success and "descriptors.npy" in response.message and "the old map stays" in response.message
    assert robot.ask(street(7)).poses
    assert robot.set("map", str(place_map_directory)) == ""
    assert robot.trigger("reload_map").success
    assert robot.ask(street(7)).poses


def test_a_wrong_parameter_is_refused(robot: Robot) -> None:
    assert "clean up the node" in robot.set("device", "cuda")
    assert robot.set("top_k", 0)


def test_diagnostics_tell_rates_latency_map_and_model(robot: Robot) -> None:
    robot.ask(street(0))
    robot.ears.spin_for(1.2)
    camera, node = robot.diagnostics(FRONT), robot.diagnostics("node")
    assert int(camera["answered"]) > 0 and float(camera["latency p50 [ms]"]) > 0 and "dropped" in camera
    assert "stamp lag [s]" in camera and float(node["memory [MiB]"]) > 10
    assert "drive" in node["map"] and node["model"] == "gem_mobilenet_v2" and node["device"] == "cpu"


def test_the_match_image_is_made_for_who_listens(robot: Robot) -> None:
    images = robot.ears.record(CompressedImage, f"{NODE}/match_image/compressed")
    robot.ears.spin_for(0.5)
    stamp = stamp_of(robot.ask(street(5)))
    assert robot.ears.spin_until(lambda: images)
    picture = cv2.imdecode(np.frombuffer(images[-1].data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 2 * picture.shape[0] and stamp_of(images[-1]) == stamp


def test_the_newest_frame_wins_and_drops_are_counted(robot: Robot) -> None:
    assert robot.ears.spin_until(lambda: robot.diagnostics(FRONT))
    before = int(robot.diagnostics(FRONT)["received"])
    pictures = [jpeg(street(number, (1200, 1600))) for number in range(3)]
    # A busy machine may let the last one wait for longer than is allowed.
    assert robot.set("max_age", 60.0) == ""
    try:
        for _ in range(5):
            for picture in pictures:
                stamp = robot.show(picture)
        robot.answer(stamp)
    finally:
        robot.set("max_age", 0.1)
    robot.ears.spin_for(1.2)
    camera = robot.diagnostics(FRONT)
    assert int(camera["received"]) > before
    counts = {name: int(camera[name]) for name in ("received", "answered", "dropped", "skipped", "unusable")}
    assert counts["received"] == counts["answered"] + counts["dropped"] + counts["skipped"] + counts["unusable"]


def test_on_demand_only_asked_for_pictures_are_localized(robot: Robot) -> None:
    assert robot.set("continuous", False) == ""
    try:
        stamp = robot.show(street(1))
        robot.ears.spin_for(0.7)
        assert not any(stamp_of(message) == stamp for message in robot.received["hypotheses"])
        future = robot.ears.call_async(Trigger, f"{NODE}/localize")
        robot.ears.spin_for(0.3)
        robot.answer(robot.show(street(1)))
        assert robot.ears.spin_until(future.done, 10)
    finally:
        robot.set("continuous", True)


def test_it_can_be_deactivated_cleaned_up_and_brought_back(robot: Robot) -> None:
    def change(transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return robot.ears.call(ChangeState, f"{NODE}/change_state", request, timeout=60).success

    assert change(Transition.TRANSITION_DEACTIVATE)
    assert "not active" in robot.trigger("localize").message
    assert change(Transition.TRANSITION_CLEANUP)
    assert not robot.trigger("reload_map").success
    assert robot.set("top_k", 10) == "" and robot.set("model", "gem_mobilenet_v2") == ""
    assert change(Transition.TRANSITION_CONFIGURE) and change(Transition.TRANSITION_ACTIVATE)
    assert robot.ears.spin_until(robot.front.get_subscription_count)
    robot.ears.spin_for(0.5)
    assert robot.ask(street(3)).poses


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_bad_map_is_one_line_and_the_node_stays(tmp_path: Path, how: signal.Signals, domain: int) -> None:
    missing = tmp_path / "missing.map"
    given = arguments(map=str(missing), autostart=True)
    with running("localizer_node", domain, *given, log=tmp_path / "log") as process, listener(domain) as ears:
        assert ears.spin_until(lambda: str(missing) in process.output, 60)
        (line,) = [line for line in process.output.splitlines() if str(missing) in line]
        assert "ERROR" in line
        state = ears.call(GetState, f"{NODE}/get_state").current_state
        assert state.id == LifecycleState.PRIMARY_STATE_UNCONFIGURED
        assert process.end(how) == 0
        assert "Traceback" not in process.output


def test_a_map_of_other_weights_is_refused(place_map_directory: Path, tmp_path: Path, domain: int) -> None:
    given = arguments(map=str(place_map_directory), weights="untrained", autostart=True)
    with running("localizer_node", domain, *given, log=tmp_path / "log") as process, listener(domain) as ears:
        assert ears.spin_until(lambda: "cannot configure" in process.output, 60)
        warning, error = process.output.index("UNTRAINED WEIGHTS"), process.output.index("cannot configure")
        assert warning < error and "give the same weights" in process.output


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (arguments(max_rate="fast"), "max_rate"),
        (arguments(top_k=-3), "top_k"),
        (["--ros-args", "--params-file", "/nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_wrong_call_ends_with_one_line(given: list[str], word: str, tmp_path: Path, domain: int) -> None:
    process = NodeProcess("localizer_node", domain, *given, log=tmp_path / "log", warm=True)
    assert process.process.wait(60) == 2
    assert word in process.output and "Traceback" not in process.output


def test_simulated_time_that_jumps_back_is_noticed(place_map_directory: Path, tmp_path: Path, domain: int) -> None:
    given = arguments(map=str(place_map_directory), cameras=[FRONT], autostart=True, use_sim_time=True, threads=1)
    with running("localizer_node", domain, *given, log=tmp_path / "log") as process, listener(domain) as ears:
        robot = Robot(process, ears)
        clock = ears.node.create_publisher(Clock, "/clock", 10)
        # No time comes yet.
        assert ears.spin_until(lambda: robot.state == "STALE" and robot.front.get_subscription_count(), 60)
        ears.spin_for(0.5)
        for second in (100, 101, 50):
            clock.publish(Clock(clock=Time(sec=second)))
            assert robot.answer(robot.show(street(2), Time(sec=second, nanosec=1))).poses
        assert "the clock jumped back by 51.0 s" in process.output
        assert ears.spin_until(lambda: any(m.header.stamp.sec == 50 for m in robot.received["diagnostics"]))
        assert process.end(signal.SIGINT) == 0
        assert ears.spin_until(lambda: robot.state == "STALE"), "its last word"


def test_amcl_gets_one_initial_pose_for_each_call(place_map_directory: Path, tmp_path: Path, domain: int) -> None:
    given = arguments(
        map=str(place_map_directory), cameras=[FRONT], autostart=True, continuous=False, min_probability=0.1, threads=1
    )
    given += ["-r", "~/pose:=initialpose"]
    with running("localizer_node", domain, *given, log=tmp_path / "log") as process, listener(domain) as ears:
        robot = Robot(process, ears)
        poses = ears.record(PoseWithCovarianceStamped, "/initialpose")
        assert ears.spin_until(lambda: robot.state == "NO_IMAGE" and robot.front.get_subscription_count(), 60)
        ears.spin_for(0.5)
        for calls in (1, 2):
            robot.show(street(2))
            localized = ears.call_async(Trigger, f"{NODE}/localize")
            ears.spin_for(0.3)
            for _ in range(4):
                robot.show(street(2))
            assert ears.spin_until(localized.done) and localized.result().success, localized.result()
            for _ in range(4):
                robot.show(street(2))
            ears.spin_for(0.5)
            assert len(poses) == calls


def test_a_qos_mismatch_is_named(place_map_directory: Path, tmp_path: Path, domain: int) -> None:
    """A subscriber that insists on reliability hears nothing from a best-effort camera; the status says so."""
    given = arguments(map=str(place_map_directory), cameras=[FRONT], autostart=True, image_timeout=0.5)
    given += ["-p", f"qos_overrides.{FRONT}.subscription.reliability:=reliable"]
    with running("localizer_node", domain, *given, log=tmp_path / "log"), listener(domain) as ears:
        quiet = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        ears.node.create_publisher(CompressedImage, FRONT, quiet)
        status = ears.record(DiagnosticStatus, f"{NODE}/status", LATCHED)
        assert ears.spin_until(lambda: status and "QoS" in status[-1].message, 60), status

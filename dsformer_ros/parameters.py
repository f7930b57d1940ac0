"""The node's parameters: one table, from which they are declared, described, checked and read.

`config/localizer.yaml` shows the same table to users. LIVE parameters act at once, RELOADED ones when the map is
loaded, CONFIGURED ones can only be changed while the node is unconfigured, STARTED ones only on the command line.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import InvalidTopicNameException
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.localization import LocalizationConfig
from dsformer_core.localization.fusion import FusionConfig
from dsformer_ros.specifications import CONFIGURED, RELOADED, STARTED, check_value, parameter, specifications_of

FUSION = FusionConfig()
"""The core's defaults, which are the node's."""


@dataclass(frozen=True)
class Settings:
    """Values of all parameters; the fields are the table."""

    map: str = parameter(
        "", "Directory of the place map. Empty: the sample map that is installed with the node.", change=RELOADED
    )
    model: str = parameter("", "Name of the network. Empty: the one that the map was made with.", change=CONFIGURED)
    weights: str = parameter(
        "",
        "File or name of the network's weights. Empty: the model's released weights that are on this machine. "
        "They must be the very weights that the map was made with.",
        change=CONFIGURED,
    )
    runtime: str = parameter(
        "auto",
        "What computes: torch, or onnx and tensorrt for files of `dsformer export`. auto goes by the file of the "
        "weights: .onnx, .engine, or anything else for torch.",
        choices=("auto", "torch", "onnx", "tensorrt"),
        change=CONFIGURED,
    )
    device: str = parameter("auto", "Where the network runs: auto, cpu, cuda or cuda:N.", change=CONFIGURED)
    precision: str = parameter(
        "auto",
        "Number format of the network: auto takes half precision on CUDA and float32 on a CPU.",
        choices=("auto", "float32", "bfloat16", "float16"),
        change=CONFIGURED,
    )
    optimize: str = parameter(
        "safe",
        "safe: the same descriptors sooner, at once. max: also compile the network, on CUDA into one graph of kernels; "
        "configuring then takes from half a minute to minutes; on the CPUs where it was measured it gained little or "
        "nothing over safe, on CUDA it was not measured. off: the network as it was trained. Files of "
        "`dsformer export` are as they were exported.",
        choices=("off", "safe", "max"),
        change=CONFIGURED,
    )
    threads: int = parameter(
        0,
        "CPU threads of the network. 0: one less than the process has cores, which decodes and talks to ROS.",
        minimum=0,
        maximum=1024,
        change=CONFIGURED,
    )
    cameras: tuple[str, ...] = parameter(
        ("image/compressed",), "Image topics, one per camera, relative or absolute.", change=CONFIGURED
    )
    image_transport: str = parameter(
        "auto",
        "Message type on the camera topics: raw (sensor_msgs/Image), compressed (sensor_msgs/CompressedImage), or "
        "auto: what is published there, and until something is, CompressedImage where the name ends in /compressed.",
        choices=("auto", "raw", "compressed"),
        change=CONFIGURED,
    )
    camera_mounting: str = parameter(
        "auto",
        "Where a camera's direction in base_frame comes from: tf (no answer until it is known), parameter "
        "(camera_yaws_deg), or auto: tf where tf2_ros is installed, else the parameter. Where auto finds that tf does "
        "not know the picture's frame, camera_yaws_deg counts if it is not the default; otherwise the yaw is unknown.",
        choices=("auto", "tf", "parameter"),
        change=CONFIGURED,
    )
    camera_yaws_deg: tuple[float, ...] = parameter(
        (0.0,),
        "Yaw of each camera's viewing direction in base_frame, degrees counter-clockwise: 0.0 looks ahead, 90.0 to the "
        "left, 180.0 back. One value for all cameras or one per camera.",
        minimum=-360.0,
        maximum=360.0,
    )
    map_frame: str = parameter(
        "map", "Frame of the published poses: its origin is the map's datum, x is UTM grid east."
    )
    base_frame: str = parameter("base_link", "Frame of the robot whose pose is published.")
    top_k: int = parameter(20, "References that are retrieved for a picture.", minimum=1, maximum=1000)
    radius: float = parameter(
        25.0, "Metres within which references count as one place, hence one hypothesis.", minimum=1.0, maximum=1000.0
    )
    min_probability: float = parameter(
        0.6,
        "Probability from which on a picture's best hypothesis by itself is published on ~/pose and ~/fix, and "
        "answers ~/localize. Higher: fewer false poses, more silence.",
        minimum=0.0,
        maximum=1.0,
    )
    fusion: bool = parameter(
        True,
        "Bring what all pictures of all cameras say together over time, moved along by odometry on odom "
        "(nav_msgs/Odometry). False, or while no odometry comes: every picture is answered by itself. A change of the "
        "next seven, of top_k or of radius forgets what earlier pictures said.",
    )
    fusion_without_odometry: bool = parameter(
        False,
        "Fuse even while no odometry comes. What is known then spreads by motion_bound and turn_bound, and is an "
        "answer later and less often than a single picture.",
    )
    fusion_min_probability: float = parameter(
        FUSION.min_probability,
        "Fused probability from which on the best hypothesis is published on ~/pose and ~/fix. Higher: fewer false "
        "poses, more silence.",
        minimum=0.0,
        maximum=1.0,
    )
    fusion_keep_probability: float = parameter(
        FUSION.keep_probability,
        "Fused probability down to which it is published once it was; at most fusion_min_probability.",
        minimum=0.0,
        maximum=1.0,
    )
    fusion_max_std: float = parameter(
        FUSION.max_std,
        "Metres of standard deviation beyond which a position is not published, however probable; twice the map's "
        "spacing where that is more.",
        minimum=1.0,
        maximum=1000.0,
    )
    motion_bound: float = parameter(
        FUSION.motion_bound,
        "Metres per second that the robot never exceeds. Between pictures without odometry, what is known spreads by "
        "it.",
        minimum=0.01,
        maximum=200.0,
    )
    turn_bound: float = parameter(
        FUSION.turn_bound, "Radians per second that the robot never exceeds.", minimum=0.01, maximum=20.0
    )
    odometry_noise: float = parameter(
        FUSION.odometry_noise,
        "Share of the distance by which odometry errs, at least; more where its covariance grows faster.",
        minimum=0.0,
        maximum=1.0,
    )
    prior_max_age: float = parameter(
        5.0,
        "Seconds between a picture's stamp and that of a rough position on prior (PoseWithCovarianceStamped in "
        "map_frame) or prior_fix (NavSatFix) up to which only references near that position are looked at. 0.0: only "
        "for equal stamps. A position that comes from this node's own poses would confirm itself: do not feed it back.",
        minimum=0.0,
        maximum=3600.0,
    )
    prior_sigmas: float = parameter(
        5.0,
        "Standard deviations of the rough position, as its covariance has them, around which references are looked at.",
        minimum=0.0,
        maximum=1000.0,
    )
    prior_min_radius: float = parameter(
        100.0,
        "Metres around the rough position in which references are looked at, however sure it is, and where its "
        "covariance is unknown.",
        minimum=1.0,
        maximum=1000000.0,
    )
    max_rate: float = parameter(
        0.0,
        "Pictures per second and camera that are localized. 0.0: as many as the network manages.",
        minimum=0.0,
        maximum=1000.0,
    )
    max_age: float = parameter(
        0.1,
        "Seconds after which a picture that waited, in the node or on its way, is left out for the next one. Cameras "
        "that send less often than that have no fresher picture, and none of theirs is left out.",
        minimum=0.01,
        maximum=3600.0,
    )
    continuous: bool = parameter(True, "Localize every picture. False: only when ~/localize asks.")
    image_timeout: float = parameter(
        5.0, "Seconds without a picture after which a camera counts as stopped (NO_IMAGE).", minimum=0.1, maximum=3600.0
    )
    stale_timeout: float = parameter(
        10.0,
        "Seconds without an answer, though pictures come, after which the last one is STALE.",
        minimum=0.1,
        maximum=3600.0,
    )
    localize_timeout: float = parameter(
        10.0, "Seconds that ~/localize waits for an answer to a new picture.", minimum=0.1, maximum=3600.0
    )
    max_stamp_lag: float = parameter(
        2.0,
        "Seconds by which a picture's stamp may lie behind the clock before diagnostics warn.",
        minimum=0.0,
        maximum=3600.0,
    )
    publish_map_to_odom: bool = parameter(
        False,
        "Publish the transform from map_frame to the frame of the messages on odom, at the picture's stamp and only "
        "while LOCALIZED. Nobody else may then publish it. Needs tf2_msgs.",
        change=CONFIGURED,
    )
    publish_earth_to_map: bool = parameter(
        False, "Publish the static transform from earth (ECEF) to map_frame. Needs tf2_msgs.", change=CONFIGURED
    )
    provide_reinitialize_service: bool = parameter(
        False,
        "Serve reinitialize_global_localization, which Nav2's behaviour tree calls; AMCL must then not serve it.",
        change=STARTED,
    )
    autostart: bool = parameter(False, "Configure and activate without being asked.", change=STARTED)

    def __post_init__(self) -> None:
        for name, spec in SPECIFICATIONS.items():
            check_value(name, getattr(self, name), spec)
        if self.device.partition(":")[0] == "tensorrt":
            raise UsageError(
                f"device is '{self.device}': ONNX Runtime would build an engine while the node starts, for minutes; "
                "build one beforehand with `dsformer export --tensorrt`, and give that .engine file as weights"
            )
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise UsageError(f"cameras must be different topics, at least one: {list(self.cameras)}")
        for topic in self.cameras:
            try:
                validate_topic_name(topic)
            except InvalidTopicNameException as error:
                raise UsageError(f"cameras: '{topic}' is not a topic name: {' '.join(str(error).split())}") from error
        if len(self.camera_yaws_deg) not in (1, len(self.cameras)):
            raise UsageError(
                f"camera_yaws_deg has {len(self.camera_yaws_deg)} values for {len(self.cameras)} cameras: "
                "give one, or one per camera"
            )
        for name in ("map_frame", "base_frame"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty: consumers refuse poses without a frame")
        if self.fusion_keep_probability > self.fusion_min_probability:
            raise UsageError(
                f"fusion_keep_probability is {self.fusion_keep_probability}: it must not exceed "
                f"fusion_min_probability, {self.fusion_min_probability}"
            )

    def camera_yaw(self, camera: int) -> float:
        """Yaw of a camera's viewing direction in base_frame as parameters have it, radians."""
        yaws = self.camera_yaws_deg
        return math.radians(yaws[camera if len(yaws) > 1 else 0])

    @property
    def gives_camera_yaws(self) -> bool:
        """Whether somebody chose camera_yaws_deg. The parameter file gives the default, which tells nothing."""
        return list(self.camera_yaws_deg) != SPECIFICATIONS["camera_yaws_deg"].default

    def localization(self) -> LocalizationConfig:
        """What the core's `localize` and `judge` are to do."""
        return LocalizationConfig(self.top_k, self.radius, self.min_probability)

    def fusing(self) -> FusionConfig:
        """What the core's `Tracker` is to do."""
        return FusionConfig(
            motion_bound=self.motion_bound,
            turn_bound=self.turn_bound,
            odometry_noise=self.odometry_noise,
            min_probability=self.fusion_min_probability,
            keep_probability=self.fusion_keep_probability,
            max_std=self.fusion_max_std,
        )


SPECIFICATIONS = specifications_of(Settings)
"""The table: parameter name -> what may be said about it, in the order of `Settings`."""


class NodeParameters:
    """Declares the table on a node and keeps `settings` equal to what the node's parameters say."""

    def __init__(self, node: LifecycleNode, is_configured: Callable[[], bool]) -> None:
        """Declares every parameter, with overrides from the command line and parameter files.

        Args:
            node: the node that gets the parameters.
            is_configured: whether CONFIGURED parameters are in use, so that they cannot change.

        Raises:
            UsageError: an override has a wrong type or a value out of range.
        """
        self._is_configured = is_configured
        values = {}
        for name, spec in SPECIFICATIONS.items():
            try:
                values[name] = _plain(node.declare_parameter(name, spec.default, spec.descriptor()).value)
            except Exception as error:
                # rclpy has one exception class per kind of mistake, and they differ between distributions.
                kind = type(spec.default).__name__
                reason = " ".join(str(error).split())
                raise UsageError(f"parameter {name} (default {spec.default!r}, a {kind}): {reason}") from error
        self.settings = Settings(**values)
        node.add_on_set_parameters_callback(self._check)
        # Humble's rclpy has no callback after a successful change.
        self._has_post_set = hasattr(node, "add_post_set_parameters_callback")
        if self._has_post_set:
            node.add_post_set_parameters_callback(self._apply)

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            self._changed(parameters)
        except DsformerError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if not self._has_post_set:
            self._apply(parameters)
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        self.settings = self._changed(parameters)

    def _changed(self, parameters: list[Parameter]) -> Settings:
        ours = {parameter.name: _plain(parameter.value) for parameter in parameters if parameter.name in SPECIFICATIONS}
        for name, value in ours.items():
            held = SPECIFICATIONS[name].change == CONFIGURED and self._is_configured()
            if held and value != getattr(self.settings, name):
                raise UsageError(f"{name} is in use: deactivate and clean up the node, set it, and configure again")
        return replace(self.settings, **ours)


def _plain(value: Any) -> Any:
    """ROS arrays as the tuples that `Settings` holds."""
    return value if isinstance(value, str | bool | int | float) else tuple(value)

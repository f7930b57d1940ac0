"""What the page shows, gathered from the localizer's topics in a thread of its own."""

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, PointCloud2
from std_msgs.msg import String

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.place_map import PlaceMap
from dsformer_ros.share import SAMPLE_MAP, share_directory

# Positions of the published pose that the page draws as a trail.
_TRAIL = 500
# As many references as a browser draws without a stutter; of larger maps every n-th.
_REFERENCES = 20_000
# Of the latest picture, the references that it is most like.
_MATCHES = 5
# Seconds between questions for the map that the node has.
_MAP_PERIOD = 3.0
# Seconds between looks at whether the localizer lives, and without its /diagnostics, which come each second, until not.
_LOOK_PERIOD, _SILENCE = 0.5, 3.0

_LEVELS = {DiagnosticStatus.OK: "ok", DiagnosticStatus.WARN: "warn", DiagnosticStatus.ERROR: "error"}


class Listener:
    """Subscribes to one localizer.

    `state` is what the page shows, as JSON can hold it, by part; every change of a part is told with the part's name.
    """

    def __init__(self, node_name: str, place_map: PlaceMap | None = None) -> None:
        """Starts to listen.

        Args:
            node_name: of the localizer, with its namespace.
            place_map: its map; None to ask the localizer which it has.

        Raises:
            UsageError: `node_name` cannot be a node's name.
        """
        self.state: dict[str, Any] = {"node": node_name, "status": None, "hypotheses": [], "trail": [], "cameras": []}
        self.state |= {"matches": [], "picture": 0, "map": None}
        self.references: dict[str, list[float]] = {"x": [], "y": []}
        self.picture = b""
        self._name = node_name
        self._told: Callable[[str], None] = lambda part: None
        self._trail: deque[list[float]] = deque(maxlen=_TRAIL)
        self._said: dict[str, str] | None = None
        self._heard: float | None = None
        self._shown: tuple[str, int] | None = None
        self._asks = place_map is None
        self._question: Future | None = None
        self._ends = False
        self._context = Context()
        rclpy.init(context=self._context, args=[])
        self._node = rclpy.create_node("dsformer_watch", context=self._context)
        try:
            self._subscribe()
        except InvalidTopicNameException as error:
            self._leave()
            raise UsageError(f"--node {node_name} is not a node's name: {' '.join(str(error).split())}") from error
        if place_map is not None:
            self._show_map(place_map)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="watch", daemon=True)

    def start(self, told: Callable[[str], None]) -> None:
        """Hears from now on; `told` gets the name of each part that changes, in the listening thread."""
        self._told = told
        self._thread.start()

    def close(self) -> None:
        """Leaves the ROS graph."""
        self._ends = True
        self._executor.shutdown()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._leave()

    def _leave(self) -> None:
        self._node.destroy_node()
        self._context.try_shutdown()

    def _subscribe(self) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscribe, name = self._node.create_subscription, self._name
        subscribe(DiagnosticStatus, f"{name}/status", self._on_status, latched)
        subscribe(PointCloud2, f"{name}/hypotheses_cloud", self._on_hypotheses, 1)
        subscribe(PoseWithCovarianceStamped, f"{name}/pose", self._on_pose, 10)
        subscribe(String, f"{name}/matches", self._on_matches, 1)
        subscribe(CompressedImage, f"{name}/match_image/compressed", self._on_picture, 1)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._parameters = self._node.create_client(GetParameters, f"{name}/get_parameters")
        self._node.create_timer(_MAP_PERIOD, self._ask_for_map)
        self._node.create_timer(_LOOK_PERIOD, self._look_for_life)

    def _spin(self) -> None:
        while self._context.ok() and not self._ends:
            try:
                self._executor.spin_once(timeout_sec=0.5)
            except ExternalShutdownException:
                return
            except Exception as error:
                if self._ends:
                    return
                # One message that is not what it should be must not end the page.
                self._node.get_logger().warning(f"not understood: {error!r}", throttle_duration_sec=5.0)

    def _set(self, part: str, value: Any) -> None:
        if self.state[part] != value:
            self.state[part] = value
            self._told(part)

    def _on_status(self, message: DiagnosticStatus) -> None:
        values = {pair.key: pair.value for pair in message.values}
        state = values.get("state", message.message)
        status = {"state": state, "level": _LEVELS.get(message.level, "stale"), "reason": values.get("reason", "")}
        self._said = status | {"camera": values.get("camera", "")}
        self._look_for_life()

    def _look_for_life(self) -> None:
        """Shows what the localizer said last while it lives, and that it is gone when it is."""
        if self._said is None:
            return
        silent = 0.0 if self._heard is None else time.monotonic() - self._heard
        why = ""
        if not self._node.count_publishers(f"{self._name}/status"):
            why = f"{self._name} has ended, or is not configured"
        elif silent > _SILENCE:
            why = f"nothing has been heard of {self._name} for {_SILENCE:.0f} s and more"
        if why:
            last = f"it last said {self._said['state']}: {self._said['reason']}"
            self._set("status", {"state": "gone", "level": "error", "reason": f"{why}; {last}", "camera": ""})
        else:
            self._set("status", self._said)

    def _on_hypotheses(self, message: PointCloud2) -> None:
        kinds = {7: "<f4", 6: "<u4"}
        dtype = np.dtype(
            {
                "names": [field.name for field in message.fields],
                "formats": [kinds[field.datatype] for field in message.fields],
                "offsets": [field.offset for field in message.fields],
                "itemsize": message.point_step,
            }
        )
        points = np.frombuffer(bytes(message.data), dtype)
        names = ("x", "y", "yaw", "probability", "similarity", "variance_x", "variance_y", "variance_yaw")
        found = [{name: _finite(point[name]) for name in names} for point in points]
        stamp = message.header.stamp
        self._set("hypotheses", {"stamp": stamp.sec + 1e-9 * stamp.nanosec, "found": found})

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        position = message.pose.pose.position
        self._trail.append([round(position.x, 2), round(position.y, 2)])
        self._set("trail", list(self._trail))

    def _on_matches(self, message: String) -> None:
        found = json.loads(message.data)["matches"][:_MATCHES]
        self._set("matches", [{"id": str(one["id"]), "similarity": _finite(one["similarity"])} for one in found])

    def _on_picture(self, message: CompressedImage) -> None:
        self.picture = bytes(message.data)
        self._set("picture", self.state["picture"] + 1)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        cameras = []
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            # Outside of any namespace the node's name is written without a slash.
            if status.name.split(":")[0].strip("/") != self._name.strip("/"):
                continue
            self._heard = time.monotonic()
            if "rate [Hz]" in values:
                words = {"name": status.name.split(": ", 1)[-1], "message": status.message, "values": values}
                cameras.append(words | {"level": _LEVELS.get(status.level, "stale")})
        if cameras:
            self._set("cameras", cameras)

    def _ask_for_map(self) -> None:
        if self._question is not None and not self._question.done():
            self._parameters.remove_pending_request(self._question)
        if self._asks and self._parameters.service_is_ready():
            self._question = self._parameters.call_async(GetParameters.Request(names=["map"]))
            self._question.add_done_callback(lambda done: self._on_map(done.result()))

    def _on_map(self, answer: GetParameters.Response) -> None:
        directory = answer.values[0].string_value if answer.values else ""
        path = Path(directory).expanduser() if directory else share_directory() / SAMPLE_MAP
        try:
            version = str(path), (path / "map.yaml").stat().st_mtime_ns
            if version == self._shown:
                return
            self._show_map(PlaceMap.open(path))
            self._shown = version
        except (DsformerError, OSError) as error:
            # Asked again: it may be there by then.
            self._shown = None
            self.references = {"x": [], "y": []}
            self._set("map", {"name": directory, "count": 0, "problem": str(error)})

    def _show_map(self, place_map: PlaceMap) -> None:
        chosen = place_map.utm[:: max(1, math.ceil(place_map.count / _REFERENCES))]
        x, y = place_map.frame.to_local(chosen).T
        self.references = {"x": np.round(x, 2).tolist(), "y": np.round(y, 2).tolist()}
        shown = {"name": place_map.name, "created": place_map.created, "count": place_map.count, "problem": ""}
        self._set("map", shown)


def _finite(number: Any) -> float | None:
    """As JSON can hold it."""
    return round(float(number), 6) if math.isfinite(number) else None

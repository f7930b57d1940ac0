import importlib.util
import math
import sys
import types
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, TransformStamped
from pyproj import Transformer
from std_msgs.msg import Header

from dsformer_core.errors import DsformerError
from dsformer_core.geodesy import Datum, MapFrame, UtmZone, to_latlon
from dsformer_ros.parameters import Settings
from dsformer_ros.transforms import EarthToMap, Mounting, earth_to_map, viewing_yaw

HAS_TF = importlib.util.find_spec("tf2_ros") is not None


def about_z(yaw: float) -> np.ndarray:
    return np.array([0, 0, math.sin(yaw / 2), math.cos(yaw / 2)])


def product(p: np.ndarray, q: np.ndarray) -> tuple[float, float, float, float]:
    (a, b, c, d), (e, f, g, h) = p, q
    return (d * e + a * h + b * g - c * f, d * f - a * g + b * h + c * e, d * g + a * f - b * e + c * h,
            d * h - a * e - b * f - c * g)  # fmt: skip


# REP-103: from an optical frame (z forward, x right) to a body frame (x forward, z up).
OPTICAL = np.array([-0.5, 0.5, -0.5, 0.5])


@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5, math.pi / 2])
def test_a_camera_looks_along_z_of_its_optical_frame(yaw: float) -> None:
    assert viewing_yaw(product(about_z(yaw), OPTICAL)) == pytest.approx(yaw)


@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5])
def test_a_body_frame_looks_along_x(yaw: float) -> None:
    assert viewing_yaw(tuple(about_z(yaw))) == pytest.approx(yaw)


@pytest.mark.parametrize(
    "frame",
    [
        MapFrame(Datum(55.7, 13.2, 40.0), UtmZone(33, True)),
        MapFrame(Datum(-33.9, 151.2, 5.0), UtmZone(56, False)),
        MapFrame(Datum(0.1, -179.9, 0.0), UtmZone(1, True)),
    ],
)
def test_the_map_lies_on_earth_where_pyproj_has_it(frame: MapFrame) -> None:
    to_ecef = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    origin, axes = earth_to_map(frame)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    for local in ([0.0, 0.0], [50.0, 0.0], [0.0, 50.0]):
        latitude, longitude = to_latlon(frame.to_utm(local), frame.zone)
        truth = to_ecef.transform(float(longitude), float(latitude), frame.datum.altitude)
        # UTM's scale is at most 0.1 % off, which is 5 cm over 50 m.
        np.testing.assert_allclose(origin + axes @ [*local, 0.0], truth, atol=0.06 if any(local) else 1e-4)


@pytest.mark.skipif(HAS_TF, reason="tf2_ros is installed")
def test_what_needs_tf_says_so_in_one_line() -> None:
    with pytest.raises(DsformerError, match=r"camera_mounting is tf, but tf2_ros is not installed"):
        Mounting(None, Settings(camera_mounting="tf"))
    with pytest.raises(DsformerError, match=r"publish_earth_to_map is set, but tf2_msgs is not installed"):
        EarthToMap(None)


@pytest.mark.parametrize("mounting", ["parameter", pytest.param("auto", marks=pytest.mark.skipif(HAS_TF, reason="TF"))])
def test_without_tf_the_parameter_counts(mounting: str) -> None:
    for yaw in (0.0, 90.0):
        settings = Settings(camera_mounting=mounting, camera_yaws_deg=(yaw,))
        header = Header(frame_id="camera")
        assert Mounting(None, settings).camera_yaw(0, header, settings) == math.radians(yaw)


class UnknownFrameError(Exception):
    """tf2_ros.TransformException."""


class Buffer:
    """tf2_ros.Buffer, filled by hand: yaws of optical frames in base_link by second, which is all it interpolates."""

    def __init__(self) -> None:
        self.yaws: dict[str, dict[int, float]] = {}

    def lookup_transform(self, target: str, source: str, time: Any) -> TransformStamped:
        assert target == "base_link"
        yaws = self.yaws.get(source, {})
        second = time.nanoseconds // 10**9 or max(yaws, default=0)
        if second not in yaws:
            raise UnknownFrameError(f"frame '{source}' at {second} s")
        x, y, z, w = product(about_z(yaws[second]), OPTICAL)
        transform = TransformStamped()
        transform.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
        return transform


class Listener:
    """tf2_ros.TransformListener."""

    def __init__(self, buffer: Buffer, _: Any) -> None:
        Robot.buffer, Robot.listens = buffer, True

    def unregister(self) -> None:
        Robot.listens = False


class Robot:
    """Stands for a node, of which only the log is used."""

    buffer: Buffer
    listens = False

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def get_logger(self) -> Any:
        return types.SimpleNamespace(warning=self.warnings.append)


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Robot:
    """A robot with tf2_ros, of which there is no wheel."""
    tf2_ros: Any = types.ModuleType("tf2_ros")
    tf2_ros.Buffer, tf2_ros.TransformListener, tf2_ros.TransformException = Buffer, Listener, UnknownFrameError
    monkeypatch.setitem(sys.modules, "tf2_ros", tf2_ros)
    return Robot()


def header(second: int = 5, frame_id: str = "rear") -> Header:
    return Header(stamp=Time(sec=second), frame_id=frame_id)


def test_a_camera_that_tf_does_not_know_yet_has_no_direction(robot: Robot) -> None:
    settings = Settings()
    mounting = Mounting(robot, settings)
    for _ in range(2):
        assert math.isnan(mounting.camera_yaw(0, header(), settings))
        assert math.isnan(mounting.camera_yaw(0, header(frame_id="front"), settings))
    assert len(robot.warnings) == 2 and "'rear'" in robot.warnings[0] and "'front'" in robot.warnings[1]
    robot.buffer.yaws["rear"] = {5: math.pi}
    assert abs(mounting.camera_yaw(0, header(), settings)) == pytest.approx(math.pi)


def test_a_camera_with_a_new_name_each_time_fills_no_log(robot: Robot) -> None:
    settings = Settings()
    mounting = Mounting(robot, settings)
    for number in range(50):
        assert math.isnan(mounting.camera_yaw(0, header(frame_id=f"frame {number}"), settings))
    assert len(robot.warnings) == 5


def test_a_direction_that_somebody_gave_counts_where_tf_knows_none(robot: Robot) -> None:
    settings = Settings(cameras=("front", "rear"), camera_yaws_deg=(0.0, 180.0))
    mounting = Mounting(robot, settings)
    assert [mounting.camera_yaw(camera, header(), settings) for camera in (0, 1)] == [0.0, math.pi]
    robot.buffer.yaws["rear"] = {5: 1.0}
    assert mounting.camera_yaw(1, header(), settings) == pytest.approx(1.0)
    assert not robot.warnings


def test_where_tf_is_insisted_upon_there_is_no_answer_without_it(robot: Robot) -> None:
    settings = Settings(camera_mounting="tf", camera_yaws_deg=(90.0,))
    with pytest.raises(DsformerError, match="where 'rear' looks is not known to TF: frame 'rear'"):
        Mounting(robot, settings).camera_yaw(0, header(), settings)


def test_a_camera_that_turns_looked_where_it_did_when_the_picture_was_taken(robot: Robot) -> None:
    settings = Settings()
    mounting = Mounting(robot, settings)
    robot.buffer.yaws["rear"] = {4: 0.1, 5: 0.5, 6: 0.9}
    assert mounting.camera_yaw(0, header(5), settings) == pytest.approx(0.5)
    for beyond in (7, -3):
        assert mounting.camera_yaw(0, header(beyond), settings) == pytest.approx(0.9), "the latest that is known"


def test_a_closed_mounting_no_longer_listens(robot: Robot) -> None:
    mounting = Mounting(robot, Settings())
    assert Robot.listens
    mounting.close()
    mounting.close()
    assert not Robot.listens

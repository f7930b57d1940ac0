import importlib.util
import math

import numpy as np
import pytest
from pyproj import Transformer

from dsformer_core.errors import DsformerError
from dsformer_core.geodesy import Datum, MapFrame, UtmZone, to_latlon
from dsformer_ros.parameters import Settings
from dsformer_ros.transforms import Mounting, broadcast_earth_to_map, earth_to_map, viewing_yaw

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
    with pytest.raises(DsformerError, match=r"publish_earth_to_map is set, but tf2_ros is not installed"):
        broadcast_earth_to_map(None, MapFrame(Datum(55.7, 13.2), UtmZone(33, True)), "map")


def test_without_tf_the_parameter_counts() -> None:
    settings = Settings(camera_mounting="parameter", camera_yaws_deg=(90.0,))
    assert Mounting(None, settings).camera_yaw(0, "camera", settings) == math.pi / 2

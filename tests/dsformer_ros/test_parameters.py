import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter

from dsformer_core.errors import UsageError
from dsformer_ros.parameters import CONFIGURED, SPECIFICATIONS, NodeParameters, Settings
from dsformer_ros.share import share_directory


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, args=[])
    yield context
    context.try_shutdown()


class Configurable:
    """A node with our parameters, and a switch that says whether it is configured."""

    def __init__(self, context: Context, **overrides: object) -> None:
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        self.node = LifecycleNode("node", context=context, parameter_overrides=given)
        self.configured = False
        self.parameters = NodeParameters(self.node, lambda: self.configured)

    def set(self, name: str, value: object) -> str:
        """Sets one parameter; the reason of a refusal, '' otherwise."""
        (result,) = self.node.set_parameters([Parameter(name, value=value)])
        return "" if result.successful else result.reason


def test_the_parameter_file_is_the_table() -> None:
    content = yaml.safe_load((share_directory() / "config" / "localizer.yaml").read_text())
    assert content["/**"]["ros__parameters"] == {name: spec.default for name, spec in SPECIFICATIONS.items()}


def test_every_parameter_is_described_in_the_file() -> None:
    text = (Path(__file__).parents[2] / "config" / "localizer.yaml").read_text()
    words = " ".join(line.strip().lstrip("# ") for line in text.splitlines())
    for name, spec in SPECIFICATIONS.items():
        assert spec.description in words, name


def test_every_parameter_is_declared_with_description_type_and_range(context: Context) -> None:
    node = Configurable(context).node
    for name, spec in SPECIFICATIONS.items():
        descriptor = node.describe_parameter(name)
        assert descriptor.description and descriptor.type
        numeric = isinstance(spec.default, int | float) and not isinstance(spec.default, bool)
        assert bool(descriptor.floating_point_range or descriptor.integer_range) == numeric, name
        assert node.get_parameter(name).value == spec.default


def test_a_live_parameter_acts_at_once(context: Context) -> None:
    node = Configurable(context)
    node.configured = True
    assert node.set("min_probability", 0.7) == ""
    assert node.parameters.settings.localization().min_probability == 0.7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_probability", 1.5),
        ("min_probability", math.nan),
        ("top_k", 0),
        ("max_rate", -1.0),
        ("image_transport", "theora"),
        ("precision", "float8"),
        ("cameras", ["a", "a"]),
        ("cameras", ["two words"]),
        ("camera_yaws_deg", [0.0, 90.0]),
        ("camera_yaws_deg", [1000.0]),
        ("map_frame", ""),
    ],
)
def test_a_wrong_value_is_refused_before_it_acts(context: Context, name: str, value: object) -> None:
    node = Configurable(context)
    before = node.parameters.settings
    assert node.set(name, value)
    assert node.parameters.settings == before
    assert node.node.get_parameter(name).value == SPECIFICATIONS[name].default


def test_what_is_in_use_cannot_change(context: Context) -> None:
    node = Configurable(context)
    node.configured = True
    for name, spec in SPECIFICATIONS.items():
        if spec.change == CONFIGURED and isinstance(spec.default, str) and not spec.choices:
            assert "clean up the node" in node.set(name, "other")
    assert node.set("device", "auto") == "", "the same value is no change"
    node.configured = False
    assert node.set("device", "cpu") == ""
    assert node.parameters.settings.device == "cpu"


def test_yaws_are_given_once_or_per_camera(context: Context) -> None:
    settings = Configurable(context, cameras=["front", "rear"], camera_yaws_deg=[0.0, 180.0]).parameters.settings
    assert [settings.camera_yaw(0), settings.camera_yaw(1)] == [0, math.pi]
    assert Settings(cameras=("a", "b"), camera_yaws_deg=(90.0,)).camera_yaw(1) == math.pi / 2


@pytest.mark.parametrize(("name", "value"), [("max_rate", "fast"), ("top_k", -1), ("cameras", "one")])
def test_a_wrong_override_is_one_line(context: Context, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        Configurable(context, **{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["tensorrt", "tensorrt:1"])
def test_the_node_builds_no_engine(context: Context, device: str) -> None:
    with pytest.raises(UsageError, match="build one beforehand with `dsformer export --tensorrt`"):
        Configurable(context, device=device)
    assert ".engine file" in Configurable(context).set("device", device)


def test_without_a_callback_after_changes_as_on_humble_values_act_too(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("rclpy.node.Node.add_post_set_parameters_callback")
    node = Configurable(context)
    assert node.set("top_k", 5) == ""
    assert node.parameters.settings.top_k == 5

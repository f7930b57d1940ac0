"""A map that is replaced, deleted or damaged under the running node."""

import shutil
from collections.abc import Callable
from pathlib import Path

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from tests.dsformer_ros.faults.rig import NODE, Rig


def _without(name: str) -> Callable[[Path], None]:
    def delete(place_map: Path) -> None:
        (place_map / name).unlink()

    return delete


def _damaged(name: str) -> Callable[[Path], None]:
    def damage(place_map: Path) -> None:
        # As a copy does: beside, and renamed. What is mapped into the node's memory stays what it was.
        content = bytearray((place_map / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        other = place_map / f".{name}"
        other.write_bytes(content)
        other.replace(place_map / name)

    return damage


def _empty(name: str) -> Callable[[Path], None]:
    def empty(place_map: Path) -> None:
        other = place_map / f".{name}"
        other.touch()
        other.replace(place_map / name)

    return empty


def _nonsense(place_map: Path) -> None:
    (place_map / "map.yaml").write_text("{[")


ACCIDENTS: dict[str, Callable[[Path], None]] = {
    "no directory": shutil.rmtree,
    "no map.yaml": _without("map.yaml"),
    "no descriptors": _without("descriptors.npy"),
    "no references": _without("references.parquet"),
    "map.yaml is no YAML": _nonsense,
    "damaged descriptors": _damaged("descriptors.npy"),
    "damaged references": _damaged("references.parquet"),
    "empty descriptors": _empty("descriptors.npy"),
    "no thumbnails": lambda place_map: shutil.rmtree(place_map / "thumbnails"),
}


def ruin(rig: Rig, place_map: Path, rounds: int) -> dict[str, str]:
    """Spoils the map that the node runs with; the node goes on with what it has, and says in one line what is wrong.

    Args:
        rig: a node whose map is not `place_map`.
        place_map: a whole map, which is copied over what was spoilt.
        rounds: how often each accident happens.

    Returns:
        What `~/reload_map` said, by accident.
    """
    running = place_map.with_name("running.map")
    said: dict[str, str] = {}
    for _ in range(rounds):
        for name, accident in ACCIDENTS.items():
            shutil.rmtree(running, ignore_errors=True)
            shutil.copytree(place_map, running)
            assert _load(rig, running).success, rig.process.output
            assert rig.answers(3), f"before {name}\n{rig.process.output}"
            accident(running)
            assert rig.answers(4), f"after {name}\n{rig.process.output}"
            answer = rig.ears.call(Trigger, f"{NODE}/reload_map")
            said[name] = answer.message
            assert not answer.success and "\n" not in answer.message, name
            assert rig.answers(5), f"after reloading with {name}\n{rig.process.output}"
    assert _load(rig, place_map).success
    return said


def _load(rig: Rig, place_map: Path) -> Trigger.Response:
    request = SetParameters.Request(parameters=[Parameter("map", value=str(place_map)).to_parameter_msg()])
    (result,) = rig.ears.call(SetParameters, f"{NODE}/set_parameters", request).results
    assert result.successful, result.reason
    return rig.ears.call(Trigger, f"{NODE}/reload_map")

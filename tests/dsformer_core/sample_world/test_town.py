"""The town: reproducible, possible, varied, and driven through on its roads."""

import numpy as np
import pytest

from dsformer_core.sample_world import Town, make_town
from dsformer_core.sample_world.conditions import CONDITIONS
from dsformer_core.sample_world.facade_texture import paint_front
from dsformer_core.sample_world.route import LANE_M
from dsformer_core.sample_world.scene import Scene


def distances_to_streets(town: Town, points: np.ndarray) -> np.ndarray:
    """(P, S) metres from points to the middle lines of streets."""
    starts = np.array([street.start for street in town.network.streets])
    along = np.array([street.end for street in town.network.streets]) - starts
    relative = points[:, None] - starts
    share = np.clip((relative * along).sum(-1) / (along**2).sum(-1), 0, 1)
    return np.linalg.norm(relative - share[..., None] * along, axis=-1)


def test_equal_seeds_give_equal_towns_and_others_differ(town: Town) -> None:
    again, other = make_town(town.seed, town.size_m), make_town(town.seed + 1, town.size_m)
    assert [b.design for b in again.buildings] == [b.design for b in town.buildings]
    assert np.array_equal([b.corner for b in again.buildings], [b.corner for b in town.buildings])
    assert [f.key for f in again.fixtures] == [f.key for f in town.fixtures]
    assert again.drive(3) == town.drive(3)
    assert [b.design for b in other.buildings] != [b.design for b in town.buildings]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_stands_on_a_road_and_no_house_in_another(seed: int) -> None:
    town = make_town(seed, 150.0)
    corners = np.array([building.footprint for building in town.buildings])
    half_width = np.array([street.half_width for street in town.network.streets])
    assert (distances_to_streets(town, corners.reshape(-1, 2)) > half_width - 0.05).all()
    half_road = np.array([street.half_road for street in town.network.streets])
    assert (distances_to_streets(town, np.array([f.position for f in town.fixtures])) > half_road).all()
    for first in range(len(corners)):
        for second in range(first):
            axes = [corners[i][k] - corners[i][0] for i in (first, second) for k in (1, 3)]
            spans = [(corners[first] @ a, corners[second] @ a, np.linalg.norm(a)) for a in axes]
            assert any(max(p.min() - q.max(), q.min() - p.max()) / n > -0.1 for p, q, n in spans), (
                f"houses {second} and {first} overlap"
            )


def test_streets_take_many_directions() -> None:
    network = make_town(2).network
    angles = np.array([np.arctan2(*street.direction[::-1]) for street in network.streets]) % (np.pi / 2)
    assert len(np.unique((angles / np.radians(10)).astype(int))) >= 5
    lengths = np.array([street.length for street in network.streets])
    assert lengths.max() > 1.6 * lengths.min()
    assert {street.district for street in network.streets} == {0, 1, 2}


def test_facades_repeat_on_purpose_and_only_then() -> None:
    def repeated(town: Town) -> int:
        looks = [paint_key(building) for building in town.buildings]
        return len(looks) - len(set(looks))

    def paint_key(building: object) -> tuple:
        design = building.design  # type: ignore[attr-defined]
        return design.key, design.width, design.storeys

    assert repeated(make_town(4, 150.0, repeated_facades=0.5)) > 10
    assert repeated(make_town(4, 150.0, repeated_facades=0.0)) == 0


def test_repeated_facades_look_alike_to_the_pixel() -> None:
    town = make_town(4, 150.0, repeated_facades=0.6)
    by_key: dict[int, list] = {}
    for building in town.buildings:
        by_key.setdefault(building.design.key, []).append(building)
    twins = next(buildings for buildings in by_key.values() if len(buildings) > 1)
    first, second = (paint_front(building.design).albedo for building in twins[:2])
    assert np.array_equal(first, second)
    assert np.linalg.norm(twins[0].corner - twins[1].corner) > 5


def test_a_drive_keeps_to_its_lane_and_looks_where_it_goes(town: Town) -> None:
    poses = town.drive(1, spacing=2.0, wander=0.0, heading_jitter_deg=0.0)
    points = np.array([pose.utm - town.origin for pose in poses])
    nearest = distances_to_streets(town, points).min(axis=1)
    assert np.median(nearest) == pytest.approx(LANE_M, abs=0.05)
    assert nearest.max() < 4.0
    steps = np.roll(points, -1, axis=0) - points
    assert np.allclose(np.linalg.norm(steps, axis=1)[:-1], 2.0, atol=0.35)
    assert np.linalg.norm(steps[-1]) < 2.5, "the loop closes"
    turn = np.angle(np.exp(1j * (np.arctan2(steps[:, 1], steps[:, 0]) - [pose.yaw for pose in poses])))
    assert np.degrees(np.median(np.abs(turn))) < 1
    assert np.degrees(np.abs(turn)).max() < 60


def test_drives_keep_to_the_right_in_both_directions(town: Town) -> None:
    there, back = (town.drive(1, spacing=3.0, reverse=r, wander=0, heading_jitter_deg=0) for r in (False, True))
    points = np.array([pose.utm for pose in back])
    for pose in there[5:25:5]:
        gap = np.linalg.norm(points - pose.utm, axis=1)
        twin = back[int(gap.argmin())]
        if np.cos(twin.yaw - pose.yaw) < -0.99:
            to_twin = twin.utm - pose.utm
            left = np.array([-np.sin(pose.yaw), np.cos(pose.yaw)])
            assert to_twin @ left == pytest.approx(2 * LANE_M, abs=0.3)


def test_drive_options_do_what_they_say(town: Town) -> None:
    straight = {"wander": 0.0, "heading_jitter_deg": 0.0, "tilt_jitter_deg": 0.0}
    usual = town.drive(1, 5.0, **straight)
    aside = town.drive(1, 5.0, 0.5, **straight)
    right = np.array([np.sin(usual[3].yaw), -np.cos(usual[3].yaw)])
    offset = min(
        ((p.utm - usual[3].utm) for p in aside), key=lambda o: abs(o @ [right[1], -right[0]]) + abs(o @ right - 0.5)
    )
    assert offset @ right == pytest.approx(0.5, abs=0.15)
    assert town.drive(1, 5.0, count=4, **straight)[3].utm == pytest.approx(usual[3].utm)
    assert town.drive(1, 5.0, start=10.0, **straight)[0].utm == pytest.approx(usual[2].utm)
    assert len(town.drive(1, 5.0, count=len(usual) + 3, **straight)) == len(usual) + 3
    assert usual[1].timestamp - usual[0].timestamp == pytest.approx(5.0 / 8.0)
    assert [p.yaw for p in town.drive(1)] != [p.yaw for p in town.drive(2)]


def test_parked_cars_stay_for_a_drive_and_change_with_the_next(town: Town) -> None:
    first, again, other = (Scene(town, CONDITIONS["daylight"], seed).parked for seed in (1, 1, 2))
    assert first == again
    assert first != other

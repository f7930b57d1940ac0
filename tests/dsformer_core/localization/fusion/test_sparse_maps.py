"""Maps whose references lie further apart than positions are otherwise allowed to be uncertain."""

from typing import Any

import pytest

from dsformer_core.localization import State
from dsformer_core.localization.fusion import FusionConfig, Tracker


class Sparse:
    """A map as though its references lay further apart."""

    def __init__(self, place_map: Any, spacing: float) -> None:
        self._place_map, self.spacing = place_map, spacing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place_map, name)


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_a_map_of_any_spacing_comes_to_answers(robot: Any, factor: float) -> None:
    spacing = factor * FusionConfig().max_std
    sparse: Any = Sparse(robot.town.place_map, spacing)
    robot.tracker = Tracker(sparse)
    last = robot.drive(0, 50.0, 40.0)[-1]
    assert last.verdict.state is State.LOCALIZED, last.verdict.reason
    assert last.hypotheses[0].position_std >= spacing

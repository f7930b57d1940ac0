from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.training.data import ClassSampler, Draw

classes = st.integers(1, 40)
stream = {"seed": 3, "epoch": 2, "group": 1, "view": 0}


def take(count: int, class_count: int, **options: int) -> list[Draw]:
    return list(islice(ClassSampler(class_count, **{**stream, **options}), count))


@given(class_count=classes, seed=st.integers(0, 2**32), epoch=st.integers(0, 1000))
def test_every_round_has_every_class_once(class_count: int, seed: int, epoch: int) -> None:
    draws = take(3 * class_count, class_count, seed=seed, epoch=epoch)
    for start in range(0, len(draws), class_count):
        drawn = [draw.class_index for draw in draws[start : start + class_count]]
        assert sorted(drawn) == list(range(class_count))
    assert all(0 <= draw.random < 2**62 for draw in draws)


@given(class_count=classes, start=st.integers(0, 200))
def test_a_restart_goes_on_where_it_was(class_count: int, start: int) -> None:
    assert take(50, class_count, start=start) == take(start + 50, class_count)[start:]


@given(class_count=classes, start=st.integers(0, 100), world_size=st.integers(1, 9))
def test_processes_share_one_sequence(class_count: int, start: int, world_size: int) -> None:
    """None sees what another sees, and together they see what one alone would."""
    shares = [take(20, class_count, start=start, rank=rank, world_size=world_size) for rank in range(world_size)]
    together = [draw for draws in zip(*shares, strict=True) for draw in draws]
    assert together == take(20 * world_size, class_count, start=start)


def test_it_begins_anew_for_every_iterator() -> None:
    sampler = ClassSampler(5, **stream, start=7)
    assert list(islice(sampler, 9)) == list(islice(sampler, 9))


def test_orders_and_pictures_vary_with_everything() -> None:
    sequences = {tuple(take(20, 20))}
    for other in ({"seed": 4}, {"epoch": 3}, {"group": 2}, {"view": 1}):
        sequences.add(tuple(take(20, 20, **other)))
    # Not confused with each other either: (epoch 1, group 2) is not (epoch 2, group 1).
    sequences.add(tuple(take(20, 20, epoch=1, group=2)))
    assert len(sequences) == 6
    rounds = take(60, 20)
    assert len({tuple(draw.class_index for draw in rounds[start : start + 20]) for start in (0, 20, 40)}) == 3


def test_every_picture_of_a_class_has_its_turn() -> None:
    randoms = np.array([draw.random % 7 for draw in take(2000, 10)])
    counts = np.bincount(randoms, minlength=7)
    assert counts.min() > 0.75 * 2000 / 7


def test_without_a_class_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no class"):
        ClassSampler(0, **stream)

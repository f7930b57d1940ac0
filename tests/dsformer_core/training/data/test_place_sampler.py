from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.training.data import Draw, PlaceSampler

STREAM = {"seed": 3, "epoch": 2, "group": 1, "view": 0}


@st.composite
def samplers(draw: st.DrawFn) -> dict[str, object]:
    """Arguments with which there is at least one batch."""
    pictures, places_per_batch = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    counts = draw(st.lists(st.integers(1, 12), max_size=25))
    counts += [pictures] * max(0, places_per_batch - sum(count >= pictures for count in counts))
    cities = draw(st.lists(st.integers(0, 3), min_size=len(counts), max_size=len(counts)))
    return {
        "counts": np.array(counts),
        "cities": np.array(sorted(cities)),
        "pictures_per_place": pictures,
        "places_per_batch": places_per_batch,
    }


def take(count: int, arguments: dict[str, object], **options: int) -> list[Draw]:
    return list(islice(PlaceSampler(**{**STREAM, **arguments, **options}), count))  # type: ignore[arg-type]


def per_round(arguments: dict[str, object]) -> int:
    """Draws in a round, from what the sampler promises."""
    enough = int((np.asarray(arguments["counts"]) >= arguments["pictures_per_place"]).sum())
    return enough // arguments["places_per_batch"] * arguments["places_per_batch"] * arguments["pictures_per_place"]  # type: ignore[operator]


@given(arguments=samplers(), seed=st.integers(0, 2**32), epoch=st.integers(0, 1000))
def test_batches_are_whole_places_and_no_place_comes_twice_in_a_round(
    arguments: dict[str, object], seed: int, epoch: int
) -> None:
    counts, pictures = np.asarray(arguments["counts"]), int(arguments["pictures_per_place"])  # type: ignore[call-overload]
    length = per_round(arguments)
    draws = take(2 * length, arguments, seed=seed, epoch=epoch)
    for start in range(0, len(draws), pictures):
        of_place = draws[start : start + pictures]
        (place,) = {draw.class_index for draw in of_place}
        assert counts[place] >= pictures
        assert len({draw.random % int(counts[place]) for draw in of_place}) == pictures, "different pictures"
        assert all(0 <= draw.random < 2**62 for draw in of_place)
    for start in (0, length):
        places = [draw.class_index for draw in draws[start : start + length : pictures]]
        assert len(places) == len(set(places))


@given(arguments=samplers())
def test_a_round_misses_fewer_places_than_a_batch_has_and_goes_city_by_city(arguments: dict[str, object]) -> None:
    pictures = int(arguments["pictures_per_place"])  # type: ignore[call-overload]
    draws = take(per_round(arguments), arguments)
    places = [draw.class_index for draw in draws[::pictures]]
    missed = (np.asarray(arguments["counts"]) >= pictures).sum() - len(places)
    assert 0 <= missed < int(arguments["places_per_batch"])  # type: ignore[call-overload]
    cities = np.asarray(arguments["cities"])[places]
    assert len(np.flatnonzero(np.diff(cities))) == len(set(cities.tolist())) - 1


@given(arguments=samplers(), start=st.integers(0, 300))
def test_a_restart_goes_on_where_it_was(arguments: dict[str, object], start: int) -> None:
    assert take(50, arguments, start=start) == take(start + 50, arguments)[start:]


@given(arguments=samplers(), start=st.integers(0, 100), world_size=st.integers(1, 9))
def test_processes_share_one_sequence(arguments: dict[str, object], start: int, world_size: int) -> None:
    shares = [take(20, arguments, start=start, rank=rank, world_size=world_size) for rank in range(world_size)]
    together = [draw for draws in zip(*shares, strict=True) for draw in draws]
    assert together == take(20 * world_size, arguments, start=start)


def test_orders_and_pictures_vary_with_everything() -> None:
    arguments: dict[str, object] = {
        "counts": np.full(20, 9), "cities": np.arange(20) // 5, "pictures_per_place": 3, "places_per_batch": 4,
    }  # fmt: skip
    sequences = {tuple(take(60, arguments))}
    for other in ({"seed": 4}, {"epoch": 3}, {"group": 2}, {"view": 1}, {"epoch": 1, "group": 2}):
        sequences.add(tuple(take(60, arguments, **other)))
    assert len(sequences) == 6
    rounds = np.array([draw.class_index for draw in take(60 * 200, arguments)]).reshape(200, 20, 3)[:, :, 0]
    assert len({tuple(places) for places in rounds}) == 200
    assert set((rounds[:, 0] // 5).tolist()) == {0, 1, 2, 3}, "every city is the first at times"


def test_every_picture_and_every_place_has_its_turn() -> None:
    """Also where a batch does not divide the places: those that miss a round are others every time."""
    arguments: dict[str, object] = {
        "counts": np.full(11, 7), "cities": np.arange(11) // 4, "pictures_per_place": 4, "places_per_batch": 5,
    }  # fmt: skip
    draws = take(4 * 10 * 300, arguments)
    places = np.bincount([draw.class_index for draw in draws], minlength=11)
    pictures = np.bincount([draw.random % 7 for draw in draws], minlength=7)
    assert places.min() > 0.9 * len(draws) / 11 and pictures.min() > 0.9 * len(draws) / 7


def test_too_few_places_are_refused() -> None:
    with pytest.raises(ValueError, match="2 places do not fill a batch of 3"):
        PlaceSampler(
            np.array([4, 3, 9]), np.zeros(3, np.int64), pictures_per_place=4, places_per_batch=3, **STREAM
        )  # fmt: skip

"""Pictures of a map's references, as they were before thumbnails: some to take INT8 ranges from, others to ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Extractor
from dsformer_core.models import Preprocessing
from dsformer_core.network_input import decode_size
from dsformer_core.pictures import Picture, read_picture
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS, immediate_neighbourhoods
from dsformer_core.place_map.inspection.coverage import squares
from dsformer_core.place_map.places import SAME_SPOT
from dsformer_core.place_map.pseudo_queries import Played, play_queries
from dsformer_core.sources import open_source

CALIBRATION = 100
"""Pictures that ranges are taken from."""

HELD_OUT = 300
"""References that are asked."""

FEWEST = 100
"""References that must be asked for a loss of one in a hundred to show."""

_SEED = 1
_AT_ONCE = 4

Loader = Callable[[], Picture]


@dataclass(frozen=True, eq=False)
class Sample:
    """Some references of a map.

    Attributes:
        calibration: (C,) int64 rows that ranges are taken from.
        asked: (Q,) int64 rows that are asked, none of them in `calibration`.
        radii: (Q,) metres around each of `asked`, within which the map is not to answer.
    """

    calibration: npt.NDArray[np.int64]
    asked: npt.NDArray[np.int64]
    radii: npt.NDArray[np.float64]


def draw_sample(place_map: PlaceMap) -> Sample:
    """Draws references, no two of one square metre.

    Raises:
        DsformerError: the map is too small, or too few of those asked could still be found without what is around them.
    """
    random = np.random.default_rng(_SEED)
    shuffled = random.permutation(place_map.count)
    _, _, square = squares(place_map.utm[shuffled], SAME_SPOT, place_map.count)
    rows = shuffled[np.sort(np.unique(square, return_index=True)[1])]
    calibration = min(CALIBRATION, len(rows) // 3)
    asked = rows[calibration:][:HELD_OUT]
    if len(asked) < FEWEST:
        raise DsformerError(
            f"{place_map.directory}: of {place_map.count} references at {len(rows)} places, {len(asked)} could be "
            f"asked, and fewer than {FEWEST} cannot show a loss of one in a hundred: take a larger map"
        )
    sample = Sample(rows[:calibration], asked, immediate_neighbourhoods(place_map.spacing, len(asked), random))
    in_reach = int(_played(place_map, sample, None).place_in_reach.sum())
    if in_reach < FEWEST:
        raise DsformerError(
            f"{place_map.directory}: of {len(asked)} references that could be asked, {in_reach} have another of their "
            f"place beyond their immediate neighbours (the map has one every {place_map.spacing:.0f} m), and fewer "
            f"than {FEWEST} cannot show a loss of one in a hundred: take a denser or larger map"
        )
    return sample


def picture_loaders(
    place_map: PlaceMap, rows: npt.NDArray[np.int64], preprocessing: Preprocessing, images: Path | None
) -> list[Loader]:
    """What loads the original pictures of some references.

    Thumbnails do not stand in for them: too small, they have other ranges than what the robot's camera gives.

    Args:
        place_map: the map.
        rows: of the references.
        preprocessing: of the network that the pictures are for.
        images: where they are now, anything that a map is built of; None for where they were then.

    Raises:
        UsageError: there is nothing at `images`.
        DsformerError: some cannot be found; the message says how many.
    """
    loaders: list[Loader | None]
    at_least = decode_size(preprocessing)
    if images is None:
        paths = [Path(place_map.images[row]) for row in rows.tolist()]
        loaders = [partial(read_picture, path, at_least=at_least) if path.is_file() else None for path in paths]
    else:
        pictures, _ = open_source(images).scan()
        found = {picture.id: picture for picture in pictures} | {picture.image: picture for picture in pictures}
        chosen = [found.get(place_map.images[row]) or found.get(place_map.ids[row]) for row in rows.tolist()]
        loaders = [None if one is None else partial(one.load, at_least=at_least) for one in chosen]
    if missing := [row for row, loader in zip(rows.tolist(), loaders, strict=True) if loader is None]:
        where = "where they were when the map was built" if images is None else f"in {images}"
        raise DsformerError(
            f"{len(missing)} of {len(rows)} pictures are not {where}, such as {place_map.images[missing[0]]}: "
            "--images PATH says where the map's pictures are"
        )
    return [loader for loader in loaders if loader is not None]


def describe_all(
    extractor: Extractor, loaders: Sequence[Loader], on_progress: Callable[[int, int], None]
) -> npt.NDArray[np.float32]:
    """(N, D) descriptors of pictures.

    Raises:
        DsformerError: one cannot be read.
    """
    rows = []
    on_progress(0, len(loaders))
    for number, found in extractor.extract_pictures(loaders, batch_size=_AT_ONCE):
        if isinstance(found, DsformerError):
            raise found
        rows.append(found.descriptors)
        on_progress(number + 1, len(loaders))
    return np.concatenate(rows)


def recall(place_map: PlaceMap, sample: Sample, queries: npt.NDArray[np.float32]) -> tuple[float, int]:
    """Recall@1 of references that are asked without themselves and what is immediately around them.

    Args:
        place_map: its descriptors are searched as they are.
        sample: who is asked.
        queries: (Q, D) descriptors of those.

    Returns:
        Share of those still in reach whose best match is at their place; and how many those are.
    """
    played = _played(place_map, sample, queries)
    in_reach = played.place_in_reach
    return float((played.right[in_reach] == 0).mean()), int(in_reach.sum())


def _played(place_map: PlaceMap, sample: Sample, queries: npt.NDArray[np.float32] | None) -> Played:
    (played,) = play_queries(
        place_map.descriptors,
        place_map.utm,
        place_map.yaw,
        sample.asked,
        [sample.radii],
        RIGHT_PLACE_RADIUS,
        queries=queries,
    )
    return played


def require_images(images: Path | None) -> None:
    """Refuses a place of pictures that is not there.

    Raises:
        UsageError: names it.
    """
    if images is not None and not images.exists():
        raise UsageError(f"{images}: no such folder or file")

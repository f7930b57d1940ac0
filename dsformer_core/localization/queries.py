"""Picture files localized one after the other, and how far off they were where their own position is known."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import to_utm
from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.localization.hypotheses import Hypothesis, localize
from dsformer_core.localization.prior import Prior, look
from dsformer_core.localization.verdict import State, Verdict, judge
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS
from dsformer_core.sources.source import Skipped
from dsformer_core.sources.tags import read_tags

if TYPE_CHECKING:
    from dsformer_core.extractor import Extractor


@dataclass(frozen=True, eq=False)
class Answer:
    """What localizing one picture came to.

    Attributes:
        picture: its file.
        matches: of this one query.
        hypotheses: most probable first.
        verdict: on them.
        error: metres from the picture's own position to the best hypothesis; NaN where it has none, infinite
            where there is no hypothesis.
        reference_error: metres from the picture's own position to the most similar reference; NaN where it has none,
            infinite where no reference was looked at.
    """

    picture: Path
    matches: Matches
    hypotheses: list[Hypothesis]
    verdict: Verdict
    error: float
    reference_error: float


@dataclass(frozen=True)
class Score:
    """How well pictures with known positions were localized.

    Attributes:
        known: pictures with a position of their own.
        localized: those of them with an answer.
        false_fixes: answers more than 25 m off.
        median_error: metres, of the answers; NaN without any.
        recall: share of `known` whose most similar reference lies within 25 m (recall@1); NaN without any.
    """

    known: int
    localized: int
    false_fixes: int
    median_error: float
    recall: float


def localize_pictures(
    paths: Sequence[Path],
    extractor: "Extractor",
    place_map: PlaceMap,
    config: LocalizationConfig | None = None,
    *,
    camera_yaw: float = 0.0,
    prior: Prior | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[Path, Answer | DsformerError]]:
    """Localizes picture files.

    Args:
        paths: the files.
        extractor: of the map's model and weights.
        place_map: searched for each.
        config: the defaults when None.
        camera_yaw: yaw of the camera's optical axis in base_frame, radians.
        prior: where to look for all of them; None for the whole map.
        on_progress: called with the number of pictures finished since its last call.

    Yields:
        In the order of `paths`, each with its answer, or with what is wrong with the file.

    Raises:
        DsformerError: the network failed.
    """
    config = config or LocalizationConfig()
    looked = look(prior, place_map)
    with closing(extractor.extract_pictures(map(extractor.loader, paths))) as described:
        for index, found in described:
            path = paths[index]
            if isinstance(found, DsformerError):
                yield path, found
            else:
                matches = place_map.search(found, k=config.top_k, **looked.circle)[0]
                hypotheses = localize(matches, place_map, config, camera_yaw=camera_yaw)
                truth = _own_position(path, place_map)
                yield (
                    path,
                    Answer(
                        picture=path,
                        matches=matches,
                        hypotheses=hypotheses,
                        verdict=looked.told(judge(hypotheses, config)),
                        error=_apart(truth, hypotheses[0].utm if hypotheses else None),
                        reference_error=_apart(truth, place_map.utm[matches.indices[0, 0]] if hypotheses else None),
                    ),
                )
            on_progress(1)


def score(answers: Sequence[Answer]) -> Score:
    """Sums up answers against the pictures' own positions."""
    known = [answer for answer in answers if not np.isnan(answer.error)]
    errors = np.array([answer.error for answer in known if answer.verdict.state is State.LOCALIZED])
    found = [answer.reference_error <= RIGHT_PLACE_RADIUS for answer in known]
    return Score(
        known=len(known),
        localized=len(errors),
        false_fixes=int((errors > RIGHT_PLACE_RADIUS).sum()),
        median_error=float(np.median(errors)) if len(errors) else float("nan"),
        recall=float(np.mean(found)) if found else float("nan"),
    )


def _apart(truth: NDArray[np.float64], found: NDArray[np.float64] | None) -> float:
    """Metres, of nothing found infinitely many; NaN where the truth is not known."""
    if found is None:
        return float("inf") if np.isfinite(truth).all() else float("nan")
    return float(np.hypot(*(found - truth)))


def _own_position(path: Path, place_map: PlaceMap) -> NDArray[np.float64]:
    """(2,) UTM from the picture's name or EXIF, NaN where it carries no usable position."""
    tags = read_tags(path, place_map.zone)
    if isinstance(tags, Skipped):
        return np.full(2, np.nan)
    try:
        return np.asarray(to_utm(tags.latitude, tags.longitude, place_map.zone)).reshape(2)
    except UsageError:  # on another continent, where the map's zone has no coordinates
        return np.full(2, np.nan)

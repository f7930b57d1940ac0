"""Whether INT8 finds as many of a map's places as floating point does: held-out references are asked twice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.export.calibration_pictures import (
    Loader,
    Sample,
    describe_all,
    draw_sample,
    picture_loaders,
    recall,
    require_images,
)
from dsformer_core.export.onnx_file import OnProgress
from dsformer_core.extractor import Extractor
from dsformer_core.place_map import PlaceMap
from dsformer_core.runtimes import Exported

MOST_LOST = 0.01
"""Of recall@1 on held-out references."""

CLEAR_LOSS = 0.03
"""A true loss of recall@1 that ought to be noticed."""


def slips_through(references: int) -> float:
    """The chance that INT8 is accepted although each reference is lost with the probability `CLEAR_LOSS`.

    Args:
        references: how many are asked.
    """
    most = int(MOST_LOST * references)
    chances = (
        math.comb(references, lost) * CLEAR_LOSS**lost * (1 - CLEAR_LOSS) ** (references - lost)
        for lost in range(most + 1)
    )
    return sum(chances)


@dataclass(frozen=True)
class Verdict:
    """What came of asking.

    Attributes:
        recall: share of the references asked whose best match lay at their place.
        difference: largest difference of any number of a descriptor to floating point's.
        accepted: whether at most `MOST_LOST` of the references were lost.
    """

    recall: float
    difference: float
    accepted: bool


class Judge:
    """References of a map that floating point was asked.

    Attributes:
        recall: share of them whose best match lies at their place.
        references: how many.
    """

    def __init__(
        self, place_map: PlaceMap, sample: Sample, loaders: Sequence[Loader], expected: npt.NDArray[np.float32]
    ) -> None:
        """Asks in floating point.

        Args:
            place_map: its descriptors are searched as they are.
            sample: who is asked.
            loaders: what loads their pictures.
            expected: (Q, D) their descriptors in floating point.
        """
        self._place_map, self._sample, self._loaders, self._expected = place_map, sample, loaders, expected
        self.recall, self.references = recall(place_map, sample, expected)

    @classmethod
    def of_map(cls, place_map: PlaceMap, about: Exported, images: Path | None) -> "Judge":
        """One for whom the map's own descriptors stand for floating point, which made them.

        Args:
            place_map: the map that the INT8 file was made for.
            about: what the file says of itself.
            images: where the map's pictures are; None for where they were when it was built.

        Raises:
            UsageError: there is nothing at `images`.
            DsformerError: the file was made for another map, the map was described in INT8 itself or is too small, or
                its pictures are not at hand.
        """
        require_images(images)
        # Its pictures are other ones than those that ranges were taken from only where the map is the very same.
        for arithmetic in (Arithmetic(), about.arithmetic("onnx", about.difference)):
            place_map.check_model(about.model, about.weights_sha256, arithmetic)
        sample = draw_sample(place_map)
        loaders = picture_loaders(place_map, sample.asked, about.preprocessing, images)
        return cls(place_map, sample, loaders, np.asarray(place_map.descriptors[sample.asked], np.float32))

    def ask(self, extractor: Extractor, step: str, on_progress: OnProgress) -> Verdict:
        """Asks again.

        Args:
            extractor: what is judged.
            step: what to call this.
            on_progress: called with `step`, how many are described, and of how many.

        Raises:
            DsformerError: a picture cannot be read, or the network failed.
        """
        found = describe_all(extractor, self._loaders, partial(on_progress, step))
        after, _ = recall(self._place_map, self._sample, found)
        # Counted: of shares, the difference would be rounded.
        lost = round((self.recall - after) * self.references)
        return Verdict(after, float(np.abs(found - self._expected).max()), lost <= MOST_LOST * self.references)

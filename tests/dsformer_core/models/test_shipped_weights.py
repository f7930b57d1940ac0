"""What the shipped weights of dsformer_tiny are worth in a rendered town that their training did not see."""

from dataclasses import dataclass

import numpy as np

from dsformer_core.extractor import Extractor
from tests.unseen_town import LATER, RIGHT_M, WRONG_M, Drive


@dataclass(frozen=True)
class Score:
    """What decides whether a robot is found, over the pictures of one drive.

    Attributes:
        recall: share of pictures whose most similar daylight picture was taken within `RIGHT_M`.
        margin: mean distance of the best similarity within `RIGHT_M` from the best beyond `WRONG_M`, in standard
            deviations of the similarities beyond.
    """

    recall: float
    margin: float


def scores(extractor: Extractor, drives: dict[str, Drive]) -> dict[str, Score]:
    daylight = drives["daylight"]
    references = extractor.extract(daylight.pictures)

    def score(later: Drive) -> Score:
        similarities = extractor.extract(later.pictures) @ references.T
        metres = np.linalg.norm(later.utm[:, None] - daylight.utm, axis=-1)
        recall = np.take_along_axis(metres, similarities.argmax(axis=1)[:, None], axis=1) <= RIGHT_M
        right = np.where(metres <= RIGHT_M, similarities, -1.0).max(axis=1)
        wrong = np.ma.masked_where(metres <= WRONG_M, similarities)
        return Score(float(recall.mean()), float(((right - wrong.max(axis=1)) / wrong.std(axis=1)).mean()))

    return {condition: score(drives[condition]) for condition in LATER}


def test_they_beat_their_start_under_every_condition(unseen_town: dict[str, Drive]) -> None:
    start = scores(Extractor("dsformer_tiny", "imagenet", device="cpu"), unseen_town)
    shipped = scores(Extractor("dsformer_tiny", device="cpu"), unseen_town)
    assert all(shipped[condition].margin > start[condition].margin for condition in LATER), (start, shipped)
    assert np.mean([shipped[c].recall for c in LATER]) > np.mean([start[c].recall for c in LATER]), (start, shipped)
    assert shipped["traffic"].recall >= 0.9 and shipped["night"].recall >= 0.6, shipped

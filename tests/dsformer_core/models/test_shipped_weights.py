"""What the shipped weights of dsformer_tiny are worth in a rendered town that their training did not see."""

from dataclasses import dataclass

import numpy as np
import pytest

from dsformer_core.extractor import Extractor
from dsformer_core.sample_world import CONDITIONS, Camera, CameraPose, make_town, parse_condition, render

LATER = (*(name for name in CONDITIONS if name != "daylight"), "night+rain")
RIGHT_M, WRONG_M = 25.0, 50.0


@dataclass(frozen=True)
class Drive:
    """Pictures and where they were taken, (N, 2) UTM metres."""

    pictures: list[np.ndarray]
    utm: np.ndarray


@pytest.fixture(scope="module")
def unseen_town() -> dict[str, Drive]:
    """A daylight drive, and a later one under every other condition on another line along the road."""
    town, camera = make_town(520), Camera(160, 120)

    def seen(poses: list[CameraPose], condition: str, seed: int) -> Drive:
        pictures = [render(town, pose, parse_condition(condition), camera, seed) for pose in poses]
        return Drive(pictures, np.array([pose.utm for pose in poses]))

    drives = {"daylight": seen(town.drive(seed=0, spacing=6.0, count=40), "daylight", 0)}
    for seed, condition in enumerate(LATER, start=1):
        later = town.drive(seed=seed, spacing=24.0, count=10, lateral_offset=0.8, start=2.0)
        drives[condition] = seen(later, condition, seed)
    return drives


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

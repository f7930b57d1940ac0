"""What in a map a robot will stumble over, in words, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsformer_core.localization.survey import Survey
from dsformer_core.place_map.inspection.aliasing import LOOKS_ALIKE, apart

WIDEST_SPACING = 10.0
"""Metres between references from which on a map is called thin; 2 to 5 are recommended."""

# Shares from which on something is worth a word.
_MANY = 0.1
_SOME = 0.02
_MOST = 0.9
_FEW_ANSWERS = 0.5
# One picture at two places, or two pictures that only look so: float16 and a JPEG's noise leave no more.
_SAME_PICTURE = 0.98
_SHORT_DAY = 6


@dataclass(frozen=True)
class Advice:
    """Attributes: what was found, and what to do."""

    found: str
    do: str


def advise(survey: Survey) -> list[Advice]:
    """What stands out in a map; nothing where nothing does."""
    return [*_coverage(survey), *_pictures(survey), *_likes(survey), *_answers(survey)]


def _coverage(survey: Survey) -> Iterator[Advice]:
    place_map, cells = survey.place_map, survey.cells
    if survey.gaps:
        longest = survey.gaps[0]
        yield Advice(
            f"{_times(len(survey.gaps), 'gap')} of more than {survey.gap:.0f} m in what was driven, the longest "
            f"{longest.length:.0f} m, after {place_map.ids[longest.before]} ({survey.position(longest.before)}).",
            "Drive there again, or look for why pictures are missing: a tunnel without GPS, a camera that hung.",
        )
    if place_map.spacing > WIDEST_SPACING:
        yield Advice(
            f"References stand {place_map.spacing:.0f} m apart.",
            "Take pictures every 2 to 5 m: half way between two references a robot is hardest to recognize.",
        )
    known = np.isfinite(cells.directions)
    if known.any() and (share := cells.one_way.sum() / known.sum()) > _MANY:
        stretch = survey.one_way_stretches[0]
        row = int(np.flatnonzero(cells.of_reference == stretch[0])[0])
        yield Advice(
            f"{100 * share:.0f} % of the ground is known in one direction only; the longest stretch has "
            f"{len(stretch)} squares of {cells.size:g} m, one of them at {survey.position(row)}.",
            "A robot that comes the other way is not recognized there: drive back through it, or add a camera that "
            "looks back. One-way streets may stay.",
        )
    headings = int(np.isfinite(place_map.heading_deg).sum())
    if headings < _MOST * place_map.count:
        yield Advice(
            f"{place_map.count - headings:,} of {place_map.count:,} references have no heading.",
            "Answers there have no direction: give headings (EXIF's GPSImgDirection, a manifest's heading_deg).",
        )


def _pictures(survey: Survey) -> Iterator[Advice]:
    quality = survey.quality
    count = len(quality.rows)
    for which, words, advice in (
        (quality.blurred, "blurred", "shorten the exposure, clean the lens, or leave pictures of fast turns out"),
        (quality.too_dark, "too dark to show much", "map by daylight, or expose longer"),
        (quality.burnt_out, "burnt out", "let the exposure follow the street and not the sky"),
    ):
        if which.sum() > _SOME * count:
            yield Advice(
                f"{which.sum():,} of {count:,} pictures looked at are {words}, e.g. "
                f"{survey.place_map.ids[quality.rows[np.argmax(which)]]}.",
                f"{advice[0].upper()}{advice[1:]}.",
            )
    hours = survey.solar_hours
    if len(hours) > _MOST * survey.place_map.count:
        middle = np.angle(np.exp(2j * np.pi * hours / 24).mean()) * 24 / (2 * np.pi) % 24
        away = np.abs((hours - middle + 12) % 24 - 12)
        if away.max() <= _SHORT_DAY / 2 and len(np.unique(survey.months)) <= 2:
            yield Advice(
                f"All pictures were taken around {round(middle) % 24:02d}:00 by the sun and in one season.",
                "In another light and season less is recognized: add a drive at dusk, at night, in winter, as the "
                "robot will see it.",
            )


def _likes(survey: Survey) -> Iterator[Advice]:
    aliases, place_map = survey.aliases, survey.place_map
    same = [number for number in survey.pairs if aliases.similarities[number] >= _SAME_PICTURE]
    if same:
        rows = int(aliases.rows[same[0]]), int(aliases.partners[same[0]])
        here, there = (place_map.ids[row] for row in rows)
        yield Advice(
            f"{here} and {there} are all but the same picture, {apart(place_map, *rows)}.",
            "Check the position of both: a jump of the GPS, or one picture twice.",
        )
    beaten = int(aliases.beaten.sum())
    if beaten > _SOME * len(aliases.rows) or survey.alike_share > _SOME:
        yield Advice(
            f"Of {len(aliases.rows):,} references asked, {(aliases.scores >= LOOKS_ALIKE).sum():,} look very much like "
            f"another place, and {beaten:,} more like it than like their own a few metres on.",
            "There a robot will hear AMBIGUOUS, or be sent elsewhere: raise min_probability, fuse answers over time, "
            "or describe the pictures with a stronger model.",
        )


def _answers(survey: Survey) -> Iterator[Advice]:
    if not survey.place_map.calibrated:
        yield Advice(
            "The map is too small to say what similarities are worth: its probabilities are a guess.",
            "Map more ground: some hundred metres with references close to each other.",
        )
    held_out = survey.held_out
    asked = int(held_out.in_reach.sum())
    if not asked:
        yield Advice(
            "Without a reference and its neighbours nothing is left of its place: how exactly the map localizes is "
            "unknown.",
            "Take pictures closer to each other, or map the same streets twice.",
        )
        return
    answered = held_out.localized & held_out.in_reach
    if (wrong := int((answered & ~held_out.right).sum())) > _SOME * asked:
        yield Advice(
            f"{wrong} of {asked} held-out references were localized at a wrong place.",
            "Raise min_probability, or describe the pictures with a stronger model.",
        )
    if answered.sum() < _FEW_ANSWERS * asked:
        yield Advice(
            f"Only {answered.sum()} of {asked} held-out references were sure enough for an answer.",
            "Map the streets again in the other direction or on another day, or describe the pictures with a stronger "
            "model.",
        )


def _times(count: int, what: str) -> str:
    return f"One {what}" if count == 1 else f"{count:,} {what}s"

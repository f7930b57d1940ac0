"""What came out of a drive, against the truth: numbers and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from dsformer_core.cli import console
from dsformer_core.geodesy import grid_convergence, heading_to_yaw, to_utm, wrap_angle
from dsformer_core.place_map import PlaceMap
from dsformer_core.sources import GeotaggedPicture, open_source
from dsformer_ros.demo.recorder import Answer

# The field's usual bound on a right place.
RIGHT_WITHIN = 25.0


@dataclass(frozen=True)
class Result:
    """One answer beside the truth.

    Attributes:
        answer: as it came over the topics.
        truth: (x, y, yaw) in the map frame, m and rad.
        mapped: whether the map holds a reference within `RIGHT_WITHIN` of the truth at all.
        right_place: whether the best reference lies within `RIGHT_WITHIN` of the truth.
        error_m: distance of the published pose from the truth; NaN where the localizer stayed silent.
        error_deg: angle between them, likewise.
    """

    answer: Answer
    truth: tuple[float, float, float]
    mapped: bool
    right_place: bool
    error_m: float
    error_deg: float


@dataclass(frozen=True)
class Summary:
    """The numbers of one drive. Errors are of published poses; recall@1 is of all pictures of mapped places.

    Every picture was either localized, or the localizer abstained, or no answer came: dropped, or lost on the way.
    """

    pictures: int
    localized: int
    abstained: int
    unanswered: int
    wrong_fixes: int
    median_error_m: float
    median_error_deg: float
    recall_at_1: float
    latency_p50_ms: float
    latency_p95_ms: float


def compare(answers: Sequence[Answer], place_map: PlaceMap) -> list[Result]:
    """Every answer beside the truth that its picture carries."""
    truths: dict[Path, dict[str, GeotaggedPicture]] = {}
    rows = {reference: row for row, reference in enumerate(place_map.ids)}
    results = []
    for answer in answers:
        folder = answer.picture.parent
        if folder not in truths:
            truths[folder] = {picture.id: picture for picture in open_source(folder).scan()[0]}
        picture = truths[folder][answer.picture.name]
        utm = to_utm(picture.latitude, picture.longitude, place_map.zone).reshape(2)
        convergence = grid_convergence(picture.latitude, picture.longitude, place_map.zone)
        x, y = place_map.frame.to_local(utm)
        yaw = float(heading_to_yaw(picture.heading_deg, convergence))
        distances = np.linalg.norm(place_map.utm - utm, axis=1)
        error_m, error_deg = np.nan, np.nan
        if answer.pose is not None:
            error_m = float(np.hypot(answer.pose[0] - x, answer.pose[1] - y))
            error_deg = float(np.degrees(abs(wrap_angle(answer.pose[2] - yaw))))
        results.append(
            Result(
                answer=answer,
                truth=(float(x), float(y), yaw),
                mapped=bool(distances.min() <= RIGHT_WITHIN),
                right_place=bool(answer.references) and bool(distances[rows[answer.references[0]]] <= RIGHT_WITHIN),
                error_m=error_m,
                error_deg=error_deg,
            )
        )
    return results


def summarise(results: Sequence[Result]) -> Summary:
    """The numbers of one drive."""
    errors_m = np.array([result.error_m for result in results if result.answer.pose is not None])
    errors_deg = np.array([result.error_deg for result in results if np.isfinite(result.error_deg)])
    mapped = [result.right_place for result in results if result.mapped]
    latencies = np.array([result.answer.latency for result in results]) * 1e3
    latencies = latencies[np.isfinite(latencies)]
    unanswered = sum(not result.answer.came for result in results)
    return Summary(
        pictures=len(results),
        localized=len(errors_m),
        abstained=len(results) - len(errors_m) - unanswered,
        unanswered=unanswered,
        wrong_fixes=int((errors_m > RIGHT_WITHIN).sum()),
        median_error_m=float(np.median(errors_m)) if len(errors_m) else np.nan,
        median_error_deg=float(np.median(errors_deg)) if len(errors_deg) else np.nan,
        recall_at_1=float(np.mean(mapped)) if mapped else np.nan,
        latency_p50_ms=float(np.percentile(latencies, 50)) if len(latencies) else np.nan,
        latency_p95_ms=float(np.percentile(latencies, 95)) if len(latencies) else np.nan,
    )


# What the headings of `row_of` mean.
LEGEND = (
    "shown: pictures that the camera published; found: those with a pose",
    "silent: the localizer said that it does not know; lost: no answer came",
    f"> {RIGHT_WITHIN:.0f} m: poses further than that from the truth; median off: of the poses",
    f"R@1: the best reference lies within {RIGHT_WITHIN:.0f} m of the truth, where the map has any",
    "p50/p95: ms from the picture's stamp to the arrival of its hypotheses",
)


def row_of(name: str, summary: Summary) -> dict[str, str]:
    """One drive as a row of a table."""
    nothing = "–"
    return {
        "drive": name,
        "shown": str(summary.pictures),
        "found": str(summary.localized),
        "silent": str(summary.abstained),
        "lost": str(summary.unanswered),
        f"> {RIGHT_WITHIN:.0f} m": str(summary.wrong_fixes),
        "median off": f"{summary.median_error_m:.1f} m {summary.median_error_deg:.1f}°"
        if summary.localized
        else nothing,
        "R@1": nothing if np.isnan(summary.recall_at_1) else f"{summary.recall_at_1:.0%}",
        "p50/p95": nothing
        if np.isnan(summary.latency_p50_ms)
        else f"{summary.latency_p50_ms:.0f}/{summary.latency_p95_ms:.0f}",
    }


def print_table(summaries: Mapping[str, Summary], page: Path, *, as_json: bool) -> None:
    """The closing words of the demo."""
    if as_json:
        console.print_json(
            {"drives": {name: asdict(summary) for name, summary in summaries.items()}, "page": str(page)}
        )
        return
    rows = [row_of(name, summary) for name, summary in summaries.items()]
    table = Table(title="What the node published, against the truth", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in rows[0]:
        table.add_column(title, justify="left" if title == "drive" else "right")
    for row in rows:
        table.add_row(*row.values())
    console.print_table(table)
    console.answers.print("\n".join(LEGEND), highlight=False)
    console.answers.print(f"Look at {page}", markup=False, highlight=False)

"""A map's strengths and weak spots as one page to read, to show, and to print."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.charts import bars, dot_map, histogram, promises, rose, shades
from dsformer_core.localization.advice import advise
from dsformer_core.localization.report_page import REPORT_PAGE
from dsformer_core.localization.survey import Survey, survey
from dsformer_core.pages import data_uri, write_page
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS
from dsformer_core.place_map.inspection.aliasing import LOOKS_ALIKE, apart
from dsformer_core.place_map.inspection.coverage import ONE_DIRECTION

WORST_PICTURES = 6

# Seen on white and on black alike.
_DENSITY = ("#f2b84b", "#7cc58a", "#2fa39a", "#2f7fb8", "#5a5fc0")
_ALIKE = ("#cfc4a8", "#f5b556", "#ee8434", "#d7412a", "#a3122a")
_ONE, _TWO, _ROUND, _UNKNOWN = "#e0662b", "#3aa199", "#4a86c5", "#8a8a8a"
_ALL_ROUND = 0.9
# Metres that look well beside a scale.
_SCALES = [digit * 10**power for power in range(6) for digit in (1, 2, 5)]
_MAP_HEIGHT = 400
_MONTHS = "JFMAMJJASOND"


def write_report(
    place_map: PlaceMap,
    output: Path,
    *,
    seed: int = 0,
    aliases: int | None = None,
    on_progress: Callable[[str, int, int], None] = lambda words, done, total: None,
) -> Survey:
    """Surveys a map and writes what was found as one HTML file that needs no other file and no internet.

    Args:
        place_map: the map.
        output: the file to write.
        seed: of the references that are asked.
        aliases: how many references are asked which other place they look like (see `find_aliases`).
        on_progress: called with what is being counted, how many are finished, and how many there are.

    Returns:
        What was found.

    Raises:
        OSError: the file cannot be written.
    """
    found = survey(place_map, seed=seed, aliases=aliases, on_progress=on_progress)
    write_survey(found, output)
    return found


def write_survey(found: Survey, output: Path) -> None:
    """Writes the page of a survey.

    Raises:
        OSError: the file cannot be written.
    """
    values = found.numbers()
    sections = (_head, _advice, _maps, _localization, _coverage, _directions_and_times, _pictures, _likes, _foot)
    title = html.escape(f"Map report: {found.place_map.name}")
    write_page(output, REPORT_PAGE.format(title=title, body="".join(section(found, values) for section in sections)))


def _head(found: Survey, values: dict[str, Any]) -> str:
    place_map, coverage, answers = found.place_map, values["coverage"], values["localization"]
    width, height = values["map"]["extent_m"]
    built = html.escape(f"{place_map.model_name} ({place_map.weights}), index {place_map.index_kind}")
    tiles = [
        (f"{place_map.count:,}", "references"),
        (_metres(coverage["street_m"]), "of street, about"),
        (_extent(width, height), "extent"),
        (f"{place_map.spacing:.1f} m", "median spacing"),
        (_share(answers["answered_share"]), "of held-out references answered"),
        (_share(answers["wrong_share"]), f"answered more than {RIGHT_PLACE_RADIUS:.0f} m off"),
        (_number(answers["median_error_m"], " m"), "median error of answers"),
    ]
    boxes = "".join(f'<div class="tile"><b>{number}</b>{words}</div>' for number, words in tiles)
    return (
        f"<h1>{html.escape(place_map.name)}</h1>"
        f'<div class="muted">built {html.escape(place_map.created)} with {built}, UTM {place_map.zone}</div>'
        f'<div class="tiles">{boxes}</div>'
    )


def _advice(found: Survey, values: dict[str, Any]) -> str:
    lines = [
        f"<li>{html.escape(advice.found)}<div>{html.escape(advice.do)}</div></li>" for advice in advise(found)
    ] or ['<li class="good">Nothing stands out.</li>']
    return f'<section><h2>What stands out</h2><ul class="advice">{"".join(lines)}</ul></section>'


def _maps(found: Survey, values: dict[str, Any]) -> str:
    cells = found.cells
    here = cells.of_reference
    most = max(int(cells.count.max()), 2)
    within = np.stack([found.place_map.utm.min(axis=0), found.place_map.utm.max(axis=0)])
    density = shades(np.log(cells.count[here]) / np.log(most), _DENSITY)
    order = np.argsort(cells.count[here], kind="stable")
    figures = [
        _map(
            f"References per {cells.size:g} m square",
            found.place_map.utm[order],
            density[order],
            within,
            _ramp(_DENSITY, "1", f"{most:,}"),
        )
    ]
    directions = cells.directions[here]
    kind = np.where(np.isnan(directions), 3, np.digitize(directions, (ONE_DIRECTION, _ALL_ROUND)))
    names = ((_ONE, "one direction only"), (_TWO, "two"), (_ROUND, "all round"), (_UNKNOWN, "unknown"))
    colours = np.concatenate([shades(np.zeros(1), (colour, colour)) for colour, _ in names])
    legend = "".join(f'<span><i class="dot" style="background: {colour}"></i>{words}</span>' for colour, words in names)
    figures.append(
        _map(
            "Viewing directions known",
            found.place_map.utm,
            colours[kind],
            within,
            f'<div class="legend">{legend}</div>',
        )
    )
    aliases = found.aliases
    if np.isfinite(aliases.scores).any():
        order = np.argsort(aliases.scores, kind="stable")
        order = order[np.isfinite(aliases.scores[order])]
        worst = max(LOOKS_ALIKE + 1, float(np.ceil(aliases.scores[order[-1]])))
        figures.append(
            _map(
                "Looks like another place",
                found.place_map.utm[aliases.rows[order]],
                shades(aliases.scores[order] / worst, _ALIKE),
                within,
                _ramp(_ALIKE, "0: no more than usual", f"{worst:.0f}"),
            )
        )
    return f'<section><h2>Where</h2><div class="maps">{"".join(figures)}</div></section>'


def _map(
    title: str,
    utm: npt.NDArray[np.float64],
    colours: npt.NDArray[np.uint8],
    within: npt.NDArray[np.float64],
    legend: str,
) -> str:
    picture = dot_map(utm, colours, within)
    scale = max((metres for metres in _SCALES if metres <= picture.metres / 3), default=1)
    bar = f'<div class="scale" style="width: {100 * scale / picture.metres:.2f}%"></div>{_metres(scale)}'
    return (
        f'<figure><h3>{title}</h3><div class="map" style="max-width: {_MAP_HEIGHT * picture.aspect:.0f}px">'
        f'<img src="{data_uri(picture.png, "image/png")}" alt="{title}, north up"><figcaption>{bar}</figcaption></div>'
        f"<figcaption>{legend}</figcaption></figure>"
    )


def _ramp(colours: Sequence[str], low: str, high: str) -> str:
    return (
        f'<div class="ramp" style="background: linear-gradient(to right, {", ".join(colours)})"></div>'
        f'<div class="ends"><span>{low}</span><span>{high}</span></div>'
    )


def _localization(found: Survey, values: dict[str, Any]) -> str:
    answers = values["localization"]
    steps = [step for step in answers["reliability"] if step["count"]]
    rows = "".join(
        f"<tr><td>{step['from']:g} to {step['to']:g}</td><td>{step['count']}</td>"
        f"<td>{_share(step['promised'])}</td><td>{_share(step['kept'])}</td></tr>"
        for step in steps
    )
    chart = promises(
        [(step["promised"], step["kept"], step["count"]) for step in steps],
        "promised probability against the share that was right",
    )
    lost = answers["asked"] - answers["in_reach"]
    others = (
        f" {lost} more have nothing else of their place in the map; {answers['out_of_reach_answered']} of them were "
        "answered all the same."
        if lost
        else ""
    )
    reached, wrong = _share(answers["answered_share"]), _share(answers["wrong_share"])
    return (
        "<section><h2>What a robot may expect</h2>"
        f"<p>{answers['in_reach']} references were asked of the map without themselves and their immediate "
        f"neighbours: <b>{reached}</b> were answered, <b>{wrong}</b> at a place more than {RIGHT_PLACE_RADIUS:.0f} m "
        f"off. Half of the answers are within {_number(answers['median_error_m'], ' m')}, 95 % within "
        f"{_number(answers['p95_error_m'], ' m')}.{others}</p>"
        f'<div class="row"><figure>{chart}<figcaption>promised (across), kept (up)</figcaption></figure>'
        "<table><tr><th>probability</th><th>references</th><th>promised</th><th>right</th></tr>"
        f"{rows}</table></div>"
        '<p class="muted">They were taken in the light and the traffic of the map. On another day and in another '
        "season fewer are answered, with less probability; there, promises are nearer to what is kept.</p></section>"
    )


def _coverage(found: Survey, values: dict[str, Any]) -> str:
    coverage, cells = values["coverage"], found.cells
    highest = max(10.0, float(np.percentile(cells.count, 98)))
    step = max(1, int(np.ceil(highest / 24)))
    edges = np.arange(1, step * 24 + 2, step)
    chart = histogram(cells.count, edges, "squares by their number of references", every=4)
    rows = "".join(
        f"<tr><td>{html.escape(gap['after'])}</td><td>{gap['length_m']:.0f} m</td>"
        f"<td>{gap['latitude']:.5f}, {gap['longitude']:.5f}</td></tr>"
        for gap in coverage["longest_gaps"]
    )
    table = f"<table><tr><th>gap before</th><th>length</th><th>from</th></tr>{rows}</table>" if rows else ""
    words = f"No gap of more than {found.gap:.0f} m in what was driven." if not rows else ""
    return (
        "<section><h2>Coverage</h2>"
        f"<p>{_number(coverage['references_per_100_m'], '')} references per 100 m of street; "
        f"{coverage['cells']:,} squares of {cells.size:g} m. {words}</p>"
        f'<div class="row"><figure><h3>Squares by their references</h3>{chart}</figure>{table}</div></section>'
    )


def _directions_and_times(found: Survey, values: dict[str, Any]) -> str:
    headings, times = values["headings"], values["times"]
    figures = []
    if headings["known"]:
        chart = rose(found.rose, "references by heading")
        figures.append(f"<figure><h3>Headings</h3>{chart}<figcaption>{headings['known']:,} known</figcaption></figure>")
    if times["known"]:
        hours = [f"{hour}" if hour % 3 == 0 else "" for hour in range(24)]
        charts = (
            ("Hour of the day, by the sun", bars(times["by_solar_hour"], hours, "references by hour")),
            ("Month", bars(times["by_month"], list(_MONTHS), "references by month")),
        )
        figures += [f"<figure><h3>{words}</h3>{chart}</figure>" for words, chart in charts]
    span = f"<p>From {times['first']} to {times['last']}.</p>" if times["known"] else "<p>No times are known.</p>"
    unknown = "" if headings["known"] else "<p>No headings are known.</p>"
    return f'<section><h2>Directions and times</h2>{span}{unknown}<div class="row">{"".join(figures)}</div></section>'


def _pictures(found: Survey, values: dict[str, Any]) -> str:
    quality = found.quality
    if not len(quality.rows):
        words = "This map keeps no thumbnails: how good its pictures are is unknown."
        return f"<section><h2>Pictures</h2><p>{words}</p></section>"
    words = (
        f"Of {len(quality.rows):,} thumbnails looked at, {quality.blurred.sum():,} are blurred, "
        f"{quality.too_dark.sum():,} too dark, {quality.burnt_out.sum():,} burnt out."
    )
    edges = np.geomspace(10, max(3000.0, float(quality.sharpness.max()) * 1.01), 25)
    labels = [f"{edge:.0f}" if number % 6 == 0 else "" for number, edge in enumerate(edges[:-1])]
    counts, _ = np.histogram(np.maximum(quality.sharpness, edges[0]), edges)
    worst = [
        *((number, f"sharpness {quality.sharpness[number]:.0f}") for number in np.argsort(quality.sharpness)),
    ][:WORST_PICTURES]
    for which, values_of, what in (
        (quality.too_dark, quality.dark, "dark"),
        (quality.burnt_out, quality.clipped, "burnt out"),
    ):
        order = np.argsort(-values_of, kind="stable")[: WORST_PICTURES // 2]
        worst += [(number, f"{100 * values_of[number]:.0f} % {what}") for number in order if which[number]]
    figures = "".join(_thumbnail(found.place_map, int(quality.rows[number]), caption) for number, caption in worst)
    return (
        f"<section><h2>Pictures</h2><p>{words}</p>"
        f"<figure><h3>Sharpness</h3>{bars(counts, labels, 'pictures by sharpness')}"
        "<figcaption>variance of the Laplacian of thumbnails; sharp streets have 500 and more</figcaption></figure>"
        f'<h3 style="margin-top: 14px">The worst</h3><div class="pictures">{figures}</div></section>'
    )


def _thumbnail(place_map: PlaceMap, row: int, caption: str) -> str:
    words = f"{html.escape(place_map.ids[row])}<br>{caption}"
    return f"<figure>{_image(place_map, row)}<figcaption>{words}</figcaption></figure>"


def _image(place_map: PlaceMap, row: int) -> str:
    path = place_map.thumbnail_path(row)
    return f'<img src="{data_uri(path.read_bytes())}" alt="">' if path else ""


def _likes(found: Survey, values: dict[str, Any]) -> str:
    aliasing, place_map = values["aliasing"], found.place_map
    if not np.isfinite(found.aliases.scores).any():
        return ""
    chart = histogram(found.aliases.scores, np.linspace(-4, 6, 41), "references by score", every=4)
    pairs = []
    for number, pair in zip(found.pairs, aliasing["worst_pairs"], strict=True):
        rows = (int(found.aliases.rows[number]), int(found.aliases.partners[number]))
        names = " and ".join(html.escape(name) for name in pair["ids"])
        pairs.append(
            f'<figure class="pair">{"".join(_image(place_map, row) for row in rows)}<figcaption>{names}: score '
            f"{pair['score']:.1f}, {apart(place_map, *rows)}</figcaption></figure>"
        )
    return (
        "<section><h2>What looks alike</h2>"
        f"<p>{aliasing['asked']:,} references were asked which other place they look like. "
        f"{_share(aliasing['looks_alike_share'])} reach a score of {LOOKS_ALIKE:g}; "
        f"{aliasing['more_like_another_place_than_its_own']:,} look more like it than like their own place a few "
        "metres on.</p>"
        f"<figure><h3>Scores</h3>{chart}<figcaption>impostor spreads above the similarity of an ordinary wrong match"
        f'</figcaption></figure><div class="pairs">{"".join(pairs)}</div></section>'
    )


def _foot(found: Survey, values: dict[str, Any]) -> str:
    return (
        '<footer style="margin-top: 18px"><p>Streets are measured along what links spots no further apart than 25 m. '
        "Directions: a picture is recognized up to 60° from how a reference looks. Another place: more than 50 m away, "
        "or turned by more than 120°. Held-out references are a seeded sample; the same map gives the same numbers. "
        f"All numbers: dsformer map report {html.escape(found.place_map.directory.name)} --json</p></footer>"
    )


def _metres(length: float) -> str:
    if length < 10_000:
        return f"{length:,.0f} m"
    return f"{length / 1000:,.1f} km" if length < 100_000 else f"{length / 1000:,.0f} km"


def _extent(width: float, height: float) -> str:
    if max(width, height) < 1000:
        return f"{width:.0f} × {height:.0f} m"
    return f"{width / 1000:.1f} × {height / 1000:.1f} km"


def _share(share: float) -> str:
    if np.isnan(share):
        return "–"
    # What is not quite nothing or everything is to be seen as that.
    digits = 1 if 0 < share < 0.1 or 0.99 < share < 1 else 0
    return f"{100 * share:.{digits}f} %"


def _number(value: float, unit: str) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}{unit}"

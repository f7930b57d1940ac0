"""Every number against brute force, and intervals against what they promise."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dsformer_core.evaluation.abstention import abstention
from dsformer_core.evaluation.benchmark import APART
from dsformer_core.evaluation.evaluation import Evaluation
from dsformer_core.evaluation.recall import bootstrap_intervals, first_right, recalls_at
from dsformer_core.evaluation.report import write_report
from dsformer_core.evaluation.search_cost import Cost
from dsformer_core.evaluation.tables import duration, recall_table, remarks
from dsformer_core.models import list_models
from tests.dsformer_core.evaluation.conftest import made_up


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    references, queries = draw(st.integers(1, 60)), draw(st.integers(1, 30))
    span = draw(st.sampled_from([30.0, 200.0, 2000.0]))
    database, asked = random.uniform(0, span, (references, 2)), random.uniform(0, span, (queries, 2))
    retrieved = min(references, 100)
    rows = np.array([random.permutation(references)[:retrieved] for _ in range(queries)])
    rows[random.random(queries) < 0.1] = -1
    similarities = np.sort(random.random(rows.shape), axis=1)[:, ::-1].round(draw(st.sampled_from([1, 6])))
    return made_up(database, asked, rows, np.where(rows < 0, -np.inf, similarities))


@settings(max_examples=80, deadline=None)
@given(evaluations())
def test_recalls_are_those_of_brute_force(evaluation: Evaluation) -> None:
    benchmark = evaluation.benchmark
    queries, database = benchmark.queries.positions, benchmark.database.positions
    assert queries is not None and database is not None
    positives = [
        [row for row, place in enumerate(database) if np.hypot(*(place - query)) <= benchmark.radius]
        for query in queries
    ]
    for query, expected in enumerate(positives):
        assert benchmark.positives(query).tolist() == expected
    assert benchmark.answerable.tolist() == [bool(found) for found in positives]
    for count in evaluation.recalls:
        hits = [bool(set(positives[query]) & set(rows[:count])) for query, rows in enumerate(evaluation.rows)]
        assert evaluation.recalls_all[count].value == pytest.approx(np.mean(hits))
        answerable = [hit for hit, found in zip(hits, positives, strict=True) if found]
        recall = evaluation.recalls_answerable[count]
        assert (recall.hits, recall.queries) == (sum(answerable), len(answerable))
        if answerable:
            assert recall.value == pytest.approx(np.mean(answerable))
    assert evaluation.recalls == {count: recall.value for count, recall in evaluation.recalls_all.items()}
    for threshold, share in zip(evaluation.thresholds, evaluation.by_distance[1], strict=True):
        near = [
            row >= 0 and np.hypot(*(database[row] - query)) <= threshold
            for query, row in zip(queries, evaluation.rows[:, 0], strict=True)
        ]
        assert share == pytest.approx(np.mean(near))


@settings(max_examples=50, deadline=None)
@given(evaluations())
def test_explicit_references_say_the_same_as_the_distances_they_were_made_from(evaluation: Evaluation) -> None:
    benchmark = evaluation.benchmark
    explicit = [benchmark.positives(query) for query in range(len(benchmark.queries))]
    assert benchmark.queries.positions is not None and benchmark.database.positions is not None
    told = made_up(
        benchmark.database.positions,
        benchmark.queries.positions,
        evaluation.rows,
        evaluation.similarities,
        explicit=explicit,
    )
    assert told.recalls_all == evaluation.recalls_all
    for count, recall in evaluation.recalls_answerable.items():
        same = told.recalls_answerable[count]
        assert (same.hits, same.queries) == (recall.hits, recall.queries)
    assert told.to_dict()["error_of_best_match"]["median"] is None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([1, 3]))
def test_abstention_is_that_of_every_threshold_tried(seed: int, queries: int, digits: int) -> None:
    random = np.random.default_rng(seed)
    scores, right = random.random(queries).round(digits), random.random(queries) < 0.6
    scores[random.random(queries) < 0.1] = -np.inf
    curve = abstention(scores, right & np.isfinite(scores), "score")
    finite = sorted({score for score in scores if np.isfinite(score)}, reverse=True)
    assert curve.thresholds.tolist() == finite
    for place, threshold in enumerate(finite):
        answered = scores >= threshold
        assert curve.answered[place] == pytest.approx(answered.mean())
        assert curve.precision[place] == pytest.approx(right[answered].mean())
        assert curve.recall[place] == pytest.approx((right & answered).mean())
    recall, threshold = curve.recall_at_precision(0.8)
    reached = [curve.recall[place] for place in range(len(finite)) if curve.precision[place] >= 0.8]
    assert recall == (max(reached) if reached else 0)
    assert not reached or right[scores >= threshold].mean() >= 0.8


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_intervals_cover_the_truth_as_often_as_they_say(share: float) -> None:
    random = np.random.default_rng(0)
    queries, trials = 200, 400
    hits = random.binomial(queries, share, trials)
    intervals = np.array(bootstrap_intervals(hits.tolist(), queries))
    covered = ((intervals[:, 0] <= share) & (share <= intervals[:, 1])).mean()
    assert 0.91 <= covered <= 0.98


def test_intervals_are_those_of_resampling_the_queries() -> None:
    random = np.random.default_rng(1)
    places = np.where(random.random(300) < 0.8, 0, 100)
    recall = recalls_at(places, [1])[1]
    resampled = (places[random.integers(0, 300, (20_000, 300))] < 1).mean(axis=1)
    assert (recall.low, recall.high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.01)
    assert recalls_at(places, [1]) == recalls_at(places, [1]), "the same numbers for the same seed"


def test_all_hits_of_few_queries_do_not_claim_certainty() -> None:
    recall = recalls_at(np.zeros(10, np.int64), [1])[1]
    assert recall.value == recall.high == 1
    assert recall.low == pytest.approx(0.69, abs=0.01)  # Clopper and Pearson, 10 of 10
    none = recalls_at(np.full(10, 5), [1])[1]
    assert (none.low, none.value) == (0, 0) and none.high == pytest.approx(0.31, abs=0.01)


def test_without_queries_there_is_no_number() -> None:
    recall = recalls_at(np.zeros(0, np.int64), [1, 5])[5]
    assert np.isnan([recall.value, recall.low, recall.high]).all() and recall.queries == 0


def test_places_of_the_first_right_reference() -> None:
    right = np.array([[True, True], [False, True], [False, False]])
    assert first_right(right).tolist() == [0, 1, 2]
    assert first_right(np.zeros((2, 0), bool)).tolist() == [0, 0]


def test_a_reference_at_the_radius_is_right_and_the_next_is_not() -> None:
    evaluation = made_up([[0, 0], [0, 25.0], [0, 25.001]], [[0, 0]], np.array([[2, 1, 0]]))
    assert evaluation.right.tolist() == [[False, True, True]]


def test_errors_are_over_all_queries_and_another_city_is_at_no_distance() -> None:
    database, rows = [[0, 0, 0], [0, 0, APART]], np.array([[0, 1]] * 16 + [[1, 0]] * 3 + [[-1, -1]])
    evaluation = made_up(database, [[0, 5 + number, 0] for number in range(20)], rows)
    assert evaluation.distances[0].tolist() == [5, np.inf]
    assert evaluation.error_within(50) == 14 and evaluation.error_within(80) == 20
    errors = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))["error_of_best_match"]
    assert errors == {"median": 14, "p90": None, "p95": None, "without_a_distance": 4}
    said = "14.0 m in the median, infinite in the 90th percentile; infinite for 4 queries with no match"
    assert said in " ".join(remarks([evaluation]))


def test_every_model_has_its_name_on_one_line_of_80_columns() -> None:
    count = 200
    best = made_up(np.zeros((count, 2)), np.zeros((count, 2)), np.tile(np.arange(100), (count, 1)))
    large = replace(best, search="re-ranked", candidates=400, cost=Cost(49_152, 0.9991))
    evaluations = [replace(large, model=name, weights="a_run_of_my_own.safetensors") for name in list_models()]
    terminal = Console(file=StringIO(), width=80)
    terminal.print(recall_table(evaluations))
    lines = terminal.file.getvalue().splitlines()
    for number, name in enumerate(list_models(), 1):
        (place,) = (place for place, line in enumerate(lines) if f" {number} {name} " in line)
        assert lines[place].count("100.0") == 5 and "49,152 B" in lines[place]
        assert "re-ranked, 95 % from" in lines[place + 1] and "999 ms" in lines[place + 1]
    assert max(map(len, lines)) <= 80 and "…" not in " ".join(lines)
    said = remarks(evaluations[:2])
    assert f"1 {list_models()[0]}, re-ranked: weights a_run_of_my_own.safetensors (000000000000)" in said


def test_a_search_of_few_candidates_has_no_recall_beyond_them(tmp_path: Path) -> None:
    exact = made_up(np.zeros((9, 2)), np.zeros((2, 2)), np.tile(np.arange(9), (2, 1)))
    few = replace(exact, search="re-ranked", candidates=2, rows=exact.rows[:, :2])
    assert (list(exact.recalls), list(few.recalls)) == ([1, 5], [1])
    terminal = Console(file=StringIO(), width=80)
    terminal.print(recall_table([exact, few]))
    values = [line for line in terminal.file.getvalue().splitlines() if "model" in line and "100.0" in line]
    assert [line.count("100.0") for line in values] == [2, 1] and "–" in values[1]
    write_report([exact, few], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<td>re-ranked</td>") == 2 and page.count("<td>–</td>") == 2
    assert "model, re-ranked: right matches" in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0000051, "5.1 µs"),
        (0.00099949, "999 µs"),
        (0.0009996, "1 ms"),
        (0.0051, "5.1 ms"),
        (0.1149, "115 ms"),
        (2.5, "2.5 s"),
        (float("nan"), "–"),
    ],
)
def test_times_are_three_digits_and_a_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("headline", "said"), [("all", "the queries with a right reference: R@1 "), ("answerable", "all queries: R@1 ")]
)
def test_every_model_has_both_recalls_below_its_name(headline: str, said: str) -> None:
    database, queries = np.zeros((2, 2)), np.array([[0.0, 0.0], [0.0, 5e4]])
    found = made_up(database, queries, np.zeros((2, 1), int), headline=headline)
    lost = replace(found, rows=np.full((2, 1), -1), model="other")
    lines = remarks([found, lost])
    said_of = {name: f"{name}, float: weights weights (000000000000)" for name in ("1 model", "2 other")}
    first, second = (lines.index(said_of[name]) for name in said_of)
    assert lines[first + 1] == f"  over {said}{100 if headline == 'all' else 50:.1f}"
    assert lines[second + 1] == f"  over {said}0.0"
    assert sum("R@1 " in line and "over" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ([0.0, 3e5, 0.0], "the nearest reference is 300.0 km away"),
        ([0.0, 60.0, 0.0], "the nearest reference is 60.0 m away"),
        ([0.0, 0.0, APART], "all references lie in another city, or in a UTM zone that does not touch"),
    ],
)
@pytest.mark.parametrize("headline", ["all", "answerable"])
def test_queries_of_another_place_are_told_so(query: list[float], where: str, headline: str, tmp_path: Path) -> None:
    astray = made_up(np.zeros((2, 3)), np.array([query, query]), np.array([[0, 1]] * 2), headline=headline)
    terminal = Console(file=StringIO(), width=80)
    terminal.print(recall_table([astray]))
    write_report([astray], tmp_path / "report.html")
    words, page = "\n".join(remarks([astray])), (tmp_path / "report.html").read_text()
    assert f"no query has a right reference: {where}" in words and f"no query has a right reference: {where}" in page
    assert "nan" not in words + terminal.file.getvalue() + page


def test_json_has_numbers_or_nothing() -> None:
    nothing = made_up(np.zeros((2, 2)), np.array([[1e6, 0.0]]), np.full((1, 2), -1), np.full((1, 2), -np.inf))
    described = json.loads(json.dumps(nothing.to_dict(), allow_nan=False))
    assert described["recall"]["1"]["value"] == 0
    assert described["recall_over_answerable"]["1"]["value"] is None
    assert described["queries"]["without_a_right_reference"] == 1
    assert described["error_of_best_match"]["median"] is None

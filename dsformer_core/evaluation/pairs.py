"""Matches as a table that other programs read: which reference was retrieved for which query, and how far off it is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from dsformer_core.evaluation.evaluation import Evaluation

WRITTEN_MATCHES = 20


def write_pairs(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Writes one line per model, search, query and retrieved reference, the best first.

    Columns: model, weights_sha256, search, query, rank (from 1), reference, similarity, and where positions are known
    distance (in the benchmark's unit; inf between places that are kept apart) and right.

    Raises:
        OSError: the file cannot be written.
    """
    table = pa.concat_tables([_table(evaluation) for evaluation in evaluations])
    staged = path.with_name(f".{path.name}.part")
    try:
        csv.write_csv(table, staged)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def _table(evaluation: Evaluation) -> pa.Table:
    benchmark = evaluation.benchmark
    queries, places = np.nonzero(evaluation.rows[:, :WRITTEN_MATCHES] >= 0)
    references = evaluation.rows[queries, places]
    columns = {
        "model": pa.array([evaluation.model] * len(queries)),
        "weights_sha256": pa.array([evaluation.weights_sha256] * len(queries)),
        "search": pa.array([evaluation.search] * len(queries)),
        "query": pa.array([benchmark.queries.names[row] for row in queries]),
        "rank": pa.array(places + 1),
        "reference": pa.array([benchmark.database.names[row] for row in references]),
        "similarity": pa.array(evaluation.similarities[queries, places]),
    }
    if benchmark.labelled:
        columns["distance"] = pa.array(evaluation.distances[queries, places])
        columns["right"] = pa.array(evaluation.right[queries, places])
    return pa.table(columns)

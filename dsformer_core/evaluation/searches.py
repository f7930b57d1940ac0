"""The ways to search a database for many queries: by floats, by codes, by codes and then floats of what they found.

The first is exact and is what the other two are measured by. The last is how a binary place map answers.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from dsformer_core.described import CODE_BITS, Described
from dsformer_core.evaluation.matching import Found, best_matches, chunks
from dsformer_core.place_map.indexes.binary import BinaryIndex
from dsformer_core.place_map.indexes.codes import SignCodes, fitted_rows, nearest_codes, rerank
from dsformer_core.place_map.stored_rows import Stored

Search = Literal["float", "binary", "re-ranked"]

# Descriptors in memory while codes are made of them: a few times 32 MiB of 512 float32.
_ENCODED_ROWS = 16_384


def search_all(
    queries: Described, references: Described, k: int, candidates: int, *, stored: Stored | None = None
) -> dict[Search, Found]:
    """Searches in every way that there is: by floats, and where there are codes in the other two as well.

    Args:
        queries: rows whose descriptor is NaN, which stand for unreadable pictures, match nothing.
        references: rows whose descriptor is NaN are matched by nothing. Descriptors may be memory-mapped; codes are
            taken into memory, 64 bytes each.
        k: references per query, >= 1.
        candidates: how many that codes found are put in order by floats, >= 1; where they are fewer than `k`, so many
            are found.
        stored: what the descriptors of candidates are read from; None for the references' own, memory-mapped or not.
    """
    found: dict[Search, Found] = {"float": best_matches(queries.descriptors, references.descriptors, k)}
    if queries.codes is not None and references.codes is not None:
        nearest = best_by_codes(queries, references, max(k, min(candidates, len(references))))
        found["binary"] = _first(nearest, k)
        stored = references.descriptors if stored is None else stored
        found["re-ranked"] = best_of_candidates(queries, stored, _first(nearest, candidates), k)
    return found


def best_by_codes(queries: Described, references: Described, k: int) -> Found:
    """Finds for each query the k references with the fewest different bits.

    Returns:
        The matches; a similarity is the cosine of two codes of +1 and -1, 1 - 2 bits / 512. Equally similar references
        come by row.
    """
    assert queries.codes is not None and references.codes is not None
    known, readable = readable_rows(queries.descriptors), readable_rows(references.descriptors)
    found = _nothing(len(queries), k, unreadable=len(references) - len(readable))
    distances, places = nearest_codes(queries.codes[known], references.codes[readable], k)
    nearest = places.shape[1]
    found.rows[known, :nearest] = readable[places]
    found.similarities[known, :nearest] = 1 - 2 * distances / np.float32(CODE_BITS)
    return found


def best_of_candidates(queries: Described, references: Stored, candidates: Found, k: int) -> Found:
    """The k of each query's candidates, or all, with the largest cosine of descriptors; of equal ones by row."""
    best = _nothing(len(queries), min(k, candidates.rows.shape[1]), unreadable=candidates.unreadable)
    known = np.flatnonzero((candidates.rows >= 0).any(axis=1))
    if len(known):
        rows = candidates.rows[known][:, candidates.rows[known[0]] >= 0]  # every query has as many
        similarities = rerank(np.asarray(queries.descriptors[known], np.float32), references, rows)
        order = np.lexsort((rows, -similarities), axis=1)[:, :k]
        best.rows[known, : order.shape[1]] = np.take_along_axis(rows, order, 1)
        best.similarities[known, : order.shape[1]] = np.take_along_axis(similarities, order, 1)
    return best


def with_sign_codes(queries: Described, references: Described) -> tuple[Described, Described, SignCodes]:
    """Gives both sides the codes that a binary map of the references would make of their descriptors.

    Of those of references as it stores them, that is; of those of queries as they come.
    """
    readable = readable_rows(references.descriptors)
    sample = readable[fitted_rows(len(readable))]
    rows = [
        chunk[sample[(start <= sample) & (sample < start + len(chunk))] - start].astype(BinaryIndex.storage)
        for start, chunk in chunks(references.descriptors)
    ]
    width = references.descriptors.shape[1]
    signs = SignCodes.fit(np.concatenate(rows)) if len(sample) else SignCodes(np.zeros(CODE_BITS, np.float32), width)
    return signed(queries, signs), signed(references, signs, BinaryIndex.storage), signs


def signed(described: Described, signs: SignCodes, storage: str = "float32") -> Described:
    """Gives pictures the codes that are made of their descriptors, unreadable ones included.

    Args:
        described: the pictures.
        signs: makes codes.
        storage: what descriptors are rounded to before.
    """
    known = (chunk.astype(storage, copy=False) for _, chunk in chunks(described.descriptors, _ENCODED_ROWS))
    codes = [signs.encode(np.nan_to_num(chunk)) for chunk in known]
    return replace(described, codes=np.concatenate([np.zeros((0, CODE_BITS // 8), np.uint8), *codes]))


def readable_rows(descriptors: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """The rows of pictures that could be read."""
    rows = [start + np.flatnonzero(np.isfinite(chunk[:, 0])) for start, chunk in chunks(descriptors)]
    return np.concatenate([np.zeros(0, np.int64), *rows])


def _nothing(queries: int, k: int, *, unreadable: int) -> Found:
    return Found(np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32), unreadable)


def _first(found: Found, k: int) -> Found:
    return Found(found.rows[:, :k], found.similarities[:, :k], found.unreadable)

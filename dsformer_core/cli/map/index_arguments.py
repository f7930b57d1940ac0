"""The options of `dsformer map` that say how a map is searched. No other verb knows a kind by name."""

import argparse
import re
from typing import TYPE_CHECKING

from dsformer_core.cli.console import errors

if TYPE_CHECKING:
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.indexes.request import IndexRequest

# As in dsformer_core/place_map/indexes/index.py, which is slow to import.
INDEX_KINDS = ("auto", "flat", "flat_fp16", "binary", "ivf_pq", "hnsw")

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def add_index_arguments(
    parser: argparse.ArgumentParser, *, otherwise: str | None = None, required: bool = False
) -> None:
    """Adds `--index` and what goes with some kinds of it.

    Args:
        parser: gets the options.
        otherwise: which index there is where nobody says `--index`, in words; None for "auto".
        required: whether somebody must say it.
    """
    group = parser.add_argument_group("index", "how the map is searched; maps/README.md compares the kinds")
    group.add_argument(
        "--index",
        choices=INDEX_KINDS,
        required=required,
        default="auto" if otherwise is None else None,
        help="auto (by the number of references, --memory-limit and --recall), flat (exact; memory for each reference: "
        "4 bytes per number of the descriptor, 2048 for 512), flat_fp16 (similarities within 0.001; half of that), "
        "binary (64 bytes whatever the descriptor, then floats of the best from disk), ivf_pq (lists of codes, 72 "
        "bytes, or none; trained; then floats of the best from disk; for millions) or hnsw (a graph; 272 bytes more "
        "than flat_fp16; slow to make, for some 100,000)" + ("" if required else f" (default: {otherwise or 'auto'})"),
    )
    group.add_argument(
        "--candidates",
        type=int,
        metavar="N",
        help="of binary and ivf_pq, how many references that codes found are put in order by floats: more than there "
        "are views that look alike (default: 300)",
    )
    group.add_argument(
        "--memory-limit",
        type=amount_of_memory,
        metavar="SIZE",
        help="memory that the index may take beside the program, while it is made and while it is searched, e.g. 2GB; "
        "what does not fit stays on disk (ivf_pq) or is refused (default: none)",
    )
    group.add_argument(
        "--recall",
        type=float,
        default=0.99,
        metavar="SHARE",
        help="share of queries whose most similar reference must be found; 1 for an exact index (default: %(default)s)",
    )
    group.add_argument(
        "--factory", metavar="NAME", help="of ivf_pq and hnsw, FAISS's name of the index, e.g. OPQ64_256,IVF4096,PQ64"
    )
    group.add_argument(
        "--effort",
        type=int,
        metavar="N",
        help="lists (ivf_pq) or width of the search (hnsw) that a query goes through (default: what reaches --recall "
        "among the map's own references, altered)",
    )


def requested_index(arguments: argparse.Namespace) -> "IndexRequest":
    """The index that a command line asks for.

    Raises:
        UsageError: a number is out of range, or the kind cannot have what is asked of it.
    """
    from dsformer_core.place_map.indexes.index import check_request
    from dsformer_core.place_map.indexes.request import IndexRequest

    request = IndexRequest(
        kind=arguments.index,
        candidates=arguments.candidates,
        memory_limit=arguments.memory_limit,
        recall=arguments.recall,
        factory=arguments.factory,
        effort=arguments.effort,
    )
    check_request(request)
    return request


def say_why_that_index(place_map: "PlaceMap") -> None:
    """Says in one line which index a new map got for what was asked, and why."""
    from dsformer_core.place_map.indexes.index import choose_index

    has_codes = place_map.codes is not None
    _, why = choose_index(place_map.index_request, place_map.count, place_map.descriptor_dim, has_codes)
    errors.print(f"index: {why}", markup=False, highlight=False)


def codes_advice(request: "IndexRequest", model: str, *, makes_codes: bool) -> str:
    """Which released weights of a model make codes of their own, where an index wants some; nothing where none do."""
    from dsformer_core.models.registry import STANDARD, model_entry

    if request.kind != "binary" or makes_codes:
        return ""
    released = model_entry(model).weights
    hashing = [weights.name for weights in released if weights.options.get("variant", STANDARD) != STANDARD]
    if not hashing:
        return ""
    return f"codes: signs of descriptors; {model} has weights with a hash branch: --weights {' or '.join(hashing)}"


def amount_of_memory(text: str) -> int:
    """An amount of memory in words, such as 2GB, 500 MB or 1e9, in bytes."""
    found = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?)I?B?\s*", text.upper().replace("E", "e"))
    try:
        if found is None:
            raise ValueError(text)
        return int(float(found[1]) * _UNITS[found[2]])
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of memory: give e.g. 2GB or 500MB") from None

"""Which kind of index is chosen, what is refused, and that making one keeps to its memory limit."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.cli.map.index_arguments import amount_of_memory
from dsformer_core.errors import UsageError
from dsformer_core.place_map import IndexRequest
from dsformer_core.place_map.indexes.index import (
    MOST_CODES,
    MOST_COMPARED,
    check_request,
    choose_index,
    storage_of,
)
from tests.indexed_maps import COUNT, places, written


@pytest.mark.parametrize(
    ("request_", "count", "kind"),
    [
        (IndexRequest(), 1, "flat_fp16"),
        (IndexRequest(), MOST_COMPARED, "flat_fp16"),
        (IndexRequest(), MOST_COMPARED + 1, "binary"),
        (IndexRequest(), MOST_CODES, "binary"),
        (IndexRequest(), MOST_CODES + 1, "ivf_pq"),
        (IndexRequest(recall=1.0), 10 * MOST_CODES, "flat_fp16"),
        (IndexRequest(memory_limit=50_000_000), MOST_COMPARED, "binary"),
        (IndexRequest(memory_limit=5_000_000), MOST_COMPARED, "ivf_pq"),
        (IndexRequest("hnsw"), 10, "hnsw"),
        (IndexRequest("ivf_pq"), 10, "flat_fp16"),
        (IndexRequest("flat"), 10 * MOST_CODES, "flat"),
    ],
)
def test_the_choice(request_: IndexRequest, count: int, kind: str) -> None:
    index, why = choose_index(request_, count, 512, has_codes=False)
    assert index.kind == kind
    assert why.startswith(kind) and "\n" not in why
    assert storage_of(request_) == index.storage


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "hsnw"}, r"there is no index 'hsnw'; did you mean hnsw\?"),
        ({"kind": "flat", "candidates": 5}, r"'flat' .* has no candidates .*binary, ivf_pq"),
        ({"kind": "binary", "factory": "IVF4,PQ8"}, r"'binary' has no factory"),
        ({"kind": "flat_fp16", "effort": 3}, r"'flat_fp16' has no effort"),
        ({"factory": "IVF4,PQ8"}, r"say of which kind it is \(ivf_pq, hnsw\)"),
        ({"kind": "hnsw", "recall": 1.0}, r"may miss references"),
        ({"candidates": 0}, r"candidates = 0: there must be 1 or more"),
        ({"memory_limit": 0}, r"memory_limit = 0"),
        ({"effort": True}, r"effort = True"),
        ({"recall": 0.0}, r"recall = 0\.0"),
        ({"recall": float("nan")}, r"recall = nan"),
        ({"factory": " "}, r"factory is empty"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        check_request(IndexRequest(**fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (IndexRequest("ivf_pq", factory="HNSW32"), "is no inverted file"),
        (IndexRequest("ivf_pq", factory="IVF5000,PQ8"), "needs 5000 references to be trained, and there are 1200"),
        (IndexRequest("ivf_pq", factory="IVF4,PQ7"), "is no index of 64 numbers"),
        (IndexRequest("ivf_pq", factory="nonsense"), r"is no index of 64 numbers \(could not parse"),
        (IndexRequest("ivf_pq", factory="IVF4,PQ8x4fs"), "cannot be written out of core"),
        (IndexRequest("hnsw", factory="HNSW32"), "is no graph over float16"),
        (IndexRequest("hnsw", factory="IVF4,PQ8"), "is no graph over float16"),
        (IndexRequest("ivf_pq", memory_limit=60_000), "memory for 117 of them: 0.2MB are enough"),
    ],
)
def test_an_index_that_cannot_be_had_is_one_line(tmp_path: Path, request_: IndexRequest, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        written(tmp_path, places(COUNT), request_)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["flat", "flat_fp16", "binary", "hnsw"])
def test_what_does_not_fit_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match=rf"'{kind}' of 1,000,000 references needs .*[MG]B .* take 'ivf_pq'"):
        choose_index(IndexRequest(kind, memory_limit=30_000_000), 1_000_000, 512, has_codes=False)


@pytest.mark.parametrize(
    ("request_", "count", "said", "unsaid"),
    [
        (IndexRequest(memory_limit=2), 30, "an index of 30 references", "binary"),
        (IndexRequest("ivf_pq", memory_limit=2), 30, "an index of 30 references", "ivf_pq"),
        (IndexRequest("flat", memory_limit=2), 30, "an index 'flat' of 30 references", "ivf_pq"),
        (IndexRequest(memory_limit=5_000_000, recall=1.0), 100_000, "an exact index of 100,000 references", "ivf_pq"),
        (IndexRequest("hnsw", memory_limit=5_000_000), 100_000, "an index 'hnsw' of 100,000 references", "binary"),
    ],
)
def test_what_would_fit_is_said(request_: IndexRequest, count: int, said: str, unsaid: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_index(request_, count, 128, has_codes=False)
    words = str(caught.value)
    assert words.startswith(f"{said} needs ") and f"is {request_.memory_limit:,} bytes" in words
    assert unsaid not in words
    assert ("a recall below 1" in words) == (request_.recall == 1)
    # Who does as it says gets an index.
    found = re.search(r"raise it to (\S+?B)\b", words)
    assert found
    choose_index(replace(request_, memory_limit=amount_of_memory(found[1])), count, 128, has_codes=False)


def test_lists_that_do_not_fit_stay_on_disk(tmp_path: Path) -> None:
    index = written(
        tmp_path, places(5_000), IndexRequest("ivf_pq", factory="IVF32,PQ16", memory_limit=140_000, effort=4)
    )
    assert index.details()["lists"] == "disk"
    small = written(tmp_path, places(5_000), IndexRequest("ivf_pq", factory="IVF32,PQ16", effort=4))
    assert small.details()["lists"] == "memory"


_PEAK = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import faiss, torch  # which searching loads, whatever the map
from dsformer_core.place_map import IndexRequest
from dsformer_core.place_map.indexes.ivf_pq import IvfPqIndex

def held(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
stored = np.load(folder / "descriptors.npy", mmap_mode="r")
before = held("VmRSS")
fields = IvfPqIndex.write(folder, stored, None, IndexRequest("ivf_pq", 20, limit, factory="IVF64,PQ16", effort=4))
print(held("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell what memory a process had")
def test_making_lists_keeps_to_the_memory_limit(tmp_path: Path) -> None:
    """Widened, the descriptors alone are twice as many bytes as there may be."""
    count, limit = 100_000, 100 * 2**20
    descriptors = np.lib.format.open_memmap(tmp_path / "descriptors.npy", "w+", np.float16, (count, 512))
    for start in range(0, count, 20_000):
        descriptors[start : start + 20_000] = np.random.default_rng(start).standard_normal((20_000, 512), np.float32)
    descriptors.flush()
    done = subprocess.run([sys.executable, "-c", _PEAK, tmp_path, str(limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 20 < float(done.stdout) < limit / 2**20, "MiB more than before"


# Damage

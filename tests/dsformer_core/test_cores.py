"""Cores are counted in one place, on systems that tell which a process may use and on those that do not."""

import os
import re
from pathlib import Path

import pytest

from dsformer_core.cores import usable_cores

ROOT = Path(__file__).resolve().parents[2]


def test_where_the_system_tells_only_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5, 6}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores() == 3


@pytest.mark.parametrize(("counted", "cores"), [(10, 10), (None, 1)])
def test_elsewhere_all_and_at_least_one(monkeypatch: pytest.MonkeyPatch, counted: int | None, cores: int) -> None:
    """macOS has no `os.sched_getaffinity`; a system may not know its cores at all."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    assert usable_cores() == cores


def test_nobody_asks_the_system_past_it() -> None:
    packages = [path for name in ("dsformer_core", "dsformer_ros") for path in (ROOT / name).rglob("*.py")]
    asking = [path.name for path in packages if re.search(r"sched_getaffinity|cpu_count", path.read_text())]
    assert asking == ["cores.py"]

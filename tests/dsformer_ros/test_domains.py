import multiprocessing
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from dsformer_core.errors import DsformerError
from dsformer_ros.domains import private_domain


@pytest.fixture(autouse=True)
def own_reservations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_no_two_reservations_are_of_one_domain() -> None:
    with ExitStack() as stack:
        domains = [stack.enter_context(private_domain()) for _ in range(101)]
        assert sorted(domains) == list(range(1, 102))
        with pytest.raises(DsformerError, match="all ROS domains from 1 to 101 are in use"):
            stack.enter_context(private_domain())
    with private_domain() as domain:
        assert domain in domains, "what was given back is there again"


def test_another_process_holds_its_domain_until_it_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr("random.sample", lambda domains, _: list(domains))
    reserved = context.SimpleQueue()
    read, _write = context.Pipe(duplex=False)

    def hold() -> None:
        with private_domain() as domain:
            reserved.put(domain)
            read.recv()

    process = context.Process(target=hold)
    process.start()
    try:
        assert reserved.get() == 1
        with private_domain() as mine:
            assert mine == 2
    finally:
        process.kill()
        process.join()
    with private_domain() as mine:
        assert mine == 1

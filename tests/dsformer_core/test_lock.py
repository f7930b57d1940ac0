"""One process at a time, and never nobody because of one that died."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from dsformer_core.errors import DsformerError
from dsformer_core.lock import LOCK_FILE, working_alone

# Holds the folder, and has a child that outlives it, as one that loads pictures may.
HOLDER = """
import os, sys, time
from pathlib import Path
from typing import IO
from dsformer_core.lock import LOCK_FILE, working_alone
with working_alone(Path(sys.argv[1]), "baking"):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_until_the_first_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(DsformerError, match="another run is baking") as caught:
                working_alone(tmp_path, "baking").__enter__()
            assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            with working_alone(tmp_path, "baking"):
                pass
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)


def test_a_folder_is_free_again_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), working_alone(tmp_path, "dividing"):
        raise ZeroDivisionError
    result = subprocess.run([sys.executable, "-c", HOLDER.replace("60", "0"), tmp_path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_nor_does_one_process_work_there_twice(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with working_alone(tmp_path, "baking"):
        for folder in (tmp_path, tmp_path / "link"):
            with pytest.raises(DsformerError, match="another run is baking"):
                working_alone(folder, "baking").__enter__()
        result = subprocess.run([sys.executable, "-c", HOLDER, tmp_path], capture_output=True, text=True)
        assert "another run is baking" in result.stderr


def test_a_folder_that_cannot_be_written_is_the_caller_s_to_explain(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), working_alone(tmp_path / "missing", "looking"):
        pytest.fail("nothing there to work in")


def test_a_lock_on_a_file_that_was_taken_away_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who had the folder before removes it between the opening of the file and the lock."""
    lock = fcntl.lockf

    def after_removal(file: IO[str], operation: int) -> None:
        (tmp_path / LOCK_FILE).unlink()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "lockf", after_removal)
    with pytest.raises(DsformerError, match="another run is baking"):
        working_alone(tmp_path, "baking").__enter__()

"""Trainings that are killed, interrupted or run out of disk."""

import os
import resource
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.training.recipe import load_recipe
from dsformer_core.training.resume_state import read_state, write_state
from dsformer_core.training.run_directory import RunDirectory
from dsformer_core.training.start import start, with_precision
from dsformer_core.training.trainer import Trainer
from tests.dsformer_core.training.places import write_places
from tests.warm_python import WarmCode


def train(recipe: Path, places: Path, run: Path, *overrides: str, resume: bool = False) -> None:
    trainer = start(load_recipe(recipe, overrides), places, run, device="cpu", resume=resume)
    assert trainer.fit()
    close(trainer)


def close(trainer: Trainer) -> None:
    assert trainer.run is not None
    trainer.run.close()


def training_process(recipe: Path, places: Path, run: Path, *arguments: str) -> WarmCode:
    """`dsformer train` in a process group of its own, slow enough to be interrupted."""
    script = textwrap.dedent("""
        import sys, time
        from dsformer_core.cli.main import main
        from dsformer_core.training.trainer import Trainer
        step = Trainer.step
        def slow_step(*arguments):
            time.sleep(0.2)
            return step(*arguments)
        Trainer.step = slow_step
    """)
    script += f"sys.exit(main({['train', str(recipe), '--data', str(places), '--output', str(run), *arguments]!r}))"
    return WarmCode(script)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of this process may become larger: writes fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def wait_for(condition: Callable[[], bool], process: WarmCode) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def iteration_of(run: Path) -> int:
    state = run / "resume.pt"
    return int(read_state(state)["iteration"]) if state.is_file() else -1


def same_tensors(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_tensors(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_tensors, one, other))
    return one == other


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, places: Path, small_recipe: str) -> Path:
    """The run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "recipe.yaml").write_text(small_recipe)
    train(folder / "recipe.yaml", places, folder / "run")
    return folder / "run"


def assert_same_end(run: Path, uninterrupted: Path) -> None:
    """Model, optimisers, classifiers, counts: all of the state, bit for bit; and the same rows of the log."""
    assert same_tensors(read_state(run / "resume.pt"), read_state(uninterrupted / "resume.pt"))
    assert (run / "last.safetensors").read_bytes() == (uninterrupted / "last.safetensors").read_bytes()
    logs = [(path / "log.csv").read_text().splitlines() for path in (run, uninterrupted)]
    assert [line.split(",")[:4] for line in logs[0]] == [line.split(",")[:4] for line in logs[1]]


def test_killed_and_resumed_ends_like_undisturbed(
    recipe_file: Path, places: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    """SIGKILL in the middle of the second epoch, which is on another group."""
    run = tmp_path / "run"
    process = training_process(recipe_file, places, run)
    wait_for(lambda: iteration_of(run) >= 6, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert iteration_of(run) < 8
    train(recipe_file, places, run, resume=True)
    assert_same_end(run, uninterrupted)


def test_sigterm_saves_and_says_how_to_go_on(
    recipe_file: Path, places: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    """torchrun and job schedulers signal the processes that load, too; they go on until the training ends them."""
    run = tmp_path / "run"
    process = training_process(recipe_file, places, run, "--set", "data.workers=1", "--device", "cpu")
    wait_for(lambda: (run / "log.csv").is_file(), process)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert f"interrupted after iteration {iteration_of(run)} of 8" in last
    assert last.endswith(
        f"go on with: dsformer train {recipe_file} --data {places} --output {run} --set data.workers=1 "
        "--device cpu --resume"
    )
    train(recipe_file, places, run, resume=True)
    assert_same_end(run, uninterrupted)


def test_ctrl_c_saves_at_any_iteration(recipe_file: Path, places: Path, tmp_path: Path, uninterrupted: Path) -> None:
    trainer = start(load_recipe(recipe_file), places, tmp_path / "run", device="cpu")
    before = signal.getsignal(signal.SIGINT)
    finished = trainer.fit(lambda done, total: os.kill(os.getpid(), signal.SIGINT) if done == 3 else None)
    assert not finished and iteration_of(tmp_path / "run") == 3
    assert signal.getsignal(signal.SIGINT) == before
    close(trainer)
    train(recipe_file, places, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", uninterrupted)


def test_resumed_overfitting_keeps_its_pictures(recipe_file: Path, places: Path, tmp_path: Path) -> None:
    overrides = ["schedule.overfit=2", "schedule.batch_size=2", "schedule.epochs=1", "schedule.iterations_per_epoch=3"]
    train(recipe_file, places, tmp_path / "undisturbed", *overrides)
    trainer = start(load_recipe(recipe_file, overrides), places, tmp_path / "run", device="cpu")
    assert not trainer.fit(lambda done, total: os.kill(os.getpid(), signal.SIGINT) if done == 1 else None)
    close(trainer)
    train(recipe_file, places, tmp_path / "run", *overrides, resume=True)
    assert_same_end(tmp_path / "run", tmp_path / "undisturbed")


def test_a_full_disk_leaves_the_state_before(
    recipe_file: Path, places: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    """Full at the size that the state comes to have once the optimisers have moments."""
    run = tmp_path / "run"
    trainer = start(load_recipe(recipe_file), places, run, device="cpu")
    size = (uninterrupted / "resume.pt").stat().st_size - 100_000
    with disk_of(size), pytest.raises(DsformerError, match="the previous state is whole") as caught:
        trainer.fit()
    assert "\n" not in str(caught.value)
    assert 0 <= iteration_of(run) < 8 and not list(run.glob("*.part"))
    close(trainer)
    train(recipe_file, places, run, resume=True)
    assert_same_end(run, uninterrupted)


def test_a_disk_too_small_for_the_state_shows_itself_before_the_first_iteration(
    recipe_file: Path, places: Path, tmp_path: Path
) -> None:
    with disk_of(1_000_000), pytest.raises(DsformerError, match=r"resume.pt: could not be written"):
        start(load_recipe(recipe_file), places, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ("iteration,loss\n1,0.5\n2,0.5\n3,0.5\n4", "iteration,loss\n1,0.5\n2,0.5\n"),
        ("iteration,loss\r\n1,0.5\r\n2,0.", "iteration,loss\n1,0.5\n"),
        ("iteration,lo", None),
        ("", None),
        ("\0\0\0", None),
    ],
)
def test_what_a_kill_left_half_written_is_forgotten(tmp_path: Path, left: str, kept: str | None) -> None:
    run, table = RunDirectory(tmp_path), tmp_path / "log.csv"
    table.write_text(left, newline="")
    run.open_logs(trained=2, validated=0)
    assert (table.read_text() if table.is_file() else None) == kept
    run.log("log", {"iteration": 3, "loss": 0.25})
    run.close()
    assert table.read_text() == (kept or "iteration,loss\n") + "3,0.25\n"


def test_killed_between_validation_and_state_an_epoch_is_validated_once(
    recipe_file: Path, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(resume: bool) -> Trainer:
        trainer = start(load_recipe(recipe_file), places, tmp_path / "run", device="cpu", resume=resume)
        trainer.validate = lambda model: {"recall@1": 0.5}
        return trainer

    killed = begin(resume=False)
    save = killed.save_state
    monkeypatch.setattr(killed, "save_state", lambda: save() if killed.closed_epochs == 0 else sys.exit(9))
    with pytest.raises(SystemExit):
        killed.fit()
    close(killed)
    assert (tmp_path / "run/validation.csv").read_text().splitlines()[1:] == ["4,1,0.5"]
    resumed = begin(resume=True)
    assert resumed.fit()
    close(resumed)
    assert (tmp_path / "run/validation.csv").read_text().splitlines()[1:] == ["4,1,0.5", "8,2,0.5"]


def test_two_trainings_never_run_in_one_directory(recipe_file: Path, places: Path, tmp_path: Path) -> None:
    shorter = "schedule.iterations_per_epoch=1"
    first = start(load_recipe(recipe_file, [shorter]), places, tmp_path / "run", device="cpu")
    before = (tmp_path / "run/resume.pt").read_bytes()
    with pytest.raises(DsformerError, match="run: another run is training in it"):
        train(recipe_file, places, tmp_path / "run", shorter, resume=True)
    assert (tmp_path / "run/resume.pt").read_bytes() == before
    close(first)
    train(recipe_file, places, tmp_path / "run", shorter, resume=True)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize("content", ["nothing", "cut", "code", "other"])
def test_what_is_no_state_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "resume.pt"
    write_state(path, {"iteration": 1, "weights": torch.zeros(1000)})
    if content == "nothing":
        path.unlink()
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif content == "code":
        torch.save(Malicious(), path)
    else:
        torch.save({"format": 99}, path)
    with pytest.raises(DsformerError, match=r"resume.pt: ") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


def test_only_the_same_training_can_be_resumed(
    recipe_file: Path, places: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    def resume(*overrides: str) -> None:
        close(start(load_recipe(recipe_file, overrides), places, uninterrupted, device="cpu", resume=True))

    with pytest.raises(UsageError, match=r"begun with loss.margin=0.4, schedule.seed=0; .*recipe.yaml"):
        resume("schedule.seed=7", "loss.margin=0.3")
    with pytest.raises(UsageError, match="holds no training to resume"):
        start(load_recipe(recipe_file), places, tmp_path / "nowhere", device="cpu", resume=True)


def test_a_training_does_not_go_on_in_another_precision(recipe_file: Path, places: Path, tmp_path: Path) -> None:
    """As it would where it began on a CPU and is resumed on a GPU: what "auto" means is decided once."""
    auto = ["schedule.precision=auto", "schedule.iterations_per_epoch=1", "schedule.epochs=1"]
    train(recipe_file, places, tmp_path / "run", *auto)
    assert load_recipe(tmp_path / "run/recipe.yaml").schedule.precision == "float32"
    on_gpu = with_precision(load_recipe(recipe_file, auto), "cuda")
    with pytest.raises(UsageError, match=r'begun with schedule\.precision="float32"; resume with') as caught:
        start(on_gpu, places, tmp_path / "run", device="cpu", resume=True)
    assert "\n" not in str(caught.value)
    train(recipe_file, places, tmp_path / "run", *auto, resume=True)


def test_more_epochs_are_no_other_training_and_its_recipe_says_so(
    recipe_file: Path, places: Path, tmp_path: Path
) -> None:
    overrides = ["schedule.iterations_per_epoch=1", "schedule.epochs=1"]
    train(recipe_file, places, tmp_path / "run", *overrides)
    longer = [*overrides, "schedule.epochs=2", "data.workers=1"]
    train(recipe_file, places, tmp_path / "run", *longer, resume=True)
    assert load_recipe(tmp_path / "run/recipe.yaml") == load_recipe(recipe_file, longer)


def test_only_on_the_same_data_wherever_they_lie(
    recipe_file: Path, places: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    def resume(data: Path) -> None:
        close(start(load_recipe(recipe_file), data, uninterrupted, device="cpu", resume=True))

    with pytest.raises(DsformerError, match=r"resume.pt: was trained on other data than .*others/partition") as caught:
        resume(write_places(tmp_path / "others", first_place=50))
    assert "\n" not in str(caught.value)
    with pytest.raises(DsformerError, match="was trained on other data"):
        resume(write_places(tmp_path / "fewer", classes=3))
    shutil.copytree(places.parent, tmp_path / "moved")
    description = (places / "partition.yaml").read_text().replace(str(places.parent), str(tmp_path / "moved"))
    (tmp_path / "moved/partition/partition.yaml").write_text(description)
    resume(tmp_path / "moved/partition")

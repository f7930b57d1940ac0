"""What a few minutes of training on rendered towns are worth in a town that the training never saw.

Examples:
  python benchmarks/learning.py                                  about twenty minutes on two cores, most of it rendering
  python benchmarks/learning.py --iterations 240 --folder /tmp/learning --json learning.json

Runs the commands that a person would: `dsformer render --survey`, `cluster build`, `train`, then `evaluate` before and
after, under every condition of the renderer. What lies in --folder already is not rendered again. Ends with status 1
where the trained model is not better under every condition.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dsformer_core.sample_world import CONDITIONS

RECIPE = Path(__file__).resolve().parents[1] / "training/recipes/dsformer_tiny.yaml"
LATER = (*(name for name in CONDITIONS if name != "daylight"), "night+rain")
SURVEY = "--survey 12 --town 530 --towns 2 --spacing 6 --count 110"
CLASSES = "--kind pictures --radius 10 --min-distance 20 --min-images 8"
UNSEEN = "--town 520 --width 320 --height 240"

console = Console()


def dsformer(*words: object) -> str:
    command = [Path(sys.executable).with_name("dsformer"), *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def render_what_is_missing(folder: Path) -> None:
    dsformer("render", *SURVEY.split(), "--output", folder / "towns")  # goes on where it was
    drives = {"daylight": "--spacing 5 --count 150"}
    drives |= {name: f"--spacing 15 --count 48 --start 2 --seed {seed}" for seed, name in enumerate(LATER, start=1)}
    for name, drive in drives.items():
        if not (folder / name).is_dir():
            part = folder / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            dsformer("render", *UNSEEN.split(), *drive.split(), "--condition", name, "--output", part)
            part.rename(folder / name)


def train(folder: Path, iterations: int) -> float:
    """Seconds that the training took."""
    for name in ("classes", "run"):
        shutil.rmtree(folder / name, ignore_errors=True)
    dsformer("cluster", "build", "--images", folder / "towns", *CLASSES.split(), "--output", folder / "classes")
    changes = {"epochs": 1, "iterations_per_epoch": iterations}
    options = [word for name, value in changes.items() for word in ("--set", f"schedule.{name}={value}")]
    start = time.perf_counter()
    dsformer("train", RECIPE, "--data", folder / "classes", "--output", folder / "run", *options)
    return time.perf_counter() - start


def recalls(folder: Path, weights: str | Path) -> dict[str, float]:
    """Recall@1 within 25 m by condition."""
    asked = ("--database", folder / "daylight", "--model", "dsformer_tiny", "--weights", weights)
    kept = ("--cache", folder / "descriptors", "--json")

    def recall(condition: str) -> float:
        answer = json.loads(dsformer("evaluate", *asked, "--queries", folder / condition, *kept))
        return float(answer["recall"]["1"]["value"])

    return {condition: recall(condition) for condition in LATER}


def report(before: dict[str, float], after: dict[str, float], seconds: float) -> bool:
    table = Table(
        "condition", "untrained", "trained", title=f"recall@1 within 25 m, {seconds / 60:.1f} minutes of training"
    )
    for name in LATER:
        table.add_row(name, f"{100 * before[name]:.1f}", f"{100 * after[name]:.1f}")
    console.print(table)
    return all(after[name] > before[name] for name in LATER)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=120, help="of training (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where pictures, classes and run are kept (default: nowhere)")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = arguments.folder or Path(temporary)
        render_what_is_missing(folder)
        before = recalls(folder, "imagenet")
        seconds = train(folder, arguments.iterations)
        after = recalls(folder, folder / "run/last.safetensors")
    better = report(before, after, seconds)
    if arguments.json:
        results: dict[str, Any] = {"untrained": before, "trained": after, "seconds_of_training": seconds}
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if better else 1


if __name__ == "__main__":
    sys.exit(main())

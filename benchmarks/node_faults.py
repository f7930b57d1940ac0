"""The running node under faults, for as long as one likes; the tests have short forms of the same.

Examples:
  python benchmarks/node_faults.py                              all but the endurance, some minutes
  python benchmarks/node_faults.py --only endurance --minutes 60
  python benchmarks/node_faults.py --only noise transitions --lives 1000 --json faults.json

The node is a process of its own in the sample map, this process its cameras, its wheels and its listener, in a ROS
domain of their own. A fault that the node does not take well ends the run with what was expected and the node's words.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "dsformer_ros"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dsformer_ros.domains import private_domain
from tests.dsformer_ros.faults import cameras, clocks, endurance, maps, noise, services, signals, transitions
from tests.dsformer_ros.faults.rig import SAMPLE, Vitals, rig

Numbers = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
SLOW = ROOT / "tests" / "dsformer_ros" / "faults" / "slow_localizer.py"


def grown(before: Vitals, after: Vitals) -> Numbers:
    return {
        "memory grown [MiB]": round(after.memory - before.memory, 1),
        "threads": f"{before.threads} -> {after.threads}",
        "descriptors": f"{before.descriptors} -> {after.descriptors}",
    }


def run_noise(options: argparse.Namespace, domain: int, folder: Path) -> Numbers:
    with rig(domain, folder / "log", use_sim_time=True) as robot:
        robot.settle()
        before = robot.vitals
        sent = noise.shout(robot, options.messages, seed=options.seed)
        assert robot.finds_itself(), robot.process.output
        return {"messages": sum(sent.values()), "topics": len(sent), **grown(before, robot.vitals_after(before))}


def run_flood(options: argparse.Namespace, domain: int, folder: Path) -> Numbers:
    with rig(domain, folder / "log", program=SLOW) as robot:
        flood = cameras.flood(robot, int(200 * options.flood_seconds), 200.0)
    return {
        "pictures": flood.sent,
        "pictures per second": round(flood.rate, 1),
        "answered": len(flood.answered),
        "dropped": flood.counts["dropped"],
        "age of an answered picture, median [ms]": round(1e3 * float(np.median(flood.ages))),
        "age, worst [ms]": round(1e3 * max(flood.ages)),
        **grown(flood.before, flood.after),
    }


def run_cameras(options: argparse.Namespace, domain: int, folder: Path) -> Numbers:
    with rig(domain, folder / "log") as robot:
        robot.settle()
        before = robot.vitals
        cameras.freeze(robot, options.rounds)
        cameras.flip(robot, options.rounds)
        return {"rounds": options.rounds, **grown(before, robot.vitals_after(before))}


def run_clocks(options: argparse.Namespace, domain: int, folder: Path) -> Numbers:
    with rig(domain, folder / "log", use_sim_time=True) as robot:
        robot.settle()
        before = robot.vitals
        clocks.jump(robot, options.rounds)
        clocks.disagree(robot, options.rounds)
        return {"rounds": options.rounds, **grown(before, robot.vitals_after(before))}


def run_maps(options: argparse.Namespace, domain: int, folder: Path) -> Numbers:
    place_map = Path(shutil.copytree(SAMPLE, folder / "sample.map"))
    with rig(domain, folder / "log") as robot:
        robot.settle()
        # Once before the first look: both maps are in memory while they change places.
        maps.ruin(robot, place_map, 1)
        before = robot.vitals
        maps.ruin(robot, place_map, options.rounds)
        assert robot.finds_itself(), robot.process.output
        return {"accidents": options.rounds * len(maps.ACCIDENTS), **grown(before, robot.vitals_after(before))}


def run_services(options: argparse.Namespace, domain: int, folder: Path) -> Numbers:
    with rig(domain, folder / "log") as robot:
        robot.settle()
        # Loading a map fills the libraries' pools of threads.
        services.crowd(robot, options.callers, 3)
        before = robot.vitals
        answers = services.crowd(robot, options.callers, options.rounds)
        assert robot.finds_itself(), robot.process.output
        return {"answered calls": answers, **grown(before, robot.vitals_after(before))}


def run_transitions(options: argparse.Namespace, domain: int, folder: Path) -> Numbers:
    with rig(domain, folder / "log") as robot:
        robot.settle()
        before, after = transitions.live(robot, options.lives, warm_up=10)
        return {"lives": options.lives, **grown(before, after)}


def run_signals(options: argparse.Namespace, domain: int, folder: Path) -> Numbers:
    ends = signals.interrupt(domain, folder, options.signals, latest=10.0, seed=options.seed)
    unclean = [f"{end.how} after {end.after:.2f} s: status {end.status}" for end in ends if not end.is_clean]
    slowest = max(ends, key=lambda end: end.took)
    return {
        "signals": len(ends),
        "not clean": "; ".join(unclean) or "none",
        "median [s]": round(float(np.median([end.took for end in ends])), 2),
        "slowest [s]": f"{slowest.took:.2f}, {slowest.how} after {slowest.after:.2f} s",
    }


def run_endurance(options: argparse.Namespace, domain: int, folder: Path) -> Numbers:
    def show(elapsed: float, vitals: Vitals) -> None:
        print(f"{elapsed:7.0f} s  {vitals.memory:8.1f} MiB  {vitals.threads} threads  {vitals.descriptors} descriptors")

    with rig(domain, folder / "log") as robot:
        seen, share = endurance.endure(robot, 60 * options.minutes, on_progress=show)
        robot.step = 0.5
        assert robot.finds_itself(), robot.process.output
    memory = [vitals.memory for vitals in seen]
    return {
        "minutes": options.minutes,
        "answered": f"{share:.1%}",
        "memory [MiB]": f"{memory[0]:.1f}, at most {max(memory):.1f}",
        **grown(seen[0], seen[-1]),
    }


FAULTS: dict[str, Callable[[argparse.Namespace, int, Path], Numbers]] = {
    "noise": run_noise,
    "flood": run_flood,
    "cameras": run_cameras,
    "clocks": run_clocks,
    "maps": run_maps,
    "services": run_services,
    "transitions": run_transitions,
    "signals": run_signals,
    "endurance": run_endurance,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAULTS, help="these faults (default: all but endurance)")
    parser.add_argument("--messages", type=int, default=10_000, help="for each subscription (default: %(default)s)")
    parser.add_argument("--flood-seconds", type=float, default=60.0, help="of 200 Hz (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="of the shorter faults (default: %(default)s)")
    parser.add_argument("--callers", type=int, default=50, help="of each service at a time (default: %(default)s)")
    parser.add_argument("--lives", type=int, default=200, help="deactivate to activate (default: %(default)s)")
    parser.add_argument("--signals", type=int, default=40, help="processes to end (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="of endurance (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of noise and moments (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    options = parser.parse_args()

    # Started in the background by a shell, it would hand on to the nodes that SIGINT is to be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The node's process needs to find what is in this checkout.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    results: dict[str, Numbers] = {}
    for name in options.only or [name for name in FAULTS if name != "endurance"]:
        with tempfile.TemporaryDirectory() as folder, private_domain() as domain:
            results[name] = FAULTS[name](options, domain, Path(folder))
        table = Table("what", "measured", title=name)
        for what, value in results[name].items():
            table.add_row(what, str(value))
        Console().print(table)
    if options.json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "machine": platform.machine()}
        options.json.write_text(json.dumps({**results, **machine}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Surveys: many drives past the same places, each under its own light, weather and traffic and with its own camera.

What training needs and one drive does not give: every place seen by day and by night, from either pavement and from the
lanes between, by cameras that look ahead, back and to the sides.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import yaml

from dsformer_core.cores import usable_cores
from dsformer_core.errors import UsageError
from dsformer_core.sample_world.camera import Camera, CameraPose
from dsformer_core.sample_world.conditions import LIGHTS, SEASONS, WEATHERS, Condition
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.town import Town, make_town
from dsformer_core.sample_world.writing import quiet_worker, write_drive

TOWN_SPACING_M = 1000.0
"""Between the middles of a survey's towns: no two share a place."""

LIGHT_SHARES = (0.5, 0.2, 0.3)  # of LIGHTS
MOUNTINGS_DEG = (0.0, 0.0, 180.0, 90.0, -90.0)
HALF_STREET_M = 4.0
WIDTH, HEIGHT = 256, 192
DESCRIPTION = "survey.yaml"


@dataclass(frozen=True)
class Survey:
    """What is driven: everything in it follows from these numbers.

    Attributes:
        town_seeds: of the towns, which lie side by side.
        drives: through each of them.
        seed: of conditions and cameras.
        size_m: length of a town's side, metres.
        spacing: metres between the pictures of a drive.
        count: pictures of a drive; the whole loop when None.
    """

    town_seeds: tuple[int, ...]
    drives: int
    seed: int = 0
    size_m: float = 330.0
    spacing: float = 6.0
    count: int | None = None

    def plan(self) -> list["SurveyDrive"]:
        """The drives, town by town."""
        return [
            _draw(self.seed, town_seed, town_number, number)
            for town_number, town_seed in enumerate(self.town_seeds)
            for number in range(self.drives)
        ]


@dataclass(frozen=True)
class SurveyDrive:
    """One of the drives of a survey.

    Attributes:
        town_seed: of the town it goes through.
        town_number: of the town in the survey, which decides where the town lies.
        number: of the drive in its town.
        condition: light, weather, season, traffic.
        lateral_offset: metres to the right of the middle of the lane.
        mounting_deg: of the camera, counter-clockwise from straight ahead.
        pitch_deg: of the camera, positive upwards.
        camera_height: metres.
        camera: intrinsics.
    """

    town_seed: int
    town_number: int
    number: int
    condition: Condition
    lateral_offset: float
    mounting_deg: float
    pitch_deg: float
    camera_height: float
    camera: Camera

    @property
    def folder(self) -> str:
        """Where its pictures go, below the survey's folder."""
        return f"town_{self.town_seed}/drive_{self.number:03d}"

    @property
    def seed(self) -> int:
        """Of its jitter, sun, clouds and traffic."""
        return self.town_seed * 1000 + self.number


def _draw(seed: int, town_seed: int, town_number: int, number: int) -> SurveyDrive:
    random = generator(seed, "survey", town_seed, number)
    condition = Condition(
        light=str(random.choice(LIGHTS, p=LIGHT_SHARES)),
        weather=str(random.choice(WEATHERS)),
        season=str(random.choice(SEASONS)),
        traffic=float(random.uniform(0, 1)),
    )
    return SurveyDrive(
        town_seed=town_seed,
        town_number=town_number,
        number=number,
        condition=condition,
        lateral_offset=float(random.uniform(-HALF_STREET_M, HALF_STREET_M)),
        # In turn, not drawn: each way of looking gets its share of the drives.
        mounting_deg=MOUNTINGS_DEG[number % len(MOUNTINGS_DEG)] + float(random.normal(0, 4)),
        pitch_deg=float(random.normal(2, 3)),
        camera_height=float(random.uniform(1.0, 2.2)),
        camera=Camera(WIDTH, HEIGHT, float(random.uniform(60, 95))),
    )


def write_survey(
    survey: Survey,
    directory: Path | str,
    *,
    workers: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Renders a survey; drives that are there already, from a call that was interrupted, are left as they are.

    A drive appears under its name when its last picture is written. Worker processes are spawned: a script that calls
    this does so under ``if __name__ == "__main__"``.

    Args:
        survey: what is driven.
        directory: made where it does not exist.
        workers: processes; as many as there are cores when None.
        on_progress: gets the number of drives finished since its last call.

    Returns:
        The folders of the drives.

    Raises:
        UsageError: `directory` holds another survey, or something else.
    """
    directory = Path(directory)
    _claim(directory, survey)
    report = on_progress or (lambda count: None)
    plan = survey.plan()
    missing = [drive for drive in plan if not (directory / drive.folder).is_dir()]
    report(len(plan) - len(missing))
    workers = max(1, min(workers or usable_cores(), len(missing)))
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=quiet_worker) as pool:
        try:
            written = [pool.submit(_write, survey, drive, directory) for drive in missing]
            for future in as_completed(written):
                future.result()
                report(1)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return [directory / drive.folder for drive in plan]


def _claim(directory: Path, survey: Survey) -> None:
    """Makes the folder say which survey it holds, so that no two are mixed."""
    description = asdict(survey) | {"town_seeds": list(survey.town_seeds)}
    path = directory / DESCRIPTION
    if path.is_file():
        if yaml.safe_load(path.read_text(encoding="utf-8")) != description:
            raise UsageError(f"{directory} holds another survey (its {DESCRIPTION} says which); choose another folder")
        return
    if directory.is_dir() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty and holds no survey to go on with; choose another folder")
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")


@lru_cache(maxsize=2)
def _town(seed: int, number: int, size_m: float) -> Town:
    return make_town(seed, size_m, utm=(412_000.0 + number * TOWN_SPACING_M, 5_543_000.0))


def _write(survey: Survey, drive: SurveyDrive, directory: Path) -> None:
    town = _town(drive.town_seed, drive.town_number, survey.size_m)
    folder = directory / drive.folder
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    route = town.drive(drive.seed, survey.spacing, drive.lateral_offset, count=survey.count)
    poses = [_mounted(pose, drive) for pose in route]
    write_drive(town, poses, unfinished, drive.condition, drive.seed, camera=drive.camera, workers=1)
    unfinished.replace(folder)


def _mounted(pose: CameraPose, drive: SurveyDrive) -> CameraPose:
    """The pose of the drive's camera on a vehicle that looks as `pose` does."""
    yaw = pose.yaw + np.radians(drive.mounting_deg)
    return replace(
        pose,
        yaw=float(np.angle(np.exp(1j * yaw))),
        pitch=pose.pitch + float(np.radians(drive.pitch_deg)),
        height=drive.camera_height,
    )

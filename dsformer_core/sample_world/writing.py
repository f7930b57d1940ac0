"""Writes a drive as a folder of geotagged JPEGs, the way a camera with a GPS receiver and a compass would."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime, timezone
from fractions import Fraction
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from dsformer_core.cores import usable_cores
from dsformer_core.geodesy import grid_convergence, to_latlon, yaw_to_heading
from dsformer_core.sample_world.camera import Camera, CameraPose
from dsformer_core.sample_world.conditions import Condition
from dsformer_core.sample_world.rendering import render
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.town import Town

QUALITY = 90
CHUNK = 4

Job = tuple[Sequence[CameraPose], Sequence[Path], Condition, int, Camera, float]
"""Poses, their files, condition, seed of the drive, camera, standard deviation of the GPS noise."""


def write_drive(
    town: Town,
    poses: Sequence[CameraPose],
    directory: Path | str,
    condition: Condition,
    seed: int = 0,
    *,
    camera: Camera = Camera(),  # noqa: B008 - frozen
    gps_noise: float = 0.0,
    workers: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Renders poses and writes one JPEG each, with position, heading and time in its EXIF data.

    A picture is written beside its place and renamed, so that an interruption leaves whole pictures only. Worker
    processes are spawned: a script that calls this does so under ``if __name__ == "__main__"``.

    Args:
        town: the town.
        poses: of the camera.
        directory: made where it does not exist.
        condition: light, weather, season, traffic.
        seed: of the drive.
        camera: intrinsics.
        gps_noise: standard deviation of the written position, metres east and north; 0 writes the exact truth.
        workers: processes; as many as there are cores when None.
        on_progress: gets the number of pictures finished since its last call.

    Returns:
        The files, ``000000.jpg`` and on, in the order of `poses`.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{index:06d}.jpg" for index in range(len(poses))]
    report = on_progress or (lambda count: None)

    def jobs(first: int, last: int) -> Iterator[Job]:
        for start in range(first, last, CHUNK):
            part = slice(start, min(start + CHUNK, last))
            yield poses[part], paths[part], condition, seed, camera, gps_noise

    workers = max(1, min(workers or usable_cores(), len(poses) // CHUNK))
    if workers == 1:
        for job in jobs(0, len(poses)):
            report(_write_some(town, job))
        return paths
    # Each process drives a stretch of its own, so that no two of them paint the same houses. They are not forked: the
    # caller may have threads, and a fork of those can hang.
    context = get_context("spawn")
    pools = [ProcessPoolExecutor(1, context, initializer=_enter_worker, initargs=(town,)) for _ in range(workers)]
    bounds = [len(poses) * worker // workers for worker in range(workers + 1)]
    try:
        stretches = zip(pools, bounds, bounds[1:], strict=False)
        done = [pool.submit(_write_some_in_worker, job) for pool, *ends in stretches for job in jobs(*ends)]
        for future in as_completed(done):
            report(future.result())
    finally:
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)
    return paths


_town_of_worker: list[Town] = []


def quiet_worker() -> None:
    """Makes a process that only renders: one thread, and deaf to Ctrl-C.

    Ctrl-C reaches every process of the terminal; the parent decides, and pictures in progress are finished.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _enter_worker(town: Town) -> None:
    quiet_worker()
    _town_of_worker[:] = [town]


def _write_some_in_worker(job: Job) -> int:
    return _write_some(_town_of_worker[0], job)


def _write_some(town: Town, job: Job) -> int:
    """Renders and writes one piece of a drive; gives the number of its pictures."""
    poses, paths, condition, seed, camera, gps_noise = job
    for pose, path in zip(poses, paths, strict=True):
        picture = render(town, pose, condition, camera, seed)
        noise = generator(seed, "gps", path.name).normal(0, gps_noise, 2) if gps_noise else np.zeros(2)
        buffer = BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY, exif=exif_of(town, pose, pose.utm + noise))
        unfinished = path.with_suffix(".part")
        try:
            unfinished.write_bytes(buffer.getvalue())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    return len(poses)


def exif_of(town: Town, pose: CameraPose, utm: np.ndarray) -> Image.Exif:
    """EXIF data of a picture.

    Args:
        town: decides zone and altitude.
        pose: decides heading and time.
        utm: (2,) position to write, metres.

    Returns:
        Position to 0.1 mm, heading (from true north) to 0.0001 degrees, UTC time to the microsecond.
    """
    latitude, longitude = (float(v) for v in to_latlon(utm, town.zone))
    heading = float(yaw_to_heading(pose.yaw, grid_convergence(latitude, longitude, town.zone)))
    when = datetime.fromtimestamp(pose.timestamp, timezone.utc)
    altitude = town.altitude + pose.height
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = "dsformer render"
    exif[ExifTags.Base.DateTime] = f"{when:%Y:%m:%d %H:%M:%S}"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = f"{when:%Y:%m:%d %H:%M:%S}"
    details[ExifTags.Base.SubsecTimeOriginal] = f"{when:%f}"
    details[ExifTags.Base.OffsetTimeOriginal] = "+00:00"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSVersionID] = b"\x02\x03\x00\x00"
    gps[ExifTags.GPS.GPSLatitudeRef] = "N" if latitude >= 0 else "S"
    gps[ExifTags.GPS.GPSLatitude] = _degrees(latitude)
    gps[ExifTags.GPS.GPSLongitudeRef] = "E" if longitude >= 0 else "W"
    gps[ExifTags.GPS.GPSLongitude] = _degrees(longitude)
    gps[ExifTags.GPS.GPSAltitudeRef] = b"\x00" if altitude >= 0 else b"\x01"
    gps[ExifTags.GPS.GPSAltitude] = _rational(abs(altitude), 1000)
    gps[ExifTags.GPS.GPSImgDirectionRef] = "T"
    gps[ExifTags.GPS.GPSImgDirection] = _rational(heading % 360, 10_000)
    gps[ExifTags.GPS.GPSDateStamp] = f"{when:%Y:%m:%d}"
    gps[ExifTags.GPS.GPSTimeStamp] = tuple(
        _rational(v, 1000) for v in (when.hour, when.minute, when.second + when.microsecond / 1e6)
    )
    return exif


def _rational(value: float, denominator: int) -> TiffImagePlugin.IFDRational:
    return TiffImagePlugin.IFDRational(Fraction(round(value * denominator), denominator))


def _degrees(angle: float) -> tuple[TiffImagePlugin.IFDRational, ...]:
    """Degrees, minutes, seconds; the seconds to a millionth, which is 0.03 mm."""
    seconds = round(abs(angle) * 3_600_000_000)
    degrees, rest = divmod(seconds, 3_600_000_000)
    minutes, rest = divmod(rest, 60_000_000)
    return (_rational(degrees, 1), _rational(minutes, 1), _rational(rest / 1e6, 1_000_000))

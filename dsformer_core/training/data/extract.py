"""Cuts every view of a partition out of its image and writes it as a small JPEG: `dsformer cluster extract`.

Training from a subset needs no panoramas and decodes fewer pixels. An extraction that was killed goes on where it
stopped: a picture is written beside its place and renamed, so what is there is whole.
"""

import csv
import errno
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from dsformer_core.clustering.partition import PANORAMAS, Partition
from dsformer_core.cores import usable_cores
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.lock import LOCK_FILE, working_alone
from dsformer_core.panoramas import Aspect, Size, read_views
from dsformer_core.pictures import Picture, PictureError
from dsformer_core.training.data import subset
from dsformer_core.training.data.partition_data import images_folder, record_offsets
from dsformer_core.training.data.records import single_array

QUALITY = 92
CHUNK = 16
"""Images that a process works on at a time."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What of a partition decides its pictures; of what input and by which settings it came to be does not.
_DECIDE_PICTURES = ("kind", "utm_zone", "classes_sha256")


@dataclass(frozen=True)
class Extraction:
    """What an extraction came to.

    Attributes:
        pictures: in the subset now.
        written: of these, the ones written this time.
        classes: of these pictures.
        lost_classes: classes of the partition without a readable image.
        unreadable: image -> why it could not be read.
    """

    pictures: int
    written: int
    classes: int
    lost_classes: int
    unreadable: dict[str, str]


@dataclass(frozen=True)
class _Job:
    """Some images and what to cut from each.

    Attributes:
        images: of one file each, with (offset, picture) per view; the offset is None for an ordinary picture.
    """

    images: Sequence[tuple[str, Sequence[tuple[float | None, str]]]]
    root: Path
    output: Path
    size: Size
    aspect: Aspect


@dataclass(frozen=True)
class _Done:
    images: int
    written: int
    unreadable: dict[str, str]


def extract_subset(
    partition: Partition,
    output: Path,
    *,
    size: Size = (512, 512),
    aspect: Aspect = "keep",
    images_root: Path | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Extraction:
    """Writes the pictures of a partition that are not there yet.

    Worker processes are spawned: a script that calls this does so under ``if __name__ == "__main__"``.

    Args:
        partition: of panoramas or pictures.
        output: the subset's directory, made where it does not exist.
        size: height and width of the pictures; an image with fewer pixels for its view gives a smaller one.
        aspect: what becomes of other proportions.
        images_root: where the images are now; None where the partition says.
        workers: processes; as many as there are cores when None.
        on_progress: takes the number of images finished, and of all.

    Raises:
        UsageError: something else is in `output`, or the images are not in `images_root`.
        DsformerError: they are not where the partition says, none can be read, another process is writing them,
            or the disk is full.
    """
    root = images_folder(partition, images_root).absolute()
    description = subset.describe(partition, size=size, aspect=aspect, complete=False)
    output = output.absolute()
    try:
        _make(output)
        with working_alone(output, "writing these pictures"):
            _begin(output, description)
            unreadable: dict[str, str] = {}
            total = len(np.unique(partition.table["row"].to_numpy()))
            finished = written = 0
            processes = max(1, min(workers or usable_cores(), total // CHUNK))
            for done in _run(_jobs(partition, root, output, size, aspect), processes):
                finished += done.images
                written += done.written
                unreadable |= done.unreadable
                on_progress(finished, total)
            if total and len(unreadable) == total:
                raise DsformerError(
                    f"none of the {total} images below {root} can be read: {next(iter(unreadable.values()))}"
                )
            _write_unreadable(output, unreadable)
            records = subset.write_records(output, partition.table, unreadable)
            subset.write_description(output, description | {"complete": True})
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DsformerError(
            f"{output}: {os.strerror(error.errno)}; what was written stays, free some space and give the command again"
        ) from error
    classes = subset.class_count(records)
    return Extraction(len(records), written, classes, partition.class_count - classes, unreadable)


def _make(output: Path) -> None:
    """Makes the directory; one that is there and holds something must be a subset."""
    if not (output / subset.DESCRIPTION_FILE).exists():
        if output.exists() and (not output.is_dir() or any(path.name != LOCK_FILE for path in output.iterdir())):
            raise UsageError(f"{output} exists and is not a subset: choose another name")
        output.mkdir(parents=True, exist_ok=True)


def _begin(output: Path, description: dict[str, Any]) -> None:
    """Writes the description of a subset that is not complete; one that is there must be of the same pictures."""
    if (output / subset.DESCRIPTION_FILE).exists():
        there = subset.read_description(output)
        different = [key for key in ("aspect", "size") if there[key] != description[key]]
        if any(there["partition"].get(key) != description["partition"][key] for key in _DECIDE_PICTURES):
            different.append("partition")
        if different:
            raise UsageError(
                f"{output} holds pictures of another {different[0]}: choose another name, or remove it to begin anew"
            )
    subset.write_description(output, description)


def _jobs(partition: Partition, root: Path, output: Path, size: Size, aspect: Aspect) -> Iterator[_Job]:
    """All work, image by image, so that each is decoded once for all its views."""
    order = np.argsort(partition.table["row"].to_numpy(), kind="stable")
    records = partition.table.take(pa.array(order))
    offsets = record_offsets(partition, records) if partition.kind == PANORAMAS else None
    images, pictures = single_array(records["image"]), single_array(subset.picture_paths(records))
    rows = records["row"].to_numpy()
    bounds = [0, *(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]
    spans = iter(itertools.pairwise(bounds) if len(rows) else ())
    while some := list(itertools.islice(spans, CHUNK)):
        yield _Job(
            [
                (
                    images[first].as_py(),
                    [
                        (None if offsets is None else float(offsets[record]), pictures[record].as_py())
                        for record in range(first, last)
                    ],
                )
                for first, last in some
            ],
            root, output, size, aspect,
        )  # fmt: skip


def _run(jobs: Iterator[_Job], workers: int) -> Iterator[_Done]:
    """Does jobs in processes, a bounded number ahead; in this one where one suffices."""
    if workers == 1:
        yield from map(_work, jobs)
        return
    # Not forked: the caller may have threads, and a fork of those can hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_enter_worker)
    try:
        under_way: set[Future[_Done]] = {pool.submit(_work, job) for job in itertools.islice(jobs, 4 * workers)}
        while under_way:
            finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            under_way |= {pool.submit(_work, job) for job in itertools.islice(jobs, len(finished))}
            for future in finished:
                yield future.result()
    except BrokenProcessPool:
        raise DsformerError(
            "a process that cuts views died, perhaps for want of memory: give the command again with fewer workers, it "
            "goes on where it stopped"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _enter_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the parent decides. A parent that was killed cannot, and a pool's
    # workers would wait for it for ever.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _work(job: _Job) -> _Done:
    written, unreadable = 0, {}
    for image, views in job.images:
        missing = [(offset, job.output / picture) for offset, picture in views if not (job.output / picture).exists()]
        if not missing:
            continue
        try:
            crops = read_views(job.root / image, [offset for offset, _ in missing], job.size, job.aspect, enlarge=False)
        except PictureError as error:
            unreadable[image] = str(error)
            continue
        for crop, (_, path) in zip(crops, missing, strict=True):
            _write(path, crop)
        written += len(missing)
    return _Done(len(job.images), written, unreadable)


def _write(path: Path, picture: Picture) -> None:
    # Encoded in memory first: Pillow's encoders do not say that a disk is full.
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    try:
        unfinished.write_bytes(buffer.getvalue())
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def _write_unreadable(output: Path, unreadable: dict[str, str]) -> None:
    path = output / subset.UNREADABLE_FILE
    if not unreadable:
        path.unlink(missing_ok=True)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "reason"), *sorted(unreadable.items())])

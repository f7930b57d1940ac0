"""The folder in which a map is being built: what is to be built, what has been described, and whose turn it is."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.lock import working_alone
from dsformer_core.place_map.building.shards import Shards
from dsformer_core.place_map.format import MAP_FILE, MapError, file_digest, read_description
from dsformer_core.sources import GeotaggedPicture
from dsformer_core.staging import durable_file, put_in_place

PLAN_FILE = "plan.json"
DONE_FILE = "done"
_SHARDS = "shards-"
_MAP = "map"

# What a plan says -> what is wrong where a resumed build says something else.
_DIFFERENCES = {
    "pictures_sha256": "its pictures or their positions are no longer the same",
    "pictures": "it has another number of pictures",
    "model_name": "it was begun with another model",
    "weights_sha256": "it was begun with other weights",
    "precision": "it was begun in another precision, by another runtime, or with another INT8 file",
    "dtype": "it was begun for an index that keeps descriptors of another type",
    "thumbnails": "it was begun with or without thumbnails",
    "adds_to": "it was begun to add to another map, or to none",
    "shard_size": "it was begun by another version of this program",
}


@dataclass(frozen=True)
class Plan:
    """What is being built: where any of it is another, what was described before does not belong to it.

    Attributes:
        created: ISO 8601 time of the beginning, UTC.
        pictures: how many.
        pictures_sha256: of their names, positions and times.
        model_name: the network that describes them.
        weights_sha256: of that network.
        precision: in which it computes, and by what (`Arithmetic.identity`).
        dtype: of descriptors.
        thumbnails: whether small pictures are kept.
        shard_size: pictures to a shard.
        adds_to: SHA-256 of `map.yaml` of the map that they are added to; empty where there is none.
    """

    created: str
    pictures: int
    pictures_sha256: str
    model_name: str
    weights_sha256: str
    precision: str
    dtype: str
    thumbnails: bool
    shard_size: int
    adds_to: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all that shards depend on, hexadecimal."""
        said = {name: value for name, value in asdict(self).items() if name != "created"}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Unfinished:
    """A build that was interrupted.

    Attributes:
        described: pictures that need not be described again.
        pictures: that there are.
    """

    described: int
    pictures: int


class WorkFolder:
    """The hidden folder ``.NAME.building`` beside a map to be.

    It stays where a build is interrupted after something was described, and goes when the map is finished. One
    process at a time works in it.

    Args:
        target: the map, absolute.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = folder_for(target)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Works in the folder; leaves it behind only where there is something to go on with.

        Raises:
            DsformerError: another process builds this map.
        """
        self.folder.mkdir(exist_ok=True)
        try:
            with working_alone(self.folder, f"building {self.target.name}"):
                try:
                    yield
                finally:
                    if not any(self.folder.glob(f"{_SHARDS}*/*/*.parquet")):
                        shutil.rmtree(self.folder, ignore_errors=True)
        except FileNotFoundError as error:
            raise DsformerError(f"{self.folder} was taken away while {self.target.name} was built in it") from error

    def begin(self, plan: Plan) -> tuple[Plan, Shards]:
        """Writes down what is to be built, or finds that it was begun before.

        Returns:
            The plan, with the time when it was begun, and its shards.

        Raises:
            UsageError: something else was begun here.
        """
        path = self.folder / PLAN_FILE
        begun = _read_plan(path)
        if begun is not None:
            # float32 can still become float16, and not the other way round.
            finer = replace(plan, dtype=begun.dtype) if begun.dtype == "float32" else plan
            differing = [name for name in _DIFFERENCES if getattr(begun, name) != getattr(finer, name)]
            if differing:
                raise UsageError(
                    f"{self.target} cannot be resumed: {_DIFFERENCES[differing[0]]}; --overwrite begins anew"
                )
            plan = begun
        else:
            self.clear()
            with durable_file(path) as file:
                file.write(json.dumps(asdict(plan), indent=1).encode())
        return plan, _shards(self.folder, plan)

    def finish_clearing(self) -> bool:
        """Clears up behind a build that was killed after its map was put in place; False where there was none."""
        done, made = self.folder / DONE_FILE, self.target / MAP_FILE
        if not (done.is_file() and made.is_file() and done.read_text() == file_digest(made)):
            return False
        with self.entered():
            self.clear()
        return True

    def is_finished(self, plan: Plan) -> bool:
        """Whether the map that is there was made by a plan."""
        try:
            return read_description(self.target).get("plan_sha256") == plan.digest
        except MapError:
            return False

    @contextmanager
    def finished_map(self, *, overwrite: bool) -> Iterator[Path]:
        """An empty folder for the files of the map, which becomes the map when the block ends well.

        Args:
            overwrite: whether a map that is there is replaced.

        Raises:
            UsageError: something is there that must not be replaced.
        """
        folder = self.folder / _MAP
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        yield folder
        with durable_file(self.folder / DONE_FILE) as file:
            file.write(file_digest(folder / MAP_FILE).encode())
        put_in_place(folder, self.target, overwrite=overwrite, marker=MAP_FILE, kind="place map")

    def clear(self) -> None:
        """Removes everything that was described."""
        # The plan first: without it, what is left is nothing that could be resumed.
        (self.folder / PLAN_FILE).unlink(missing_ok=True)
        for shards in self.folder.glob(f"{_SHARDS}*"):
            shutil.rmtree(shards, ignore_errors=True)
        (self.folder / DONE_FILE).unlink(missing_ok=True)


def folder_for(target: Path) -> Path:
    """Where a map is built."""
    return target.with_name(f".{target.name}.building")


def unfinished_build(target: str | Path) -> Unfinished | None:
    """How far an interrupted build of a map came; None where there is none to go on with."""
    folder = folder_for(Path(target).absolute())
    plan = _read_plan(folder / PLAN_FILE)
    if plan is None:
        return None
    shards = _shards(folder, plan)
    described = plan.pictures - sum(len(shards.rows(number)) for number in shards.missing())
    return Unfinished(described, plan.pictures) if described else None


def now() -> str:
    """The time as a map states it, ISO 8601, UTC.

    It is that of the environment variable SOURCE_DATE_EPOCH where somebody needs a map that can be made again byte for
    byte (https://reproducible-builds.org/specs/source-date-epoch/).
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(fixed), timezone.utc) if fixed.isdecimal() else datetime.now(timezone.utc)
    return moment.isoformat(timespec="seconds")


def pictures_digest(pictures: Sequence[GeotaggedPicture]) -> str:
    """SHA-256 of what is known of pictures before they are decoded, hexadecimal."""
    digest = hashlib.sha256()
    for one in pictures:
        said = (one.id, one.image, one.latitude, one.longitude, one.altitude, one.altitude_reference, one.heading_deg)
        digest.update(repr((*said, one.timestamp, one.source)).encode())
    return digest.hexdigest()


def _shards(folder: Path, plan: Plan) -> Shards:
    """Those of a plan, in a folder of their own: none of another plan's can be taken for them, whatever was left."""
    return Shards(folder / f"{_SHARDS}{plan.digest[:16]}", plan.pictures, plan.shard_size, plan.dtype)


def _read_plan(path: Path) -> Plan | None:
    try:
        values = json.loads(path.read_bytes())
        return Plan(**{field.name: values[field.name] for field in fields(Plan)})
    except (OSError, ValueError, KeyError, TypeError):
        return None

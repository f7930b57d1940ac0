"""The kinds of source: how each is recognised, what it takes, and how it is opened. All there are stand in `KINDS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.sources.bags import RECORDING_SUFFIXES, is_recording
from dsformer_core.sources.folder import FolderSource
from dsformer_core.sources.kitti import KittiSource, is_kitti_drive
from dsformer_core.sources.manifest import MANIFEST_SUFFIXES, ManifestSource
from dsformer_core.sources.options import SourceOptions, option
from dsformer_core.sources.source import Source
from dsformer_core.sources.thinning import Thinning

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")

# What any source of pictures can become: fewer of them, or views of panoramas.
FOR_ALL = frozenset({"every_metres", "every_degrees", "views", "fov", "panoramas"})
ALL = Thinning()
# Where a drive is recorded many times a second.
MOVING = Thinning(every_metres=2.0, every_degrees=30.0)


@dataclass(frozen=True)
class SourceKind:
    """One kind of source.

    Attributes:
        name: for people and programs.
        what: what it is, and how it is recognised.
        needs: what must be known, and where it comes from.
        examples: arguments of `dsformer map build`.
        recognises: whether a path that exists is of this kind; the first kind that says so counts.
        open: reads what a path stands for.
        options: fields of `SourceOptions` that it takes besides those that all take.
        thinning: which pictures are kept where nobody says so.
        extra: what to install for it; empty where nothing is needed.
        files: whether every picture is a file.
    """

    name: str
    what: str
    needs: str
    examples: tuple[str, ...]
    recognises: Callable[[Path], bool]
    open: Callable[[Path, Thinning, SourceOptions], Source]
    options: frozenset[str]
    thinning: Thinning = ALL
    extra: str = ""
    files: bool = True

    def takes(self, name: str) -> bool:
        """Whether a field of `SourceOptions` means something here."""
        return name in self.options or name in FOR_ALL


def check_options(options: SourceOptions, kinds: Sequence[SourceKind], what: str) -> None:
    """Refuses options that mean nothing to any of some kinds.

    Args:
        options: what was given.
        kinds: of the sources that it was given for.
        what: what messages call these.

    Raises:
        UsageError: names one, and the kinds that it belongs to.
    """
    for name in options.given():
        if not any(kind.takes(name) for kind in kinds):
            owners = " or a ".join(kind.name for kind in KINDS if name in kind.options)
            given = " or a ".join(dict.fromkeys(kind.name for kind in kinds))
            raise UsageError(f"{what}: {option(name)} is for a {owners}; this is a {given}")


def kind_of(path: Path) -> SourceKind:
    """The kind of source that a path stands for.

    Raises:
        UsageError: there is nothing at `path`, or nothing that pictures come from.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    for kind in KINDS:
        if kind.recognises(path):
            return kind
    suffixes = ", ".join((*MANIFEST_SUFFIXES, *RECORDING_SUFFIXES, *VIDEO_SUFFIXES))
    raise UsageError(f"{path}: give a folder of pictures, or a manifest, a bag or a video ({suffixes})")


def _open_bag(path: Path, thinning: Thinning, options: SourceOptions) -> Source:
    try:
        from dsformer_core.sources.bags.source import BagSource
    except ImportError as error:
        raise missing(path, "bags", error) from error
    return BagSource(path, thinning, options)


def _open_video(path: Path, thinning: Thinning, options: SourceOptions) -> Source:
    try:
        from dsformer_core.sources.videos.source import VideoSource
    except ImportError as error:
        raise missing(path, "video", error) from error
    return VideoSource(path, thinning, options)


def _open_folder(path: Path, _: Thinning, options: SourceOptions) -> Source:
    try:
        return FolderSource(path, zone=options.zone)
    except DsformerError as error:
        if any(is_recording(child) or _is_video(child) for child in path.iterdir()):
            raise UsageError(f"{path}: holds no pictures, but bags or videos: name them, --images {path}/*") from error
        raise


def missing(path: Path, extra: str, error: ImportError) -> DsformerError:
    """What to say of a source that needs a library which is not there."""
    name = error.name or str(error)
    return DsformerError(f"{path}: needs {name}, which is not installed: pip install 'dsformer_ros[{extra}]'")


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES


KINDS = (
    SourceKind(
        name="manifest",
        what="a .csv or .parquet table that lists pictures and where they were taken",
        needs="columns path, latitude, longitude (or easting, northing, zone), and what else is known",
        examples=("--images places.csv",),
        recognises=lambda path: path.is_file() and path.suffix.lower() in MANIFEST_SUFFIXES,
        open=lambda path, _, options: ManifestSource(path, zone=options.zone),
        options=frozenset({"zone"}),
    ),
    SourceKind(
        name="bag",
        what="a ROS 2 recording (folder, .mcap, .db3) or a ROS 1 one (.bag)",
        needs="images; NavSatFix, or Odometry or poses and --datum; /tf_static or --camera-yaw with several cameras",
        examples=(
            "--images drive/",
            "--images drive.mcap --topic /front/image/compressed --heading imu",
            "--images walk.bag --positions /odom --datum 55.7054,13.1932 --camera-yaw /left/image=90",
        ),
        recognises=is_recording,
        open=_open_bag,
        options=frozenset(
            {"topics", "positions", "heading", "camera_yaws", "base_frame", "datum", "max_gap", "max_position_std"}
        ),
        thinning=MOVING,
        extra="bags",
        files=False,
    ),
    SourceKind(
        name="video",
        what="a video (.mp4, .mov, .mkv, …) and the GPX track of the same ride",
        needs="--track; when the video starts: its creation_time, or --start",
        examples=("--images ride.mp4 --track ride.gpx", "--images ride.mp4 --track ride.gpx --time-offset -7200"),
        recognises=_is_video,
        open=_open_video,
        options=frozenset({"track", "start", "time_offset", "camera_yaws", "max_gap"}),
        thinning=MOVING,
        extra="video",
        files=False,
    ),
    SourceKind(
        name="KITTI drive",
        what="a folder of KITTI's raw data with oxts/ and image_00 … image_03/",
        needs="nothing more; image_02 unless --topic names other cameras",
        examples=("--images 2011_09_26_drive_0001_sync/ --topic image_02 image_03 --every-metres 2",),
        recognises=lambda path: path.is_dir() and is_kitti_drive(path),
        open=lambda path, _, options: KittiSource(path, options),
        options=frozenset({"topics", "max_gap", "max_position_std"}),
    ),
    SourceKind(
        name="folder",
        what="a folder of pictures and all below it",
        needs="GPS in EXIF, or '@' file names with UTM coordinates (--zone where they lack one)",
        examples=(
            "--images photographs/",
            "--images utm_named/ --zone 10N",
            "--images panoramas/ --views 8 --fov 90",
            "--images monday/ tuesday/ drive.mcap --every-metres 5",
        ),
        recognises=Path.is_dir,
        open=_open_folder,
        options=frozenset({"zone"}),
    ),
)

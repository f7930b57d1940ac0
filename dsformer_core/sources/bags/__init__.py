"""Pictures and positions out of ROS 1 and ROS 2 recordings, without ROS."""

from pathlib import Path

RECORDING_SUFFIXES = (".mcap", ".db3", ".bag")


def is_recording(path: Path) -> bool:
    """Whether something that exists is a recording, or a folder with one."""
    if path.is_dir():
        names = [entry.name for entry in path.iterdir()]
        plain = [name.removesuffix(".zstd") for name in names]
        return any(name.endswith(RECORDING_SUFFIXES) for name in plain)
    return path.suffix in RECORDING_SUFFIXES

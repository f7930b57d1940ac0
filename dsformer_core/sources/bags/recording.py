"""A recording of ROS 1 or ROS 2 (.bag, .db3, .mcap, or a folder of them), opened with rosbags."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dsformer_core.errors import DsformerError
from dsformer_core.sources.bags import RECORDING_SUFFIXES

METADATA_FILE = "metadata.yaml"
# rosbags does not have it among the types of ROS 1.
TRANSFORMS = "tf2_msgs/msg/TFMessage"

# What a compressed message begins with, and none in CDR or ROS 1's own format does here.
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

# What rosbags says -> what to do about it.
_ADVICE = {
    "end magic": "it was cut short, as when its recorder is killed: `mcap recover` makes a whole file of it",
    "footer": "it was cut short, as when its recorder is killed: `mcap recover` makes a whole file of it",
    "Truncated record": "it was cut short: `mcap recover` makes a whole file of it",
    "not indexed": "it was cut short, as when its recorder is killed: `rosbag reindex` mends it",
    "malformed": "it is damaged: `sqlite3 FILE .recover` saves what can be saved",
    "not a database": "it is damaged",
    "ompression": "rosbags cannot decompress it: make a plain one with `ros2 bag convert` or `rosbag decompress`",
    "not in timestamp order": "`mcap recover` writes an index",
    "database files are missing": "copy them beside metadata.yaml",
}


def storage_files(folder: Path) -> list[Path]:
    """The recordings in a folder, in the order of their names, of which recorders make a row."""
    files = [path for path in folder.iterdir() if path.suffix in RECORDING_SUFFIXES and path.is_file()]
    return sorted(files, key=lambda path: (len(path.name), path.name))


class Recording:
    """Topics and messages of a recording. Not safe to use from two threads at a time."""

    def __init__(self, path: Path) -> None:
        """Opens it; of its messages none is read.

        Raises:
            DsformerError: it is no whole recording; says what to do.
        """
        self.path = path
        self._readers: list[Any] = []
        files = [path]
        if path.is_dir() and not (path / METADATA_FILE).is_file():
            files = storage_files(path)
            if not files:
                raise DsformerError(f"{path}: its files are compressed and there is no {METADATA_FILE}: unzstd them")
        self.is_ros1 = files[0].suffix == ".bag"
        # Definitions of one's own are in many recordings; those of the types that are read here are always the same.
        self._types = get_typestore(Stores.ROS1_NOETIC if self.is_ros1 else Stores.LATEST)
        if TRANSFORMS not in self._types.types:
            self._types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TRANSFORMS))
        for file in files:
            with _explained(file):
                reader = Reader1(file) if file.suffix == ".bag" else Reader2(file)
                reader.open()
                self._readers.append(reader)
        self._readers.sort(key=lambda reader: reader.start_time)
        self.types: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        for connection in self._connections():
            self.types.setdefault(connection.topic, connection.msgtype)
            self.counts[connection.topic] = self.counts.get(connection.topic, 0) + connection.msgcount
        self.is_fast_to_seek = all(_is_fast_to_seek(reader) for reader in self._readers)

    def named(self, name: str) -> str | None:
        """The topic that a person calls so, with or without a slash at its beginning."""
        return next((topic for topic in self.types if topic.strip("/") == name.strip("/")), None)

    def listed(self) -> str:
        """Every topic and its type, for messages."""
        return ", ".join(f"{topic} ({kind})" for topic, kind in sorted(self.types.items())) or "none"

    def messages(self, topics: Sequence[str], start: int | None = None) -> Iterator[tuple[str, int, bytes]]:
        """Messages in the order of time.

        Args:
            topics: whose.
            start: nanoseconds since 1970; those received earlier are left out.

        Yields:
            Topic, nanoseconds since 1970 when it was received, and the serialised message. Only the iterator made last
            may be used.

        Raises:
            DsformerError: the recording is damaged.
        """
        for reader in self._readers:
            connections = [connection for connection in reader.connections if connection.topic in topics]
            if not connections:
                continue
            with _explained(reader.path):
                for connection, time, data in reader.messages(connections, start=start):
                    yield connection.topic, time, data

    def deserialize(self, topic: str, data: bytes) -> Any:
        """The message in some bytes.

        Raises:
            DsformerError: they hold no message of the topic's type.
        """
        try:
            if self.is_ros1:
                return self._types.deserialize_ros1(data, self.types[topic])
            return self._types.deserialize_cdr(data, self.types[topic])
        except Exception as error:  # rosbags trusts what a message says of its own length
            if bytes(data[:4]) == _ZSTD_MAGIC:
                raise DsformerError(
                    f"{self.path}: its messages are compressed and there is no {METADATA_FILE}: "
                    "`ros2 bag reindex` writes it"
                ) from error
            raise DsformerError(f"{self.path}: a message of {topic} is damaged ({_line(error)})") from error

    def close(self) -> None:
        """Closes the files."""
        while self._readers:
            self._readers.pop().close()

    def _connections(self) -> Iterator[Any]:
        for reader in self._readers:
            yield from reader.connections


def _is_fast_to_seek(reader: Any) -> bool:
    """Whether a later start costs nothing: SQLite and MCAP have an index, if MCAP was not written without."""
    if isinstance(reader, Reader1):
        return False
    storages = getattr(reader.storage, "storages", [reader.storage])
    return all(hasattr(storage, "dbconn") or bool(storage.chunks) for storage in storages)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turns whatever rosbags raises into one line that says what to do."""
    try:
        yield
    except (DsformerError, GeneratorExit):
        raise
    except Exception as error:  # its own kinds, and those of SQLite, of decompressors and of struct
        found = _line(error)
        advice = next((advice for sign, advice in _ADVICE.items() if sign in found), "it is damaged, or no recording")
        raise DsformerError(f"{file}: cannot be read ({found.rstrip('.')}): {advice}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""Loads another map beside the running one."""

import threading
import traceback
from typing import NamedTuple

from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future

from dsformer_core.errors import DsformerError
from dsformer_ros.engine import Engine, map_directory
from dsformer_ros.parameters import Settings

# Longer than it takes to check most maps; then the thread is left to end with the process.
_LONGEST_LOAD = 10.0


class Loaded(NamedTuple):
    """A checked map with its network, or None and the reason in one line."""

    engine: Engine | None
    problem: str = ""


class MapLoader:
    """One map at a time, in a thread of its own: services answer and the old map serves meanwhile."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._idle = threading.Lock()
        self._thread: threading.Thread | None = None

    def load(self, engine: Engine, settings: Settings) -> Future:
        """Starts to load the map that `settings` name, for the network of `engine`.

        Returns:
            A future `Loaded`.

        Raises:
            DsformerError: a map is being loaded already.
        """
        if not self._idle.acquire(blocking=False):
            raise DsformerError("a map is being loaded already: call again when that is done")
        loaded = Future(executor=self._node.executor)
        self._thread = threading.Thread(
            target=self._load, args=(engine, settings, loaded), name="map loader", daemon=True
        )
        self._thread.start()
        return loaded

    def close(self) -> None:
        """Waits for the thread, so that nothing of it outlives what it works for."""
        if self._thread is not None:
            self._thread.join(_LONGEST_LOAD)
            self._thread = None

    def _load(self, engine: Engine, settings: Settings, loaded: Future) -> None:
        try:
            result = Loaded(engine.with_map(map_directory(settings)))
        except DsformerError as error:
            result = Loaded(None, str(error))
        except Exception as error:
            self._node.get_logger().error(traceback.format_exc())
            result = Loaded(None, f"{type(error).__name__}: {error}")
        # First idle, then finished: whoever has the answer may call again.
        self._idle.release()
        loaded.set_result(result)
        if self._node.executor is not None:
            self._node.executor.wake()

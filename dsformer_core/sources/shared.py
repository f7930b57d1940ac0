"""What the threads of a process share: open files and what was just decoded."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Shared(Generic[Key, Value]):
    """The things that were asked for last, each made once. A fork begins with none of them."""

    def __init__(self, limit: int, make: Callable[[Key], Value], close: Callable[[Value], None]) -> None:
        """Holds nothing yet.

        Args:
            limit: how many are kept.
            make: makes the thing of a key, quickly.
            close: called with each that is no longer kept; others may still use it.
        """
        self._limit, self._make, self._close = limit, make, close
        self._things: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()
        self._inherited: list[OrderedDict[Key, Value]] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_alone)

    def __call__(self, key: Key) -> Value:
        """The thing of a key."""
        with self._lock:
            if key not in self._things:
                self._things[key] = self._make(key)
            self._things.move_to_end(key)
            thing = self._things[key]
            others = [self._things.popitem(last=False)[1]] if len(self._things) > self._limit else []
        for other in others:
            self._close(other)
        return thing

    def __len__(self) -> int:
        return len(self._things)

    def _leave_alone(self) -> None:
        # Not even destroyed: codecs would wait for threads that are the parent's, and locks may be held by them.
        self._inherited.append(self._things)
        self._things = OrderedDict()
        self._lock = threading.Lock()

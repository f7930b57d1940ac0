"""Ctrl-C and SIGTERM while training: the iteration is finished and the state saved before the process ends."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

# How long a loading process outlives a SIGTERM: enough for the training to finish its iteration and end it.
GRACE_S = 30


class Interruption:
    """While the block runs, the first signal only sets `.requested`; a second one does what it always did."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._request) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def leave_signals_to_the_parent(worker: int) -> None:
    """For loading processes: terminals, torchrun and job schedulers signal them too, but the training ends them.

    SIGTERM is also how Python ends processes that were left over when it exits; so it is put off, not ignored.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE_S))

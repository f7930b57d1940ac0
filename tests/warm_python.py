"""Python programs that find the large libraries imported: forked from a process that has done nothing else.

What runs is the program as it is typed, in a process of its own, until its interpreter has ended. Importing takes
longer than most of what tests ask of a process; who asks how a program starts runs it as anybody does, by `subprocess`.
What libraries read from the environment while they are imported is the server's: OpenMP's threads, which wait as the
node has it, and the seed of Python's hashes.

Each process of the suite has one such server, from the first program on, until it ends itself.
"""

import contextlib
import functools
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from tests.uncovered import uncovered_environment

# Of other people only: how this project's own modules are imported is part of the program, and counted by coverage.
LIBRARIES = (
    "torch", "torchvision.models", "torchvision.transforms.v2.functional", "timm", "faiss", "cv2", "PIL.Image", "utm",
    "scipy.spatial.transform", "scipy.special", "pyarrow.parquet", "safetensors.torch", "yaml", "rich.console",
    "aiohttp.web", "coverage", "rclpy.executors", "rclpy.lifecycle", "sensor_msgs.msg", "geometry_msgs.msg",
    "nav_msgs.msg", "diagnostic_msgs.msg", "visualization_msgs.msg", "lifecycle_msgs.srv", "std_srvs.srv",
    "rosgraph_msgs.msg",
)  # fmt: skip
_LARGEST_ORDER = 1 << 20
_NUMBER = struct.Struct("i")


class WarmProcess:
    """A program in a process of its own, used as a `subprocess.Popen`.

    Args:
        program: name of a module, or a script.
        arguments: of the program.
        environment: all its variables.
        output: takes standard output, and standard error unless `errors` does; standard input is empty.
        errors: takes standard error.
        code: the program is that itself, and gets a session of its own.
    """

    def __init__(
        self,
        program: str | Path,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: BinaryIO,
        errors: BinaryIO | None = None,
        *,
        code: bool = False,
    ) -> None:
        order = {
            "kind": "code" if code else "module" if isinstance(program, str) else "script",
            "program": str(program),
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(Path.cwd()),
        }
        self._guardian, other = socket.socketpair()
        with other:
            passed = [other.fileno(), output.fileno(), (errors or output).fileno()]
            socket.send_fds(_server(), [json.dumps(order).encode()], passed)
        self.returncode: int | None = None
        self.pid = self._hear()

    def poll(self) -> int | None:
        """Exit status, negative for a signal's number, or None while it runs."""
        if self.returncode is None and select.select([self._guardian], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit status, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not after `timeout` seconds.
        """
        if self.returncode is None:
            if not select.select([self._guardian], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            self.returncode = self._hear()
            self._guardian.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)

    def _hear(self) -> int:
        told = self._guardian.recv(_NUMBER.size, socket.MSG_WAITALL)
        assert told, "the server of warm processes has ended"
        number: int = _NUMBER.unpack(told)[0]
        return number


class WarmCode(WarmProcess):
    """What `python -c CODE ARGUMENTS` would be, in a session of its own, and what it says."""

    def __init__(self, code: str, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> None:
        pipes = [os.pipe(), os.pipe()]
        self._said = [os.fdopen(end, "r") for end, _ in pipes]
        with os.fdopen(pipes[0][1], "wb") as output, os.fdopen(pipes[1][1], "wb") as errors:
            super().__init__(code, [*map(str, arguments)], environment or os.environ, output, errors, code=True)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it says on standard output and standard error until it has ended."""
        with ThreadPoolExecutor(len(self._said)) as readers:
            output, errors = readers.map(lambda pipe: pipe.read(), self._said)
        for pipe in self._said:
            pipe.close()
        self.wait(timeout)
        return output, errors


@functools.cache
def _server() -> socket.socket:
    """Takes orders, one a message; the server ends when nobody holds this end any more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    root = Path(__file__).resolve().parents[1]
    environment = uncovered_environment() | {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", "tests.warm_python", str(theirs.fileno())],
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return ours


def _serve(orders: socket.socket) -> None:
    """Returns in each process that is to be a program, as that; not in the server."""
    # Ctrl-C in a terminal is for the programs; guardians that have ended leave nothing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    while True:
        order, passed, *_ = socket.recv_fds(orders, _LARGEST_ORDER, 3)
        if not order:
            sys.exit()
        if os.fork() == 0:
            break
        for descriptor in passed:
            os.close(descriptor)
    orders.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    answers = socket.socket(fileno=passed[0])
    program = os.fork()
    if program:
        # A guardian, which tells the program's end to whoever ordered it.
        os.close(passed[1])
        answers.sendall(_NUMBER.pack(program))
        status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
        with contextlib.suppress(OSError):
            answers.sendall(_NUMBER.pack(status))
        os._exit(0)
    answers.close()
    for standard in (1, 2):
        os.dup2(passed[standard], standard)
        os.close(passed[standard])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _become(**json.loads(order))


def _become(kind: str, program: str, arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Runs a program, as the interpreter would have."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if any(name.startswith("COVERAGE") for name in environment):
        import coverage

        coverage.process_startup()
    sys.argv = ["-c" if kind == "code" else program, *arguments]
    sys.path[0] = str(Path(program).parent) if kind == "script" else folder
    if kind == "module":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    elif kind == "script":
        runpy.run_path(program, run_name="__main__")
    else:
        os.setsid()
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(program, vars(main))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))

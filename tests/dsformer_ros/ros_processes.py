"""Running nodes for the tests: each set of processes in a ROS domain of its own, on this machine alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from tests.warm_python import WarmProcess

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_LOCALHOST_ONLY"] = "1"


def street(seed: int, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """An invented view, different for every seed: coloured blocks of many sizes under a sky."""
    rng = np.random.default_rng(seed)
    height, width = size
    picture = np.full((height, width, 3), rng.integers(120, 255, 3), np.uint8)
    for _ in range(60):
        x, y = int(rng.integers(0, width)), int(rng.integers(height // 4, height))
        corner = (x + int(rng.integers(5, 80)), y + int(rng.integers(5, 80)))
        cv2.rectangle(picture, (x, y), corner, tuple(int(value) for value in rng.integers(0, 255, 3)), -1)
    return picture


class Listener:
    """A node in this process that records what arrives, and spins only when it is asked to."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node("listener", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        # One for each service: a new one for each call would lose answers while the server has not yet found it.
        self._clients: dict[str, Any] = {}

    def record(self, message_type: type, topic: str, qos: Any = 10) -> list[Any]:
        messages: list[Any] = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def spin_until(self, done: Callable[[], Any], timeout: float = 20.0) -> Any:
        deadline = time.monotonic() + timeout
        while not (value := done()) and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=min(0.05, max(0.0, deadline - time.monotonic())))
        return value

    def spin_for(self, seconds: float) -> None:
        self.spin_until(lambda: False, seconds)

    def call_async(self, service_type: type, name: str, request: Any = None) -> Any:
        new = name not in self._clients
        if new:
            self._clients[name] = self.node.create_client(service_type, name)
        client = self._clients[name]
        assert self.spin_until(client.service_is_ready), f"{name} is not served"
        if new:
            # Discovery has two ends, and the server's answers are lost until it has found this client as well.
            self.spin_for(0.5)
        return client.call_async(request or service_type.Request())

    def call(self, service_type: type, name: str, request: Any = None, timeout: float = 30.0) -> Any:
        future = self.call_async(service_type, name, request)
        if service_type is GetState and not self.spin_until(future.done, 5.0):
            # On a busy machine the server may find this client later than after half a second. A question that
            # changes nothing may be asked again.
            future = self.call_async(service_type, name, request)
        assert self.spin_until(future.done, timeout), f"{name} did not answer"
        return future.result()

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@contextmanager
def listener(domain: int) -> Iterator[Listener]:
    instance = Listener(domain)
    try:
        yield instance
    finally:
        instance.close()


class NodeProcess:
    """The localizer, or another program, as a process: a module of the package, or a script.

    Args:
        module: name in `dsformer_ros`, or a script.
        domain: of ROS.
        *arguments: of the program.
        log: file for what it prints.
        warm: spare it importing libraries, where nobody asks how it starts.
    """

    def __init__(self, module: str | Path, domain: int, *arguments: str, log: Path, warm: bool = False) -> None:
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(domain),
            "PYTHONUNBUFFERED": "1",
            "ROS_LOG_DIR": str(log.parent),
        }
        self._log = log
        program = module if isinstance(module, Path) else f"dsformer_ros.{module}"
        self.process: subprocess.Popen[bytes] | WarmProcess
        with log.open("wb") as output:
            if warm:
                self.process = WarmProcess(program, arguments, environment, output)
                return
            command = [str(program)] if isinstance(program, Path) else ["-m", program]
            self.process = subprocess.Popen(
                [sys.executable, *command, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def end(self, how: signal.Signals = signal.SIGINT, timeout: float = 20.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def running(module: str | Path, domain: int, *arguments: str, log: Path) -> Iterator[NodeProcess]:
    """A process that is asked what it does, not how it starts; ended when the block ends."""
    process = NodeProcess(module, domain, *arguments, log=log, warm=True)
    try:
        yield process
    finally:
        process.end()

"""The page that people look at, in a real browser, of the real node; and who may look."""

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_processes import Listener, NodeProcess, listener
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import String

from dsformer_ros.domains import private_domain
from tests.dsformer_ros.faults.rig import ACTIVATE, CONFIGURE, FRONT, SAMPLE, Rig, arguments, rig
from tests.dsformer_ros.watch.browser import browser, find_browser

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
WATCH = Path(__file__).with_name("watch_program.py")
SCRIPT = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed")


@dataclass
class Watch:
    """`dsformer watch` as a process."""

    process: NodeProcess
    address: str

    @classmethod
    def start(cls, domain: int, log: Path, *arguments: str) -> "Watch":
        process = NodeProcess(WATCH, domain, "watch", "--port", "0", *arguments, log=log)
        deadline = 200
        while not (found := re.search(r"on (http://\S+)", process.output)) and deadline:
            deadline -= process.process.poll() is None or deadline
            try:
                process.process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        assert found, process.output
        return cls(process, found[1])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Watch]]:
    folder = tmp_path_factory.mktemp("watch")
    with private_domain() as domain, rig(domain, folder / "node.log", warm=True) as robot:
        watch = Watch.start(domain, folder / "log")
        robot.settle()
        yield robot, watch
        assert watch.process.end(signal.SIGINT, 10) == 0, watch.process.output
        assert "Traceback" not in watch.process.output


@needs_browser
def test_the_page_shows_where_the_robot_is(watched: tuple[Rig, Watch], tmp_path: Path) -> None:
    robot, watch = watched

    async def look() -> None:
        async with browser(str(find_browser()), tmp_path / "profile", watch.address) as page:
            await page.until("document.getElementById('hint').textContent.includes('60 references')")
            localized = "document.getElementById('state').textContent == 'LOCALIZED'"
            # Where `settle` stopped, along the road.
            for number in range(5, 60):
                robot.front.publish(robot.picture(number))
                robot.ears.spin_for(0.2)
                if await page.value(localized):
                    break
            assert await page.value(localized), await page.value("document.body.innerText")
            assert "probability" in await page.value("document.getElementById('reason').textContent")
            assert await page.value("document.getElementById('head').className") == "ok"
            shown = await page.until("document.querySelector('#hypotheses td')?.textContent")
            assert re.fullmatch(r"\d+ %", shown)
            # The picture is really there, and as wide as four tiles.
            assert await page.until("document.getElementById('match').naturalWidth") == 1280
            assert await page.until("document.getElementById('cameras').textContent.includes('latency p50 [ms]')")
            assert "thumb" not in await page.value("document.getElementById('matches').textContent")
            drawn = "new Set(new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"
            assert await page.value(drawn) > 5, "nothing is drawn"
            assert await page.value("now.references.x.length") == 60
            assert page.complaints == []

    asyncio.run(look())


@needs_browser
def test_messages_that_make_no_sense_and_names_that_hold_html_harm_nothing(tmp_path: Path, domain: int) -> None:
    watch = Watch.start(domain, tmp_path / "log", "--node", "/evil")

    async def look(ears: Listener) -> None:
        status = ears.node.create_publisher(DiagnosticStatus, "/evil/status", LATCHED)
        matches = ears.node.create_publisher(String, "/evil/matches", 10)
        cloud = ears.node.create_publisher(PointCloud2, "/evil/hypotheses_cloud", 10)
        assert ears.spin_until(lambda: matches.get_subscription_count() and cloud.get_subscription_count())
        ears.spin_for(0.5)
        for words in ("no JSON", "[]", '{"matches": [{"id": 1, "similarity": NaN}]}', '{"matches": 5}'):
            matches.publish(String(data=words))
        cloud.publish(PointCloud2(fields=[PointField(name="x", datatype=250)], point_step=4, data=bytes(3)))
        values = [KeyValue(key="state", value=SCRIPT), KeyValue(key="reason", value=SCRIPT)]
        status.publish(DiagnosticStatus(level=DiagnosticStatus.WARN, values=values))
        async with browser(str(find_browser()), tmp_path / "profile", watch.address) as page:
            await page.until("document.getElementById('reason').textContent.includes('onerror')")
            assert await page.value("document.getElementById('state').textContent") == SCRIPT
            assert await page.value("window.hacked === undefined && !document.querySelector('#reason img')")

    with listener(domain) as ears:
        asyncio.run(look(ears))
    assert watch.process.end(signal.SIGTERM, 10) == 0, watch.process.output


def told(watch: Watch) -> dict[str, Any]:
    """Everything that the page shows now."""

    async def first_event() -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"{watch.address}events") as answer:
            line = await answer.content.readline()
            return dict(json.loads(line.removeprefix(b"data: ")))

    return asyncio.run(first_event())


def test_a_localizer_that_was_killed_is_gone_and_its_map_is_read_again(tmp_path: Path, domain: int) -> None:
    place_map = Path(shutil.copytree(SAMPLE, tmp_path / "town.map"))
    hidden = place_map.rename(tmp_path / "hidden.map")
    given = arguments(cameras=[FRONT], threads=1, map=str(place_map))
    node = NodeProcess("localizer_node", domain, *given, log=tmp_path / "node.log", warm=True)
    watch = Watch.start(domain, tmp_path / "log")
    with listener(domain) as ears:
        try:
            assert ears.spin_until(lambda: (told(watch)["map"] or {}).get("problem"), 40)
            hidden.rename(place_map)
            assert ears.spin_until(lambda: told(watch)["map"]["count"] == 60, 10), "it is looked for again"
            (place_map / "map.yaml").write_text("changed")
            assert ears.spin_until(lambda: told(watch)["map"]["problem"], 10), "and when it has changed"
            robot = Rig(node, ears)
            shutil.copy(SAMPLE / "map.yaml", place_map)
            assert robot.change(CONFIGURE) and robot.change(ACTIVATE), node.output
            assert ears.spin_until(lambda: (told(watch)["status"] or {}).get("state") == "NO_IMAGE"), told(watch)
        finally:
            node.process.kill()
            node.process.wait()
        assert ears.spin_until(lambda: told(watch)["status"]["state"] == "gone", 15), told(watch)["status"]
        assert "it last said NO_IMAGE" in told(watch)["status"]["reason"]
        assert told(watch)["status"]["level"] == "error"
    start = time.monotonic()
    assert watch.process.end(signal.SIGTERM, 10) == 0, watch.process.output
    assert time.monotonic() - start < 5, "the listening thread ends when it is told to"


def test_robots_side_by_side_are_not_mixed_up(tmp_path: Path, domain: int) -> None:
    watch = Watch.start(domain, tmp_path / "log", "--node", "/robot1/dsformer_localizer")
    with listener(domain) as ears:
        diagnostics = ears.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        rate = [KeyValue(key="rate [Hz]", value="1")]
        names = [f"{name}: camera {name}" for name in ("dsformer_localizer", "/robot1/dsformer_localizer", "/robot2/x")]
        entries = [DiagnosticStatus(level=DiagnosticStatus.OK, name=name, values=rate) for name in names]

        def shown() -> list[str]:
            diagnostics.publish(DiagnosticArray(status=entries))
            return [camera["name"] for camera in told(watch)["cameras"]]

        assert ears.spin_until(shown)
        assert shown() == ["camera /robot1/dsformer_localizer"]
    assert watch.process.end(signal.SIGTERM, 10) == 0, watch.process.output


def get(address: str, **headers: str) -> tuple[int, Any]:
    async def fetch() -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session, session.get(address, headers=headers) as answer:
            return answer.status, answer.headers

    return asyncio.run(fetch())


def test_only_who_calls_it_by_its_own_name_gets_an_answer(watched: tuple[Rig, Watch]) -> None:
    _, watch = watched
    port = watch.address.rstrip("/").rsplit(":", 1)[1]
    for name in ("localhost", "127.0.0.1", "[::1]", socket.gethostname(), "192.168.1.5"):
        assert get(watch.address, Host=f"{name}:{port}")[0] == 200, name
    for name in ("rebound.example", "localhost.rebound.example", "127.0.0.1.rebound.example", "[", ""):
        for path in ("", "events", "references", "match.jpg"):
            assert get(watch.address + path, Host=f"{name}:{port}")[0] in (400, 421), name


def test_the_page_may_load_nothing_from_elsewhere(watched: tuple[Rig, Watch]) -> None:
    _, headers = get(watched[1].address)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    text = (Path(__file__).parents[3] / "dsformer_ros" / "watch" / "page.html").read_text()
    assert "http:" not in text and "https:" not in text


def test_a_port_that_is_taken_and_a_wrong_call_are_said_in_one_line(tmp_path: Path, domain: int) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for given, status, words in [
            (["--port", port], 1, f"port {port} is taken"),
            (["--port", "70000"], 2, "is not a port"),
            (["--node", "dsformer_localizer"], 2, "/dsformer_localizer"),
            (["--node", ""], 2, "--node '': give it with its namespace, e.g. /dsformer_localizer"),
            (["--node", "/no name"], 2, "not a node's name"),
            (["--map", str(tmp_path / "nowhere")], 2, "nowhere"),
            (["--host", "203.0.113.1"], 1, "cannot serve on 203.0.113.1"),
            (["--host", "300.1.1.1"], 1, "--host takes an address of this machine"),
        ]:
            process = NodeProcess(WATCH, domain, "watch", *given, log=tmp_path / "log")
            assert process.process.wait(60) == status, process.output
            assert words in process.output and "Traceback" not in process.output


def test_without_ros_it_says_what_to_do() -> None:
    hidden = (
        "import sys; sys.modules['rclpy'] = None; from dsformer_core.cli.main import main; sys.exit(main(['watch']))"
    )
    said = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=60)
    assert said.returncode == 1
    assert "source its setup.bash" in said.stderr and "Traceback" not in said.stderr
